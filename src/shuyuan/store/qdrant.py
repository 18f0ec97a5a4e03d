"""A Qdrant server: for libraries that many machines search, or that one machine cannot hold.

The folder keeps only which collection of which server is meant. An upsert is several requests: for a moment a reader
can find a document's old passages beside its new ones, and after a kill in between the same upsert puts it right.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, write_json
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
    other_width,
    record,
    untied,
)
from shuyuan.store.words import asked, terms

_FILE = "qdrant.json"
_MEANING, _WORDS = "meaning", "words"
_BATCH = 256  # points of one request
_EXACT_BELOW = 100_000  # as in lance: a server that has not built its graph yet searches exactly anyway
_K1, _B = 1.2, 0.75  # BM25 as in Lucene and LanceDB; the server multiplies by the rarity it counts itself
_MEAN_TERMS = 300  # stands for the mean length, which would change with every passage


class Qdrant(Settings):
    """Keep passages in a collection of a Qdrant server. A key is taken from QDRANT_API_KEY, never from a file."""

    url: Annotated[
        str, Field(description="address of the server; left out: the index's own, QDRANT_URL, or this machine")
    ] = ""

    def open(self, folder: Path, width: int) -> Index:
        """Open the collection that `folder` names, or make one."""
        file = folder / _FILE
        there = read_json(file) if file.exists() else {}
        url = self.url or there.get("url") or os.environ.get("QDRANT_URL") or "http://localhost:6333"
        index = QdrantIndex(url, there.get("collection") or f"shuyuan-{uuid.uuid4().hex[:16]}", width, file)
        if there != index.place:
            write_json(file, index.place)
        return index


@cache
def _client(url: str) -> Any:
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise Fixable("the package for Qdrant is not installed", "pip install 'shuyuan[qdrant]'") from error
    key = os.environ.get("QDRANT_API_KEY")
    return QdrantClient(url) if url == ":memory:" else QdrantClient(url=url, api_key=key, timeout=60)


class QdrantIndex:
    """A collection of points: a vector by meaning, a sparse one of its terms' frequencies, and the record as JSON."""

    def __init__(self, url: str, collection: str, width: int, file: Path) -> None:
        self.place = {"url": url, "collection": collection}
        self._url, self._name, self._width, self._folder = url, collection, width, file.parent
        self._client = _client(url)
        from qdrant_client import models

        self._models = models
        with self._errors():
            if not self._client.collection_exists(collection):
                self._client.create_collection(
                    collection,
                    # Unit vectors: their dot is the cosine, and unlike for cosine they are kept bit for bit.
                    vectors_config={_MEANING: models.VectorParams(size=width, distance=models.Distance.DOT)},
                    sparse_vectors_config={_WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                )
                for field in ("document_id", "generation"):
                    self._client.create_payload_index(collection, field, models.PayloadSchemaType.KEYWORD)
            there = self._client.get_collection(collection).config.params.vectors[_MEANING].size
        if there != width:
            raise other_width(file, there, width)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from qdrant_client.http.exceptions import ApiException

        try:
            yield
        except (ApiException, OSError) as error:
            hint = "start it, or say where it is: QDRANT_URL, and QDRANT_API_KEY where it asks for a key"
            raise Fixable(f"the Qdrant server at {self._url} does not do it: {error}", hint) from error

    def upsert(self, passages: Sequence[Passage], vectors: Vectors) -> None:
        """See `Index`, and above for what a reader may see meanwhile."""
        check_vectors(passages, vectors, self._width)
        generation = uuid.uuid4().hex
        for start in range(0, len(passages), _BATCH):
            some = zip(passages[start : start + _BATCH], vectors[start : start + _BATCH], strict=True)
            points = [self._point(passage, vector, generation) for passage, vector in some]
            with self._errors():
                self._client.upsert(self._name, points, wait=True)
        m = self._models
        new = m.FieldCondition(key="generation", match=m.MatchValue(value=generation))
        names = sorted({passage.document_id for passage in passages})
        for start in range(0, len(names), _BATCH):
            old = m.Filter(must=[self._of(names[start : start + _BATCH])], must_not=[new])
            with self._errors():
                self._client.delete(self._name, m.FilterSelector(filter=old), wait=True)

    def _point(self, passage: Passage, vector: Vectors, generation: str) -> Any:
        counted = Counter(zlib.crc32(term.encode()) for term in terms(passage.searchable))
        room = _K1 * (1 - _B + _B * counted.total() / _MEAN_TERMS)
        words = {term: times * (_K1 + 1) / (times + room) for term, times in counted.items()}
        places: dict[str, Any] = {_MEANING: vector.tolist()}
        if words:
            places[_WORDS] = self._models.SparseVector(indices=list(words), values=list(words.values()))
        payload = {
            "id": passage.id,
            "document_id": passage.document_id,
            "generation": generation,
            "record": json.dumps(record(passage)),
        }
        return self._models.PointStruct(id=_point_id(passage.id), vector=places, payload=payload)

    def _of(self, documents: Sequence[str]) -> Any:
        return self._models.FieldCondition(key="document_id", match=self._models.MatchAny(any=list(documents)))

    def delete_document(self, document_id: str) -> None:
        """See `Index`."""
        selected = self._models.FilterSelector(filter=self._models.Filter(must=[self._of([document_id])]))
        with self._errors():
            self._client.delete(self._name, selected, wait=True)

    def optimise(self) -> None:
        """See `Index`; the server does so by itself."""

    def purge(self) -> None:
        """See `Index`; the folder holds nothing, and when a server overwrites deleted points is its own affair."""

    def dense(self, vector: Vectors, k: int, within: Within | None = None) -> list[Scored]:
        """See `Index`."""
        exact = self._models.SearchParams(exact=True) if self.count() < _EXACT_BELOW else None
        return untied(lambda limit: self._query(vector.tolist(), _MEANING, limit, within, exact), k)

    def words(self, text: str, k: int, within: Within | None = None) -> list[Scored]:
        """See `Index`."""
        indices = sorted({zlib.crc32(term.encode()) for term in asked(text)})
        query = self._models.SparseVector(indices=indices, values=[1.0] * len(indices))
        return untied(lambda limit: self._query(query, _WORDS, limit, within), k) if indices else []

    def _query(self, query: Any, using: str, limit: int, within: Within | None, params: Any = None) -> list[Scored]:
        wanted = None
        if within is not None:
            listed = [self._of(sorted(within.ids))]
            wanted = self._models.Filter(must_not=listed) if within.but else self._models.Filter(must=listed)
        with self._errors():
            found = self._client.query_points(
                self._name,
                query=query,
                using=using,
                limit=limit,
                query_filter=wanted,
                search_params=params,
                with_payload=["id"],
            )
        return [(point.payload["id"], point.score) for point in found.points]

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `Index`."""
        with self._errors():
            points = self._client.retrieve(self._name, [_point_id(name) for name in ids], with_payload=["id", "record"])
        found = {point.payload["id"]: point.payload["record"] for point in points}
        return [from_record(json.loads(found[name])) for name in ids if name in found]

    def count(self) -> int:
        """See `Index`."""
        with self._errors():
            return int(self._client.count(self._name, exact=True).count)

    def remove(self) -> None:
        """See `Index`."""
        with self._errors():
            self._client.delete_collection(self._name)
        shutil.rmtree(self._folder)

    def export(self) -> Iterator[tuple[list[Passage], Vectors]]:
        """See `Index`."""
        sizes = sorted(Counter(point.payload["document_id"] for point in self._scroll(["document_id"])).items())
        while sizes:
            batch: list[str] = []
            rows = 0
            while sizes and rows < EXPORTED:
                name, size = sizes.pop(0)
                batch.append(name)
                rows += size
            points = self._scroll(["record"], self._models.Filter(must=[self._of(batch)]), vectors=True)
            pairs = [(from_record(json.loads(point.payload["record"])), point.vector[_MEANING]) for point in points]
            pairs.sort(key=lambda pair: (pair[0].document_id, pair[0].id))
            yield [passage for passage, _ in pairs], np.array([vector for _, vector in pairs], np.float32)

    def _scroll(self, payload: Sequence[str], wanted: Any = None, vectors: bool = False) -> Iterator[Any]:
        after = None
        while True:
            with self._errors():
                points, after = self._client.scroll(
                    self._name,
                    scroll_filter=wanted,
                    limit=_BATCH,
                    offset=after,
                    with_payload=list(payload),
                    with_vectors=[_MEANING] if vectors else False,
                )
            yield from points
            if after is None:
                return


def _point_id(passage_id: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, passage_id))
