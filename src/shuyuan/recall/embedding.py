"""Embed texts once: vectors are kept by the hash of what they were made from, so a killed ingest goes on."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.progress import Bar
from shuyuan.base.wiping import wipe
from shuyuan.store.contract import Vectors, normal

_FILE = "embeddings.sqlite"
_BATCH = 32  # texts between two commits: what a kill can lose
_LOOKED_UP = 500  # keys per statement


class Embeds(Protocol):
    """A model that places texts for search (`shuyuan.load.embedder`)."""

    @property
    def name(self) -> str:
        """What the vectors are kept under: changes when the weights do."""

    @property
    def width(self) -> int:
        """How many numbers a vector has."""

    @property
    def evidence(self) -> float:
        """What passages hold, at the least, of a question that they answer (`evidence.py`); 0: not known."""

    def embed(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        """Unit vectors, [texts, width]."""

    def read(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> list[tuple[list[int], Any]]:
        """Each text's tokens, and float16 [layers, tokens, width] of length one: what they mean in their place."""


def embed_passages(embedder: Embeds, texts: Sequence[str], cache: Path) -> Vectors:
    """The vectors of `texts`, [texts, width], from `cache` where they are there; new ones are added to it.

    The key is the SHA-256 of embedder and text, so a changed embedder or text is never mistaken for the old one.
    Batches are committed as they are done; longest texts first, so the time left is not underestimated.
    """
    file = cache / _FILE
    with disk_errors(file):
        cache.mkdir(parents=True, exist_ok=True)
    texts = [normal(text) for text in texts]
    keys = [_key(embedder.name, text) for text in texts]
    try:
        with closing(sqlite3.connect(file, timeout=30)) as db:
            db.execute("pragma journal_mode = wal")
            db.execute("create table if not exists vectors (key blob primary key, vector blob not null) without rowid")
            with db:
                db.execute("create table if not exists embedders (name text primary key)")
                db.execute("insert or ignore into embedders values (?)", (embedder.name,))
            known = dict(_known(db, sorted(set(keys))))
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            if missing:
                total = len(known) + len(missing)
                with Bar("embedding passages", total, done=len(known)) as bar:
                    for batch in _batches(missing):
                        vectors = embedder.embed([missing[key] for key in batch], "passage").astype(np.float32)
                        known |= {key: vector.tobytes() for key, vector in zip(batch, vectors, strict=True)}
                        with db:
                            rows = [(key, known[key]) for key in batch]
                            db.executemany("insert or ignore into vectors values (?, ?)", rows)
                        bar.advance(len(batch))
    except sqlite3.DatabaseError as error:
        hint = "free some space, or delete this file: it can be made again"
        raise Fixable(f"embeddings cannot be kept: {error}", hint, file) from error
    joined = b"".join(known[key] for key in keys)
    return np.frombuffer(joined, np.float32).reshape(len(texts), embedder.width)


def prune(cache: Path, texts: Sequence[str]) -> None:
    """Keep the vectors of these texts alone; no byte of another one is left in `cache`."""
    file = cache / _FILE
    if not file.exists():
        return
    with disk_errors(file), closing(sqlite3.connect(file, timeout=30)) as db:
        with db:
            db.execute("create table if not exists embedders (name text primary key)")
            names = [name for (name,) in db.execute("select name from embedders")]
            kept = {_key(name, text) for name in names for text in map(normal, texts)}
            gone = [(key,) for (key,) in db.execute("select key from vectors") if key not in kept]
            db.executemany("delete from vectors where key = ?", gone)
        wipe(db)


def _key(embedder: str, text: str) -> bytes:
    return hashlib.sha256(f"{embedder}\0{text}".encode()).digest()


def _batches(missing: dict[bytes, str]) -> Iterator[list[bytes]]:
    """Keys of texts of like length together: a batch is padded to its longest."""
    keys = sorted(missing, key=lambda key: (-len(missing[key]), key))
    for start in range(0, len(keys), _BATCH):
        yield keys[start : start + _BATCH]


def _known(db: sqlite3.Connection, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(keys), _LOOKED_UP):
        some = keys[start : start + _LOOKED_UP]
        marks = ",".join("?" * len(some))
        yield from db.execute(f"select key, vector from vectors where key in ({marks})", some)
