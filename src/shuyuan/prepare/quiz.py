"""Exam questions made from documents without a model, gated, and drawn evenly over kinds and languages."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.records import Document, Kept, Passage
from shuyuan.base.settings import Settings
from shuyuan.prepare.distract import swapped, with_choices
from shuyuan.prepare.gates import Finds, gated
from shuyuan.prepare.making import MAKERS, Item, items
from shuyuan.prepare.questions import Row

_PARAPHRASES = 0.15  # of the questions are second wordings
_MOST_OF = {"heading": 0.1, "step": 0.1}  # share at most, of what is easy


class Quiz(Settings):
    """What an exam that is made from documents holds."""

    count: Annotated[int, Field(ge=1, le=10_000, description="how many answerable questions, at most")] = 60
    makers: Annotated[tuple[str, ...], Field(description=f"what to make questions from: {', '.join(MAKERS)}")] = MAKERS
    choices: Annotated[
        float, Field(ge=0, le=1, description="multiple-choice twins, as a share of the answerable questions")
    ] = 0.2
    unanswerable: Annotated[
        float, Field(ge=0, le=1, description="questions without an answer, as a share of the answerable ones")
    ] = 0.2
    seed: Annotated[int, Field(ge=0, description="which of the possible questions are drawn")] = 0

    def make(
        self, documents: Iterable[Document], passages: Sequence[Passage], finds: Finds, known: Sequence[str] = ()
    ) -> Made:
        """Make all, gate all, draw some. `finds` searches the passages by words; `known`: questions there already."""
        for maker in self.makers:
            if maker not in MAKERS:
                raise Fixable(f"there is no maker '{maker}'", near_miss(maker, MAKERS))
        good, kept = gated(list(items(documents, self.makers)), passages, finds, known)
        second = round(_PARAPHRASES * self.count)
        drawn = self._drawn([item for item in good if item.kind != "paraphrase"], self.count - second)
        facts = {item.fact for item in drawn}
        drawn += self._drawn([item for item in good if item.kind == "paraphrase" and item.fact in facts], second)
        twins = [twin for twin in with_choices(good) if twin.fact in facts]
        none = list(swapped(good, passages))
        more = self._drawn(twins, round(self.choices * len(drawn)))
        more += self._drawn(none, round(self.unanswerable * len(drawn)))
        return Made((*drawn, *more), kept)

    def _drawn(self, items: Sequence[Item], count: int) -> list[Item]:
        """`count` items: languages, kinds and documents take turns; inside each the order is drawn by the seed."""
        groups: dict[tuple[str, str, str], list[Item]] = defaultdict(list)
        for item in sorted(items, key=lambda item: self._rank(item.document.source + item.text)):
            groups[item.language, item.made, item.kind].append(item)
        for group in groups.values():
            _documents_take_turns(group)
        rounds = sorted(groups, key=lambda key: self._rank("".join(key)))
        drawn: list[Item] = []
        given: dict[str, int] = defaultdict(int)
        while len(drawn) < count and any(groups.values()):
            for language in sorted({key[0] for key in rounds}):
                waiting = [key for key in rounds if key[0] == language and groups[key]]
                if not waiting or len(drawn) == count:
                    continue
                key = min(waiting, key=lambda key: (given["".join(key)], rounds.index(key)))
                given["".join(key)] += 1
                item = groups[key].pop(0)
                limits = [share for name, share in _MOST_OF.items() if name in key]
                same = sum(1 for other in drawn if {other.made, other.kind} & {n for n in _MOST_OF if n in key})
                if not limits or same < min(limits) * count:
                    drawn.append(item)
        return drawn

    def _rank(self, text: str) -> bytes:
        return hashlib.sha256(f"{self.seed}\n{text}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Made:
    """Questions that were drawn, and what became of all that could be made."""

    items: tuple[Item, ...]
    kept: Kept


def rows(items: Iterable[Item], use: str = "exam") -> list[Row]:
    """Items as rows of a question file."""
    return [
        Row(
            question=item.text,
            answers=item.answers,
            fact=item.fact,
            use=use,
            language=item.language,
            source=item.document.source,
            evidence=item.evidence.strip(),
            place="",
            kind=item.kind,
            made=item.made,
            choices=item.choices,
        )
        for item in items
    ]


def _documents_take_turns(group: list[Item]) -> None:
    """Reorder in place: the first of each document, then the second of each, and so on."""
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for position, item in enumerate(group):
        turns.append((seen[item.document.source], position, item))
        seen[item.document.source] += 1
    group[:] = [item for _, _, item in sorted(turns, key=lambda turn: turn[:2])]
