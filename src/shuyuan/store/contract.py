"""What every store offers: passages found by vector and by words, in a fixed order."""

from __future__ import annotations

import hashlib
import itertools
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shuyuan.base.errors import Fixable
from shuyuan.base.marks import Within
from shuyuan.base.records import Passage

Scored = tuple[str, float]
"""A passage id and its score; higher is better."""

Vectors = NDArray[np.float32]
"""Rows of unit length, [n, width]."""

EXPORTED = 2_000  # passages, about, of one exported batch
_DIGITS = 6  # of a score: float32 sums differ beyond that between code paths, which would break ties at random


class Index(Protocol):
    """Passages with one unit vector each, kept in a folder. Equal scores come in the order of the ids."""

    def upsert(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """Put whole documents, in one step: what the index held of the documents of these passages is replaced."""

    def delete_document(self, document_id: str) -> None:
        """Forget every passage of a document; one that is not there is no error."""

    def optimise(self) -> None:
        """Make searching fast again. Call it once, after all changes of one ingest; answers stay the same."""

    def purge(self) -> None:
        """Leave no byte in the folder of what was deleted or replaced. Takes as long as writing the index anew."""

    def dense(self, vector: Vectors, k: int, within: Within | None = None) -> list[Scored]:
        """The `k` passages with the highest cosine to `vector` [width], best first; of the documents `within` only.

        Others are left out before the ranking, so that there are `k` as long as the documents have as many.
        """

    def words(self, text: str, k: int, within: Within | None = None) -> list[Scored]:
        """The `k` passages with the highest BM25 for the words of `text`, best first. Text has no syntax.

        `within` is as in `dense`; how rare a word is, is counted over all documents.
        """

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """The passages of these ids, in that order; unknown ids are left out."""

    def count(self) -> int:
        """How many passages there are."""

    def remove(self) -> None:
        """Delete the index and all that it holds; it cannot be used after that."""

    def export(self) -> Iterator[tuple[list[Passage], Vectors]]:
        """All there is, some whole documents at a time, in the order of document ids, then passage ids."""


class Store(Protocol):
    """A choice of this room: opens the index in a folder, making it when it is not there."""

    def open(self, folder: Path, width: int) -> Index:
        """Open the index whose vectors have `width` numbers; another width is a `Fixable`."""


def normal(text: str) -> str:
    """One form for words that look alike: full-width as half-width (NFKC); broken surrogates become `?`."""
    return unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode("utf-8")


def record(passage: Passage) -> dict[str, Any]:
    """A passage as plain values, for JSON."""
    return asdict(passage)


def from_record(row: dict[str, Any]) -> Passage:
    """The passage of `record`."""
    return Passage.of(row)


def in_order(scored: Collection[Scored], k: int) -> list[Scored]:
    """The best `k`: by score, then by id."""
    rounded = [(name, round(float(score), _DIGITS)) for name, score in scored]
    return sorted(rounded, key=lambda found: (-found[1], found[0]))[:k]


def nearest(scores: Vectors, ids: Sequence[str], k: int, rows: NDArray[np.intp] | None = None) -> list[Scored]:
    """`in_order` of an array of scores [n], or of some `rows` of it, without sorting them all."""
    rows = np.arange(len(scores)) if rows is None else rows
    scores = scores[rows]
    if len(scores) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        near = np.flatnonzero(scores >= least - 10.0**-_DIGITS)
        rows, scores = rows[near], scores[near]
    return in_order([(ids[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)], k)


def rows_within(documents: Sequence[str], within: Within | None) -> NDArray[np.intp] | None:
    """Which of the passages, whose documents these are, count; None: all."""
    if within is None:
        return None
    return np.array([row for row, name in enumerate(documents) if (name in within.ids) != within.but], np.intp)


def content_hash(index: Index) -> str:
    """Tells whether two indexes hold the same passages with the same vectors, bit for bit, in whatever store."""
    rows = [
        hashlib.sha256(json.dumps(record(passage), sort_keys=True).encode() + vector.tobytes()).digest()
        for passages, vectors in index.export()
        for passage, vector in zip(passages, np.asarray(vectors, "<f4"), strict=True)
    ]
    return hashlib.sha256(b"".join(sorted(rows))).hexdigest()


def in_batches(passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    """Passages that come document by document, some whole documents at a time."""
    batch: list[Passage] = []
    for _, of in itertools.groupby(passages, key=lambda passage: passage.document_id):
        batch += of
        if len(batch) >= EXPORTED:
            yield batch
            batch = []
    if batch:
        yield batch


def untied(fetch: Callable[[int], Collection[Scored]], k: int) -> list[Scored]:
    """The best `k` of an engine that cuts ties at random: fetches more until the last one is worse than the k-th."""
    limit = k + 1
    while True:
        fetched = fetch(limit)
        best = in_order(fetched, limit)
        if len(fetched) < limit or best[-1][1] < best[k - 1][1]:
            return best[:k]
        limit *= 2


def check_vectors(passages: Sequence[Passage], vectors: Vectors, width: int) -> None:
    """Raise ValueError unless there is one finite vector of `width` numbers for each passage."""
    if vectors.shape != (len(passages), width):
        raise ValueError(f"vectors {vectors.shape} for {len(passages)} passages of width {width}")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector holds a number that is not finite")


def other_width(folder: Path, there: int, asked: int) -> Fixable:
    """What to say when an index was made with another embedder."""
    return Fixable(
        f"this index holds vectors of {there} numbers, the embedder makes {asked}",
        "build the library again with this embedder, or choose the one it was built with",
        folder,
    )
