"""One question → several to look up: other wordings of it, or the steps that lead to its answer. The model writes them.

Other wordings are searched together with the question (multi-query retrieval). Steps go from the easiest on, each with
what was found out before it (least-to-most prompting, Zhou et al., 2022, arXiv 2205.10625).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from shuyuan.base.records import Answer, Assistant, Decoding, ask
from shuyuan.read.language import language
from shuyuan.recall.ground import spoken
from shuyuan.store.contract import normal

How = Literal["one", "several", "steps"]
MOST = 3  # further questions
_TOKENS = 96  # that the model may write for them
_LONGEST = 300  # characters; a longer line is no question
_PROMPT = {
    ("several", "en"): "Ask the same in {most} other ways, in other words, one on each line. Question: {question}",
    ("several", "zh"): "把下面的问题换{most}种说法，用不同的词，每行一个。问题：{question}",
    ("steps", "en"): (
        "To answer the question below, which simpler questions must be looked up first? Write at most {most}, the "
        "easiest first, one on each line. Question: {question}"
    ),
    (
        "steps",
        "zh",
    ): "要回答下面的问题，需要先查清哪些更简单的问题？最多写{most}个，从最容易的开始，每行一个。问题：{question}",
}
_MARK = re.compile(r"^\s*(?:(?:\d+|[a-z])[.)、:：]|[-*•]|Q\d*:|问题\d*[:：])\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What to search for, the question itself first, and the tokens that it took to write them."""

    texts: tuple[str, ...]
    prompt_tokens: int = 0
    answer_tokens: int = 0

    def and_then(self, text: str, answer: Answer) -> Rewritten:
        """With one more text, that an answer was needed for."""
        tokens = self.prompt_tokens + answer.prompt_tokens, self.answer_tokens + answer.answer_tokens
        return Rewritten((*self.texts, text), *tokens)


def rewritten(model: Assistant, questions: Sequence[str], how: How) -> list[Rewritten]:
    """For each question, what to search for: itself, and up to three that the model writes, all asked in one batch."""
    prompts = [
        _PROMPT[how, spoken(language(question))].format(most=MOST, question=question.strip()) for question in questions
    ]
    said = model.answer([ask(prompt) for prompt in prompts], Decoding(max_tokens=_TOKENS))
    return [
        Rewritten((question, *_lines(one.text, question)), one.prompt_tokens, one.answer_tokens)
        for question, one in zip(questions, said, strict=True)
    ]


def step_by_step(steps: Rewritten, find_out: Callable[[str], Answer]) -> Rewritten:
    """The steps again, each with what was found out in those before it; `find_out` answers one from the library."""
    walked = Rewritten(steps.texts[:1], steps.prompt_tokens, steps.answer_tokens)
    known: list[str] = []
    for step in steps.texts[1:]:
        text = " ".join([step, *known])
        answer = find_out(text)
        walked = walked.and_then(text, answer)
        if not answer.refused:
            known.append(answer.text)
    return walked


def _lines(said: str, question: str) -> list[str]:
    """The questions in what the model wrote; the question itself, and what is none, left out.

    A small model asked for questions likes to answer instead, and what it invents must not be looked up.
    """
    found: dict[str, str] = {}
    for line in said.splitlines():
        text = _MARK.sub("", line).strip()
        if text.endswith(("?", "？")) and len(text) <= _LONGEST:
            found.setdefault(normal(text).casefold(), text)
    found.pop(normal(question.strip()).casefold(), None)
    return list(found.values())[:MOST]
