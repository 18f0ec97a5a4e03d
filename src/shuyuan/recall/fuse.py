"""Join the ranking by meaning and the ranking by words: reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from shuyuan.base.settings import Settings
from shuyuan.store.contract import Scored


@dataclass(frozen=True, slots=True)
class Fused:
    """A passage's place in the joint ranking. `cosine`, `word_rank` (from 1): None where that list did not hold it."""

    id: str
    score: float
    cosine: float | None
    word_rank: int | None


# Of a passage in another language than the question: the share of the word weight that is left, and the cosine that one
# in the question's own language may be less near and still go before it.
FOREIGN, PREFERRED = 0.1, 0.05


class Fuse(Settings):
    """Score each passage Σ weight / (k + rank) over the two lists; equal scores by cosine, then by id.

    A passage in another language shares no words with the question but names: it is ranked nearly by meaning alone, and
    behind one as near in the question's own language.
    """

    k: Annotated[int, Field(ge=1, le=1000, description="larger: lower ranks count for more")] = 60
    depth: Annotated[int, Field(ge=1, le=1000, description="how many passages each list gives")] = 50
    word_weight: Annotated[
        float, Field(ge=0, le=1, description="share of the ranking by words; the rest goes to the ranking by meaning")
    ] = 0.3

    def fuse(
        self, dense: Sequence[Scored], words: Sequence[Scored], foreign: Collection[str] = frozenset()
    ) -> list[Fused]:
        """The joint ranking of two lists that are each sorted best first. `foreign`: passages in another language."""
        cosine = dict(dense[: self.depth])
        preferred = sorted(cosine, key=lambda name: -cosine[name] + PREFERRED * (name in foreign))  # stable
        dense_rank = {name: rank for rank, name in enumerate(preferred, 1)}
        word_rank = {name: rank for rank, (name, _) in enumerate(words[: self.depth], 1)}

        def score(name: str) -> float:
            share = self.word_weight
            if name in foreign and share < 1:
                share *= FOREIGN
            by_meaning = (1 - share) / (self.k + dense_rank[name]) if name in dense_rank else 0.0
            by_words = share / (self.k + word_rank[name]) if name in word_rank else 0.0
            return by_meaning + by_words

        found = [Fused(name, score(name), cosine.get(name), word_rank.get(name)) for name in cosine | word_rank]
        found = [one for one in found if one.score > 0]
        return sorted(found, key=lambda one: (-one.score, -(one.cosine if one.cosine is not None else -2.0), one.id))
