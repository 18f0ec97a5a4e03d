"""A library: the passages of one workspace, searched by meaning and by words through one function."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, locked, read_json, write_json
from shuyuan.base.progress import say
from shuyuan.base.records import Passage
from shuyuan.base.shelf import choose
from shuyuan.recall.embedding import Embeds, embed_passages
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.threshold import calibrate
from shuyuan.store.contract import Index, Vectors, normal

VERSION = 1
_FILE = "library.json"


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found, best `score` first. `cosine`, `word_rank`: None where that list did not hold it."""

    passage: Passage
    score: float
    cosine: float | None
    word_rank: int | None


@dataclass(frozen=True, slots=True)
class State:
    """What `library.json` says: what the index was built from.

    `documents`: id → fingerprint of its passages. `unfinished`: documents that a killed build may have left half done.
    `thresholds`: language → the cosine below which a question is off this library's topics.
    """

    embedder: str = ""
    width: int = 0
    store: str = ""
    passages: int = 0
    documents: Mapping[str, str] = field(default_factory=dict)
    unfinished: Sequence[str] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    version: int = VERSION


class Library:
    """Passages in an index, with the embedder that placed them. `search` is the only way anything is looked up."""

    def __init__(self, folder: Path, index: Index, embedder: Embeds, state: State, fuse: Fuse) -> None:
        self.folder, self.state, self.fuse = folder, state, fuse
        self._index, self._embedder = index, embedder

    @classmethod
    def build(
        cls,
        folder: Path,
        passages: Sequence[Passage],
        embedder: Embeds,
        cache: Path,
        *,
        store: str = "lance",
        fuse: Fuse | None = None,
    ) -> Library:
        """Make the index in `folder` hold exactly `passages`; only documents that changed are embedded and written.

        A killed build goes on where it was. Raises Fixable when there is nothing to index, or another command builds.
        """
        if not passages:
            raise Fixable("there are no passages to build a library from", "add documents first: shuyuan add <folder>")
        with locked(folder / "lock", "building the library"):
            state = _state(folder)
            if (state.version, state.embedder, state.store) != (VERSION, embedder.name, store):
                shutil.rmtree(folder / "index", ignore_errors=True)
                state = State(embedder.name, embedder.width, store)
            index: Index = choose("store", store)().open(folder / "index", embedder.width)
            if not state.unfinished and index.count() != state.passages:  # the index was lost, or never begun
                state = replace(state, documents={})
            library = cls(folder, index, embedder, state, fuse or Fuse())
            library._become(passages, cache)
        return library

    @classmethod
    def open(cls, folder: Path, embedder: Embeds, fuse: Fuse | None = None) -> Library:
        """Open a library that was built, with the embedder it was built with. Raises Fixable when it is not so."""
        state = _state(folder)
        if not state.documents or state.unfinished or state.version != VERSION:
            raise Fixable(f"there is no finished library in {folder}", "build it: shuyuan teach retrieve")
        if embedder.name != state.embedder:
            raise Fixable(
                f"this library was built with {state.embedder}, not with {embedder.name}",
                "build it again: shuyuan teach retrieve",
                folder,
            )
        index: Index = choose("store", state.store)().open(folder / "index", state.width)
        return cls(folder, index, embedder, state, fuse or Fuse())

    def search(self, text: str, k: int) -> list[Hit]:
        """The `k` passages that fit `text` best, in any language."""
        return self.search_all([text], k)[0]

    def search_all(self, texts: Sequence[str], k: int) -> list[list[Hit]]:
        """`search` for several texts, which are embedded together."""
        found = []
        for text, vector in zip(texts, self._embed(texts), strict=True):
            depth = max(self.fuse.depth, k)
            dense, words = self._index.dense(vector, depth), self._index.words(text, depth)
            best = {one.id: one for one in self.fuse.fuse(dense, words)[:k]}
            passages = self._index.passages(list(best))
            found.append([Hit(p, best[p.id].score, best[p.id].cosine, best[p.id].word_rank) for p in passages])
        return found

    def count(self) -> int:
        """How many passages there are."""
        return self._index.count()

    def _become(self, passages: Sequence[Passage], cache: Path) -> None:
        """Bring index and `library.json` to hold exactly `passages`."""
        by_document: dict[str, list[Passage]] = {}
        for passage in passages:
            by_document.setdefault(passage.document_id, []).append(passage)
        wanted = {name: fingerprint([asdict(p) for p in of]) for name, of in by_document.items()}
        there = self.state.documents
        same = {name: print_ for name, print_ in wanted.items() if there.get(name) == print_}
        gone = sorted((there.keys() | self.state.unfinished) - wanted.keys())
        changed = [name for name in wanted if name not in same]
        if not gone and not changed:
            say(f"library unchanged: {len(passages):,} passages of {len(wanted):,} documents")
            return
        fresh = [passage for name in changed for passage in by_document[name]]
        vectors = embed_passages(self._embedder, [p.searchable for p in fresh], cache)
        self._note(same, unfinished=[*changed, *gone])
        self._index.upsert(fresh, vectors)
        for name in gone:
            self._index.delete_document(name)
        self._index.optimise()
        self._note(wanted, thresholds=calibrate(self._nearest, passages))
        say(f"library: {len(passages):,} passages of {len(wanted):,} documents, {len(changed):,} new or changed")

    def _note(
        self,
        documents: Mapping[str, str],
        unfinished: Sequence[str] = (),
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self.state = replace(
            self.state,
            documents=documents,
            passages=self.count(),
            unfinished=unfinished,
            thresholds=thresholds or {},
        )
        write_json(self.folder / _FILE, asdict(self.state))

    def _nearest(self, texts: Sequence[str]) -> list[float]:
        """For each text, the cosine of the passage nearest to it."""
        return [self._index.dense(vector, 1)[0][1] for vector in self._embed(texts)]

    def _embed(self, questions: Sequence[str]) -> Vectors:
        return self._embedder.embed([normal(question) for question in questions], "query")


def _state(folder: Path) -> State:
    file = folder / _FILE
    try:
        return State(**read_json(file)) if file.exists() else State()
    except TypeError:
        return State(version=0)  # written by another version: built again
