"""Self-consistency: is the answer that an assistant gives most often, asked several times, a right one?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.marking import Metric
from shuyuan.measure.text import tokens


class SelfConsistency(Metric):
    """Accuracy of the majority (Wang et al. 2022): answers that are equal once normalised vote together.

    Declining is a vote as well. Where several lead they share the mark, so neither order nor luck decides.
    """

    reading: ClassVar[tuple[str, ...]] = (*Metric.reading, "right:contains", "ties:shared")

    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """The accuracy of a single answer."""
        return Accuracy().measure(answer, question)

    def sampled(self, answers: Sequence[Answer], question: Question, relevant: Collection[str] = ()) -> float | None:
        """0 to 1; None where the question has no answer."""
        votes: dict[tuple[str, ...] | None, list[Answer]] = defaultdict(list)
        for answer in answers:
            votes[None if answer.refused else tokens(answer.text, question.language)].append(answer)
        most = max(map(len, votes.values()), default=0)
        leaders = [group[0] for group in votes.values() if len(group) == most]
        return super().sampled(leaders, question, relevant)
