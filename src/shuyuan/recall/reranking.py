"""The first passages found, in a new order: question and passage are read together, token by token.

A passage's worth begins as its evidence (`evidence.py`), less a little for each place further down that search found
it at: nothing is trained for that. To it comes what an encoder makes of both together (`load/together.py`), where its
upper layers were trained for this library (`learning.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shuyuan.base.errors import Fixable
from shuyuan.load.embedder import Embedder
from shuyuan.load.together import AGAIN, Joint, open_joint, save_joint
from shuyuan.recall.embedding import Embeds
from shuyuan.recall.evidence import Read, evidence, placed
from shuyuan.recall.state import RERANKER
from shuyuan.store.contract import normal

FIRST = 20  # passages that are ranked again
_SURE = 10.0  # log-odds that one more of evidence is worth
_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Seen:
    """A text as the embedder reads it: its tokens one by one, and all of them below the joint layers, if any."""

    tokens: Read
    below: Tensor | None


@dataclass(frozen=True)
class Reranker:
    """Ranks again by an embedder's tokens and, where they were trained, by layers that read both texts together."""

    embedder: Embeds
    joint: Joint | None = None
    first: int = FIRST

    @classmethod
    def open(cls, way: str, embedder: Embeds, folder: Path) -> Reranker:
        """The one that is kept with a library. Raises Fixable where its file is missing, damaged or a foreign one.

        `way`: `tokens`, or `trained` where there are joint layers too.
        """
        if way == "tokens":
            return cls(embedder)
        if way != "trained" or not isinstance(embedder, Embedder):
            raise Fixable(f"the reranker of this library is '{way}', which is not known here", AGAIN, folder)
        return cls(embedder, open_joint(embedder, folder / RERANKER, _said(embedder)))

    def keep(self, folder: Path) -> str:
        """Write what was trained, if anything was; how it is called in the library's state."""
        if self.joint is None:
            return "tokens"
        save_joint(self.joint, folder / RERANKER, _said(self.embedder))
        return "trained"

    def read(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> list[Seen]:
        """Each text, read alone."""
        texts = [normal(text) for text in texts]
        if self.joint is None:
            return [Seen(read, None) for read in self.embedder.read(texts, kind)]
        assert isinstance(self.embedder, Embedder)
        readings = self.embedder.readings(texts, kind, self.joint.below)
        return [Seen((one.tokens, one.states), one.below) for one in readings]

    def scores(self, question: Seen, passages: Sequence[Seen]) -> NDArray[np.float64]:
        """What each passage is worth for the question: log-odds among them. They come as they were found, best first.

        Without joint layers, or before these have learned anything, this is `begun`.
        """
        scores = begun(question, passages, range(len(passages)))
        if self.joint is not None and passages:
            assert question.below is not None
            scores += self.joint.scores(question.below, [one.below for one in passages if one.below is not None])
        return scores

    def ranked(self, question: str, texts: Sequence[str]) -> list[int]:
        """The rows of `texts`, which come as they were found: the first ones best first, the rest as it was."""
        (asked,) = self.read([question], "query")
        scores = self.scores(asked, self.read(texts[: self.first], "passage"))
        return [*np.argsort(-scores, kind="stable").tolist(), *range(len(scores), len(texts))]


def begun(question: Seen, passages: Sequence[Seen], places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
    """The scores before anything is trained: evidence, and the places (from 0) at which search found them."""
    return _SURE * placed(evidence(question.tokens, [one.tokens for one in passages]), places)


def _said(embedder: Embeds) -> dict[str, str]:
    return {"format": "pt", "embedder": embedder.name, "reranker": _VERSION}
