"""What every metric shares: its signature, and how an answer is held against several golds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import ClassVar

from shuyuan import __version__
from shuyuan.base.records import Answer, Question
from shuyuan.base.settings import Settings
from shuyuan.base.shelf import kebab_name
from shuyuan.measure.text import NORM, TOKENIZER, tokens

Tokens = tuple[str, ...]


class Metric(Settings, ABC):
    """Something that turns one answer to one question into a number. Each file of this room defines one."""

    higher_is_better: ClassVar[bool] = True
    reads_text: ClassVar[bool] = True

    @abstractmethod
    def measure(self, answer: Answer, question: Question, relevant: Collection[str] = ()) -> float | None:
        """The item's value, or None where the metric does not apply to it.

        `relevant` holds the ids of the passages in which the question's evidence stands.
        """

    @property
    def signature(self) -> str:
        """All that another person needs to repeat the number: `token-f1|refs:max|case:lc|tok:mixed|norm:v1|v:0.1.0`."""
        text = ["refs:max", "case:lc", f"tok:{TOKENIZER}", f"norm:{NORM}"] if self.reads_text else []
        settings = [f"{key}:{value}" for key, value in self.model_dump().items()]
        return "|".join([kebab_name(type(self)), *text, *settings, f"v:{__version__}"])


def best_of_golds(answer: Answer, question: Question, likeness: Callable[[Tokens, Tokens], float]) -> float | None:
    """The highest `likeness(answer, gold)` over the golds; 0 for a refusal; None where there is no gold."""
    if not question.answers:
        return None
    if answer.refused:
        return 0.0
    said = tokens(answer.text, question.language)
    return float(max(likeness(said, tokens(gold, question.language)) for gold in question.answers))
