"""Exact search in memory, kept in one file: no engine; for small libraries and as the others' answer key."""

from __future__ import annotations

import io
import json
import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from shuyuan.base.errors import Fixable
from shuyuan.base.files import write_whole
from shuyuan.base.marks import Within
from shuyuan.base.records import Passage
from shuyuan.base.settings import Settings
from shuyuan.store.contract import (
    Index,
    Scored,
    Vectors,
    check_vectors,
    from_record,
    in_batches,
    in_order,
    nearest,
    other_width,
    record,
    rows_within,
)
from shuyuan.store.words import terms

_FILE = "memory.npz"
_K1, _B = 1.2, 0.75  # BM25 as in Lucene and LanceDB


class Memory(Settings):
    """Keep passages in memory and in one file that is written whole at every change."""

    def open(self, folder: Path, width: int) -> Index:
        """Read the file in `folder`, if there is one."""
        return MemoryIndex(folder / _FILE, width)


class MemoryIndex:
    """Passages by id, vectors [n, width] in the same order, and the passages each term occurs in."""

    def __init__(self, file: Path, width: int) -> None:
        self._file, self._width = file, width
        self._mark: tuple[int, int] | None = (0, 0)
        self._read()

    def _read(self) -> None:
        """Hold what the file holds now; another process may have changed it."""
        file = self._file
        mark = (file.stat().st_ino, file.stat().st_mtime_ns) if file.exists() else None
        if mark == self._mark:
            return
        passages, vectors = [], np.zeros((0, self._width), np.float32)
        if mark:
            try:
                with np.load(file, allow_pickle=False) as there:
                    vectors = there["vectors"]
                    passages = [from_record(row) for row in json.loads(there["records"].tobytes())]
            except (ValueError, KeyError, BadZipFile, OSError) as error:
                raise Fixable(
                    f"the index cannot be read: {error}", "delete this file and build the library again", file
                ) from error
            if vectors.shape[1] != self._width:
                raise other_width(file, vectors.shape[1], self._width)
        self._hold(passages, vectors)
        self._mark = mark

    def _hold(self, passages: list[Passage], vectors: Vectors) -> None:
        self._passages, self._vectors = passages, vectors
        self._by_id = {p.id: p for p in passages}
        self._ids = list(self._by_id)
        self._postings: dict[str, dict[int, int]] = {}
        lengths = []
        for row, passage in enumerate(passages):
            counted = Counter(terms(passage.searchable))
            lengths.append(counted.total())
            for term, times in counted.items():
                self._postings.setdefault(term, {})[row] = times
        mean = sum(lengths) / len(lengths) if lengths else 1.0
        self._weight = [_K1 * (1 - _B + _B * length / mean) for length in lengths]

    def _change(self, passages: list[Passage], vectors: Vectors) -> None:
        content = io.BytesIO()
        records = json.dumps([record(p) for p in passages], ensure_ascii=False).encode()
        np.savez(content, vectors=vectors, records=np.frombuffer(records, np.uint8))
        write_whole(self._file, content.getvalue())
        self._read()

    def upsert(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Index`."""
        check_vectors(passages, vectors, self._width)
        self._read()
        rows = self._rows_without({p.document_id for p in passages})
        kept = [self._passages[row] for row in rows]
        self._change([*kept, *passages], np.concatenate([self._vectors[rows], vectors.astype(np.float32)]))

    def delete_document(self, document_id: str) -> None:
        """See `Index`."""
        self._read()
        rows = self._rows_without({document_id})
        self._change([self._passages[row] for row in rows], self._vectors[rows])

    def _rows_without(self, documents: set[str]) -> list[int]:
        return [row for row, passage in enumerate(self._passages) if passage.document_id not in documents]

    def optimise(self) -> None:
        """See `Index`; nothing to do here."""

    def purge(self) -> None:
        """See `Index`; every change writes the file anew."""

    def dense(self, vector: Vectors, k: int, within: Within | None = None) -> list[Scored]:
        """See `Index`."""
        self._read()
        return nearest(self._vectors @ vector, self._ids, k, self._rows(within))

    def _rows(self, within: Within | None) -> NDArray[np.intp] | None:
        return rows_within([passage.document_id for passage in self._passages], within) if within else None

    def words(self, text: str, k: int, within: Within | None = None) -> list[Scored]:
        """See `Index`."""
        self._read()
        rows = self._rows(within)
        counted = None if rows is None else set(rows.tolist())
        scores: dict[int, float] = defaultdict(float)
        for term in set(terms(text)):
            holders = self._postings.get(term, {})
            rarity = math.log(1 + (len(self._passages) - len(holders) + 0.5) / (len(holders) + 0.5))
            for row, times in holders.items():
                scores[row] += rarity * times * (_K1 + 1) / (times + self._weight[row])
        found = [(self._passages[row].id, score) for row, score in scores.items() if counted is None or row in counted]
        return in_order(found, k)

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `Index`."""
        self._read()
        return [self._by_id[name] for name in ids if name in self._by_id]

    def count(self) -> int:
        """See `Index`."""
        self._read()
        return len(self._passages)

    def remove(self) -> None:
        """See `Index`."""
        shutil.rmtree(self._file.parent)

    def export(self) -> Iterator[tuple[list[Passage], Vectors]]:
        """See `Index`."""
        self._read()
        row = {name: place for place, name in enumerate(self._ids)}
        for batch in in_batches(sorted(self._passages, key=lambda p: (p.document_id, p.id))):
            yield batch, self._vectors[[row[p.id] for p in batch]]
