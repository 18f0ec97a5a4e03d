"""Look into an exam: every question with what each assistant read, said and cited, and how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import fingerprint
from shuyuan.base.records import Answer, Question
from shuyuan.examine.ledger import DECLINING
from shuyuan.examine.results import MAIN, Exam, Sheet
from shuyuan.measure.refusal import declined

GENERAL = "forgetting/accuracy"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one assistant said to one question: its mark (mean over samples), and every sample with its prompt.

    The mark is None where a paper does not mark one answer alone.
    """

    assistant: str
    mark: float | None
    declined: bool
    answers: tuple[Answer, ...]

    @property
    def right(self) -> bool:
        """Whether every sample met the question."""
        return self.mark == 1.0


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its replies."""

    question: Question
    replies: tuple[Reply, ...]

    @property
    def split(self) -> float:
        """How evenly the assistants are divided, 0 to 0.25."""
        share = sum(reply.mark or 0.0 for reply in self.replies) / max(1, len(self.replies))
        return share * (1 - share)


def items(
    exam: Exam,
    question: str = "",
    assistants: Sequence[str] = (),
    *,
    wrong: bool = False,
    disagree: bool = False,
) -> tuple[Item, ...]:
    """The questions of an exam, those about the material first, with the replies of all or of the named `assistants`.

    `question` keeps those whose id, or part of whose text, it is; `wrong` those that somebody shown got wrong;
    `disagree` those that divide the assistants shown, most evenly divided first. Raises Fixable for an unknown name or
    question.
    """
    names = [sheet.name for sheet in exam.sheets]
    for name in assistants:
        if name not in names:
            raise Fixable(f"'{name}' did not sit the exam '{exam.name}'", near_miss(name, names))
    shown = [sheet for sheet in exam.sheets if not assistants or sheet.name in assistants]
    chosen = [*exam.questions, *exam.general, *exam.others]
    if question:
        exact = [one for one in chosen if one.id == question]
        chosen = exact or [one for one in chosen if question.casefold() in one.text.casefold()]
        if not chosen:
            raise Fixable(f"no question of the exam '{exam.name}' holds '{question}'", "see: shuyuan exam show")
    found = [Item(one, tuple(_reply(sheet, one) for sheet in shown)) for one in chosen]
    if wrong:
        found = [item for item in found if any(reply.mark not in (None, 1.0) for reply in item.replies)]
    if disagree:
        found = sorted(
            (item for item in found if item.split > 0), key=lambda item: (-item.split, fingerprint(item.question.id))
        )
    return tuple(found)


def _reply(sheet: Sheet, question: Question) -> Reply:
    answers = sheet.samples[question.id]
    marks = (sheet.marks.get(score, {}).get(question.id) for score in (MAIN, GENERAL, DECLINING, *sheet.marks))
    mark = next((mark for mark in marks if mark is not None), None)
    return Reply(sheet.name, mark, all(declined(answer, question) for answer in answers), answers)
