"""Embeddings as OpenAI's: texts to vectors of length one, by the workspace's own embedder."""

from __future__ import annotations

import base64
import threading
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from shuyuan.base.settings import Settings
from shuyuan.base.workspace import Workspace
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.limits import Body
from shuyuan.serve.refusals import Refused

router = APIRouter(prefix="/v1", tags=["openai"])
Asker = Annotated[Visitor, Depends(Door("ask"))]
MOST_TEXTS = 2048
_turn = threading.Semaphore(2)  # embeddings that are computed at the same time


class Embeddings(Settings):
    """Endpoint `/v1/embeddings`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class EmbeddingRequest(Body):
    """Texts to be placed. `input_type`: a question to look up with, or a passage to be found."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(min_length=1, max_length=300, description="the embedder's name, or `text-embedding-…`")
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=MOST_TEXTS)]
    )
    input_type: Literal["query", "passage"] = "query"
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, le=100_000, description="the embedder's own number only")
    user: str | None = Field(default=None, max_length=1000)


class Vector(BaseModel):
    """One text's vector: numbers, or their little-endian float32 in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    total_tokens: int


class Vectors(BaseModel):
    """The vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Vector]
    model: str
    usage: EmbeddingUsage


@router.post("/embeddings")
def embeddings(visitor: Asker, wanted: EmbeddingRequest) -> Vectors:
    """Place texts."""
    name = Workspace.open(visitor.house.folder(visitor.workspace)).choices.embedder
    if wanted.model != name and not wanted.model.startswith("text-embedding-"):
        said = f"The model '{wanted.model[:200]}' does not exist"
        raise Refused(404, said, f"this workspace has {name}", code="model_not_found", param="model")
    embedder = visitor.house.embedder(name)
    if wanted.dimensions not in (None, embedder.width):
        raise Refused(400, f"{name} has {embedder.width} dimensions", param="dimensions", code="invalid_value")
    texts = [wanted.input] if isinstance(wanted.input, str) else wanted.input
    tokens = sum(embedder.tokens(texts, wanted.input_type))
    with _turn:
        vectors = embedder.embed(texts, wanted.input_type)
    as_text = wanted.encoding_format == "base64"
    shown = [base64.b64encode(row.astype("<f4").tobytes()).decode() if as_text else row.tolist() for row in vectors]
    data = [Vector(index=number, embedding=one) for number, one in enumerate(shown)]
    used = EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
    return Vectors(data=data, model=wanted.model, usage=used)
