"""What `library.json` says of a library: what it was built from, and what was found to be best for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, write_json

VERSION = 3  # raised when passages would be kept or placed otherwise: older libraries are built again
RERANKER = "reranker.safetensors"  # beside it, where one was trained
_FILE = "library.json"


@dataclass(frozen=True, slots=True)
class State:
    """What `library.json` says: what the index was built from.

    `documents`: id → fingerprint of its passages. `unfinished`: documents that a killed build may have left half done.
    `languages`: how many passages there are in each. `centres`: what is taken off vectors (`Centres.plain`).
    `thresholds`: language → the nearness below which a question is off this library's topics. `fuse`: the settings
    that `shuyuan tune search` chose for this library, if it did. `reranker`: how passages are ranked again
    (`reranking.py`), if `shuyuan tune rerank` found that it helps here.
    """

    embedder: str = ""
    width: int = 0
    store: str = ""
    passages: int = 0
    documents: Mapping[str, str] = field(default_factory=dict)
    unfinished: Sequence[str] = ()
    languages: Mapping[str, int] = field(default_factory=dict)
    centres: Mapping[str, Sequence[float]] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    fuse: Mapping[str, float] = field(default_factory=dict)
    reranker: str = ""
    version: int = VERSION


def finished(folder: Path) -> State:
    """As `state_of`. Raises Fixable where no library was built, or not to its end."""
    state = state_of(folder)
    if not state.documents or state.unfinished or state.version != VERSION:
        raise Fixable(f"there is no finished library in {folder}", "build it again: shuyuan teach retrieve")
    return state


def state_of(folder: Path) -> State:
    """What `library.json` says; of a library by another version, or none at all, nothing."""
    file = folder / _FILE
    try:
        return State(**read_json(file)) if file.exists() else State()
    except TypeError:
        return State(version=0)  # written by another version: built again


def write_state(folder: Path, state: State) -> None:
    """Say from now on that the library is so."""
    write_json(folder / _FILE, asdict(state))
