"""Format: instructions about the form of an answer (three sentences, only JSON), checked by a program."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

from shuyuan.base.records import Answer, Question
from shuyuan.examine.forgetting import DATA
from shuyuan.examine.papers import Paper
from shuyuan.measure.marking import Metric

_SENTENCE_END = re.compile(r"(?:[。！？]+|[.!?]+(?=\s|$))[”\"’』」）)]*")
_HAN = re.compile(r"[\u3400-\u9fff]")


class Format(Paper):
    """20 own instructions in each language (CC0); what is said is not looked at, only its form."""

    pool: ClassVar[str] = "format"

    def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
        """The instructions; `kind` is the check."""
        return tuple(Question(r["id"], r["question"], (), r["language"], r["id"], kind=r["check"]) for r in _rows())

    def metrics(self) -> tuple[Metric, ...]:
        """None that reads what is said."""
        return ()

    def figures(
        self, questions: Sequence[Question], answers: Mapping[str, Answer], nats: Mapping[str, float]
    ) -> Mapping[str, Mapping[str, float]]:
        """`followed`: 1 where the answer has the form that was asked for."""
        wanted = {row["id"]: row for row in _rows()}
        return {"followed": {q.id: float(follows(answers[q.id], wanted[q.id])) for q in questions}}


def follows(answer: Answer, wanted: Mapping[str, Any]) -> bool:
    """Whether an answer has the wanted form (`check` and `value`). A refusal, a cut answer and an echo have none."""
    text = answer.text.strip()
    nothing = not text or answer.refused or answer.cut or _bare(text) == _bare(wanted["question"])
    return not nothing and CHECKS[wanted["check"]](text, wanted["value"])


def _sentences(text: str, count: int) -> bool:
    """Exactly that many sentences, the last one ended."""
    return len(_SENTENCE_END.findall(text)) == count and bool(_SENTENCE_END.search(text[-3:]))


def _json(text: str, keys: Sequence[str]) -> bool:
    made = _parsed(text)
    return isinstance(made, dict) and sorted(made) == sorted(keys)


def _json_list(text: str, count: int) -> bool:
    made = _parsed(text)
    return isinstance(made, list) and len(made) == count


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _han(text: str) -> int:
    return len(_HAN.findall(text))


def _bare(text: str) -> str:
    return "".join(char for char in text if unicodedata.category(char)[0] not in "PSZ").casefold()


CHECKS: dict[str, Callable[[str, Any], bool]] = {
    "sentences": _sentences,
    "words": lambda text, count: len(text.split()) == count and _bare(text) == "".join(text.split()).casefold(),
    "most_words": lambda text, count: len(text.split()) <= count,
    "han": lambda text, count: _han(text) == count == len(text),
    "most_han": lambda text, count: 0 < _han(text) == len(_bare(text)) <= count,
    "json": _json,
    "json_list": _json_list,
    "lines_with": lambda text, mark: len(_lines(text)) == 3 and all(line.startswith(mark) for line in _lines(text)),
    "numbered": lambda text, count: (
        [line.split(".")[0].strip() for line in _lines(text)] == [str(n) for n in range(1, count + 1)]
    ),
    "upper": lambda text, _: text == text.upper() and text != text.lower(),
    "equals": lambda text, wanted: text == wanted,
    "one_of": lambda text, words: _bare(text) in words,
    "digits": lambda text, _: text.isascii() and text.isdigit(),
    "without": lambda text, mark: mark not in text and bool(_SENTENCE_END.search(text)),
    "has": lambda text, word: word in text.casefold() and len(_SENTENCE_END.findall(text)) <= 1,
    "begins": lambda text, word: text.startswith(word),
    "ends": lambda text, word: text.rstrip("。.!！ ").endswith(word),
}


@cache
def _rows() -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(line) for line in (DATA / "format.jsonl").read_text(encoding="utf-8").splitlines())
