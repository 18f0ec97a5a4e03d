"""The index of a library as files: opened, moved to another store, and rid of documents. Nothing is embedded here."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.files import locked
from shuyuan.base.progress import Bar
from shuyuan.base.shelf import choices, choose
from shuyuan.recall.state import State, finished, state_of, write_state
from shuyuan.store.contract import Index, Store, content_hash


def open_index(folder: Path, state: State, settings: Mapping[str, Any] | None = None) -> Index:
    """The index of the library in `folder`, made where it is not there."""
    way: Store = choose("store", state.store).of(settings or {})
    return way.open(folder / f"index-{state.store}", state.width)


def remove_all_but(store: str, folder: Path) -> None:
    """Indexes in other stores: of a library that is built anew elsewhere, or left by a move that was killed."""
    for other in folder.glob("index*"):
        name = other.name.removeprefix("index").removeprefix("-")
        if name == store:
            continue
        if name in choices("store"):
            with contextlib.suppress(Fixable):  # one that cannot be opened is a folder like any other
                open_index(folder, State(store=name, width=state_of(folder).width)).remove()
        shutil.rmtree(other, ignore_errors=True)


def move(folder: Path, store: str, **settings: Any) -> bool:
    """Move the index in `folder` to another store; False when it is there already.

    The copy is compared with the old index, by count and by the hash of all passages and vectors, before the
    library turns to it and the old one is removed. Killed at any time, one of the two is whole and in use.
    """
    with locked(folder / "lock", "moving the library"):
        state = finished(folder)
        if state.store == store:
            return False
        remove_all_but(state.store, folder)
        old, new = open_index(folder, state), open_index(folder, replace(state, store=store), settings)
        with Bar(f"moving to {store}", state.passages) as bar:
            for passages, vectors in old.export():
                new.upsert(passages, vectors)
                bar.advance(len(passages))
        new.optimise()
        if new.count() != old.count() or content_hash(new) != content_hash(old):
            new.remove()
            raise Fixable(
                f"what came to lie in {store} is not what was in {state.store}; nothing was changed",
                "try again, and report it if it stays so",
                folder,
            )
        write_state(folder, replace(state, store=store))
        old.remove()
    return True


def forget(folder: Path, documents: Collection[str]) -> int:
    """Take documents out of the index in `folder`, so that no byte of them is left; how many it held."""
    with locked(folder / "lock", "removing documents"):
        state = state_of(folder)
        held = (state.documents.keys() | state.unfinished) & set(documents)
        if held:
            index = open_index(folder, state)
            left = {name: mark for name, mark in state.documents.items() if name not in held}
            unfinished = sorted({*state.unfinished, *held})
            write_state(folder, replace(state, documents=left, unfinished=unfinished))
            for name in sorted(held):
                index.delete_document(name)
            index.purge()
            unfinished = [name for name in state.unfinished if name not in held]
            state = replace(state, documents=left, unfinished=unfinished, passages=index.count())
            write_state(folder, state)
    return len(held)
