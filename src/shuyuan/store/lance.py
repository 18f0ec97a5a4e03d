"""LanceDB inside the process: crash-safe files, Chinese words by ICU, several processes at once.

Vectors are searched exactly below `exact_below` passages; from there on through an HNSW graph over 8-bit vectors, whose
results are always scored again with the full vectors.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.marks import Within
from shuyuan.base.records import Passage
from shuyuan.base.settings import Settings
from shuyuan.store.contract import (
    EXPORTED,
    Index,
    Scored,
    Vectors,
    check_vectors,
    from_record,
    normal,
    other_width,
    record,
    untied,
)

_TABLE = "passages"
_REFINE = 10  # candidates per result that are scored again with the full vectors
_KEEP_OLD = timedelta(minutes=10)  # another process may still be reading the version before


class Lance(Settings):
    """Keep passages in a LanceDB table."""

    exact_below: Annotated[
        int, Field(ge=1, description="search vectors exactly in libraries with fewer passages than this")
    ] = 100_000

    def open(self, folder: Path, width: int) -> Index:
        """Open or make the table in `folder`."""
        return LanceIndex(folder, width, self.exact_below)


class LanceIndex:
    """A LanceDB table of id, document_id, text (searched), vector and record. Every change is one atomic version."""

    def __init__(self, folder: Path, width: int, exact_below: int) -> None:
        os.environ.setdefault("LANCE_LOG", "error")  # its warnings are for its own developers
        import lancedb
        import pyarrow as pa

        self._folder, self._width, self._exact_below = folder, width, exact_below
        self._schema = pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                pa.field("document_id", pa.string(), nullable=False),
                pa.field("text", pa.string(), nullable=False),
                pa.field("vector", pa.list_(pa.float32(), width), nullable=False),
                pa.field("record", pa.string(), nullable=False),
            ]
        )
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._database = database = lancedb.connect(folder, read_consistency_interval=timedelta(0))  # others' changes
        try:
            try:
                self._table = database.open_table(_TABLE)
            except ValueError:  # not there, or killed while it was made
                self._table = database.create_table(_TABLE, schema=self._schema, exist_ok=True)
        except (ValueError, RuntimeError, OSError) as error:
            raise Fixable(
                f"the index cannot be opened: {error}", "delete this folder and build the library again", folder
            ) from error
        there = self._table.schema.field("vector").type.list_size
        if there != width:
            raise other_width(folder, there, width)
        if not self._has_index("text"):
            self._index_words()

    def _index_words(self) -> None:
        from lancedb.index import FTS

        self._table.create_index("text", config=FTS(base_tokenizer="icu", stem=False, remove_stop_words=False))

    def _has_index(self, column: str) -> bool:
        return any(column in index.columns for index in self._table.list_indices())

    def upsert(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Index`; passages and the removal of what they replace are one version of the table."""
        import pyarrow as pa

        check_vectors(passages, vectors, self._width)
        if not passages:
            return
        rows = pa.table(
            {
                "id": [p.id for p in passages],
                "document_id": [p.document_id for p in passages],
                "text": [normal(p.searchable) for p in passages],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), self._width),
                "record": [json.dumps(record(p), ensure_ascii=False) for p in passages],
            },
            schema=self._schema,
        )
        replaced = f"document_id in ({_quoted({p.document_id for p in passages})})"
        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        with disk_errors(self._folder):
            merge.when_not_matched_by_source_delete(replaced).execute(rows)

    def delete_document(self, document_id: str) -> None:
        """See `Index`."""
        with disk_errors(self._folder):
            self._table.delete(f"document_id = {_quoted([document_id])}")

    def optimise(self) -> None:
        """See `Index`; also drops old versions and, from `exact_below` passages on, builds the vector graph."""
        from lancedb.index import HnswSq

        with disk_errors(self._folder):
            self._table.optimize(cleanup_older_than=_KEEP_OLD)
            if self.count() >= self._exact_below and not self._has_index("vector"):
                self._table.create_index("vector", config=HnswSq(distance_type="cosine"))

    def purge(self) -> None:
        """See `Index`; the table is written anew, for only whole files of it can be deleted, with all old versions."""
        import pyarrow as pa

        with disk_errors(self._folder):
            names = self._schema.names
            rows = self._table.search().select(names).limit(max(1, self.count())).to_batches()
            whole = pa.RecordBatchReader.from_batches(self._schema, (batch.select(names) for batch in rows))
            self._table = self._database.create_table(_TABLE, whole, schema=self._schema, mode="overwrite")
            self._index_words()
            self.optimise()
            with warnings.catch_warnings():  # that who reads at this moment may fail: what was deleted goes first
                warnings.simplefilter("ignore")
                self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)

    def dense(self, vector: Vectors, k: int, within: Within | None = None) -> list[Scored]:
        """See `Index`."""

        def fetch(limit: int) -> list[Scored]:
            query = self._table.search(vector, vector_column_name="vector").distance_type("cosine")
            query = query.where(_documents(within), prefilter=True) if within else query
            query = query.bypass_vector_index() if self.count() < self._exact_below else query.refine_factor(_REFINE)
            found = query.limit(limit).select(["id", "_distance"]).to_arrow()
            return [(name, 1 - distance) for name, distance in zip(*_columns(found, "id", "_distance"), strict=True)]

        return untied(fetch, k)

    def words(self, text: str, k: int, within: Within | None = None) -> list[Scored]:
        """See `Index`."""
        from lancedb.query import MatchQuery

        def fetch(limit: int) -> list[Scored]:
            query = self._table.search(MatchQuery(normal(text), "text"), query_type="fts")
            query = query.where(_documents(within), prefilter=True) if within else query
            found = query.limit(limit).select(["id", "_score"]).to_arrow()
            return list(zip(*_columns(found, "id", "_score"), strict=True))

        return untied(fetch, k) if text.strip() else []

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `Index`."""
        if not ids:
            return []
        query = self._table.search().where(f"id in ({_quoted(ids)})").limit(len(ids))
        found = dict(zip(*_columns(query.select(["id", "record"]).to_arrow(), "id", "record"), strict=True))
        return [from_record(json.loads(found[name])) for name in ids if name in found]

    def count(self) -> int:
        """See `Index`."""
        return int(self._table.count_rows())

    def remove(self) -> None:
        """See `Index`."""
        shutil.rmtree(self._folder)

    def export(self) -> Iterator[tuple[list[Passage], Vectors]]:
        """See `Index`."""
        names = self._table.search().select(["document_id"]).limit(self.count()).to_arrow().column(0)
        sizes = sorted((str(pair["values"]), int(pair["counts"])) for pair in names.value_counts().to_pylist())
        while sizes:
            batch, rows = [], 0
            while sizes and rows < EXPORTED:
                name, size = sizes.pop(0)
                batch.append(name)
                rows += size
            query = self._table.search().where(f"document_id in ({_quoted(batch)})").limit(rows)
            found = query.select(["record", "vector"]).to_arrow()
            (records,) = _columns(found, "record")
            passages = [from_record(json.loads(row)) for row in records]
            order = sorted(range(rows), key=lambda row: (passages[row].document_id, passages[row].id))
            vectors = found.column("vector").combine_chunks().flatten().to_numpy().reshape(rows, self._width)
            yield [passages[row] for row in order], vectors[order]


def _quoted(names: Iterable[str]) -> str:
    """Names as SQL string literals."""
    return ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(names))


def _documents(within: Within) -> str:
    """A condition on the rows."""
    if not within.ids:
        return "true" if within.but else "false"
    return f"document_id {'not ' * within.but}in ({_quoted(within.ids)})"


def _columns(table: Any, *names: str) -> tuple[list[Any], ...]:
    return tuple(table.column(name).to_pylist() for name in names)
