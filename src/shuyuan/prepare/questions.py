"""Question files (JSONL, CSV, XLSX, Markdown) → rows; rows → examples to learn from and exam questions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import fingerprint
from shuyuan.base.records import Example, Kept, Message, Question
from shuyuan.prepare.conversations import identified
from shuyuan.prepare.normal import normal, simplified
from shuyuan.prepare.question_forms import WORKBOOKS, column_of, looks_like_markdown, markdown_rows, workbook_rows
from shuyuan.prepare.rows import csv_rows, json_lines
from shuyuan.read.encoding import decode
from shuyuan.read.formats import load
from shuyuan.read.language import language

COLUMNS = (
    *("question", "answer", "reply", "fact", "use", "language", "source", "evidence"),
    *("kind", "made", "choices"),
)
KINDS = ("paraphrase", "reversed", "two-passage", "changed-fact", "cross-language", "unanswerable", "choice")
USES = ("learn", "exam")
_USES_IN_CHINESE = {"学": "learn", "学习": "learn", "考": "exam", "考试": "exam"}
ALTERNATIVES = " | "
LIKE = '{"question": …, "answer": …}'
REFUSALS = {"zh": "资料里没有这个问题的答案。", "en": "The material does not answer this question."}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a question file. No `answers`: the question cannot be answered from the material.

    `reply` is what to learn to say; the first answer when it is empty. `kind`, `made` and `choices` as in `Question`.
    """

    question: str
    answers: tuple[str, ...]
    fact: str
    use: str
    language: str
    source: str
    evidence: str
    place: str
    reply: str = ""
    kind: str = ""
    made: str = ""
    choices: tuple[str, ...] = ()


def read_questions(path: Path, name: str = "") -> tuple[list[Row], Kept]:
    """The rows of one question file, and how many were dropped as duplicates. `name` stands in the rows' places.

    JSONL: an object a line; `answer` may be a list of alternatives. CSV, a spreadsheet's first sheet, a table in
    Markdown: a header, then rows; alternatives are parted by ` | `. Any common encoding. A missing question, an unknown
    column or a wrong value is a `Fixable` naming file:line.
    """
    start, raw = _raw(path)
    rows: list[Row] = []
    came = 0
    there: dict[str, int] = {}
    for line, values in raw:
        came += 1
        if start != "{":
            values |= {c: (values.get(c) or "").split(ALTERNATIVES) for c in ("answer", "choices")}
        row = _row(values, f"{path}:{line}", f"{name or path}:{line}")
        earlier = there.setdefault(wording(row), len(rows))
        if earlier == len(rows) or (row.use and rows[earlier].use not in ("", row.use)):
            rows.append(row)  # the same words on both sides stay: the leak check names them
        elif row.use:
            rows[earlier] = replace(rows[earlier], use=row.use)
    if not rows:
        raise Fixable("there are no questions in it", "write one a line; see docs/prepare.md#questions", path)
    dropped = {"duplicate": came - len(rows)} if came > len(rows) else {}
    return rows, Kept(came, len(rows), dropped, "questions")


def _raw(path: Path) -> tuple[str, Iterable[tuple[int, dict[str, Any]]]]:
    """How a file begins, and its rows by line, in whichever form it is."""
    data = load(path)
    if data.startswith(WORKBOOKS):
        return "", workbook_rows(data, path, _columns)
    text = decode(data, path)
    start = text.lstrip()[:1]
    if start == "[":
        raise Fixable("this is one JSON list", "put one object a line (JSONL)", f"{path}:1")
    lines = io.StringIO(text, newline="\n")
    if start == "{":
        return start, json_lines(lines, path, LIKE)
    if looks_like_markdown(text):
        return start, markdown_rows(text, path, _columns)
    return start, csv_rows(lines, path, _columns)


def examples(rows: Iterable[Row]) -> list[Example]:
    """What is learned from each row: its reply, else its first answer, else a short refusal in its language."""
    made = []
    for row in rows:
        answer = row.reply or next(iter(row.answers), REFUSALS.get(row.language, REFUSALS["en"]))
        messages = (Message("user", row.question), Message("assistant", answer))
        made.append(identified(Example("", messages, row.fact, row.place)))
    return made


def exam_questions(rows: Iterable[Row]) -> list[Question]:
    """The exam question of each row."""
    return [
        Question(
            id=fingerprint("question", row.question, *row.choices),
            text=row.question,
            answers=row.answers,
            language=row.language,
            fact=row.fact,
            source=row.source,
            evidence=row.evidence,
            place=row.place,
            kind=row.kind,
            made=row.made,
            choices=row.choices,
        )
        for row in rows
    ]


def as_lines(rows: Iterable[Row]) -> Iterable[str]:
    """Rows as lines of a JSONL question file that `read_questions` takes back."""
    for row in rows:
        one: dict[str, Any] = {"question": row.question, "answer": list(row.answers) or None}
        one |= {column: getattr(row, column) for column in COLUMNS[2:-1] if getattr(row, column)}
        yield json.dumps(one | ({"choices": list(row.choices)} if row.choices else {}), ensure_ascii=False) + "\n"


def wording(row: Row) -> str:
    """What makes two rows one: the same question in normal form, with the same choices."""
    return "\n".join((normal(row.question) or row.question, *row.choices))


def _columns(names: Sequence[str], place: str) -> Sequence[str]:
    """The header's columns by their names in lower case, checked."""
    columns = [column_of(name) for name in names]
    for column, name in zip(columns, names, strict=True):
        if column not in COLUMNS:
            raise Fixable(f"unknown column '{name}'", near_miss(column, COLUMNS), place)
        if columns.count(column) > 1:
            raise Fixable("a column stands there twice", "remove one", place)
    if "question" not in columns:
        raise Fixable("there is no column 'question'", f"columns can be: {', '.join(COLUMNS)}", place)
    return columns


def _row(values: dict[str, Any], where: str, place: str) -> Row:
    for column in values:
        if column not in COLUMNS:
            raise Fixable(f"unknown column '{column}'", near_miss(column, COLUMNS), where)
    plain = {column: _word(values, column, where) for column in COLUMNS if column not in ("answer", "choices")}
    if not plain["question"]:
        raise Fixable("this row has no 'question'", "fill it in, or delete the row", where)
    plain["use"] = _USES_IN_CHINESE.get(simplified(plain["use"]), plain["use"])
    if plain["use"] not in ("", *USES):
        raise Fixable(f"'use' cannot be '{plain['use']}'", near_miss(plain["use"], USES), where)
    answers = tuple(dict.fromkeys(answer for answer in _answers(values.get("answer"), where) if answer))
    if plain["kind"] and plain["kind"] not in KINDS:
        raise Fixable(f"'kind' cannot be '{plain['kind']}'", near_miss(plain["kind"], KINDS), where)
    choices = tuple(choice for choice in _answers(values.get("choices"), where, "choices") if choice)
    _check_choices(choices, answers, where)
    plain["language"] = plain["language"] or language(plain["question"])
    return Row(answers=answers, place=place, choices=choices, **plain)


def _check_choices(choices: Sequence[str], answers: Sequence[str], where: str) -> None:
    if not choices:
        return
    if len({normal(choice) or choice for choice in choices}) < max(2, len(choices)):
        raise Fixable("'choices' needs at least two that differ", "write each once", where)
    if sum(choice in answers for choice in choices) != 1:
        raise Fixable("exactly one of 'choices' has to be an 'answer'", "write the right one as in 'answer'", where)


def _word(values: dict[str, Any], column: str, where: str) -> str:
    value = values.get(column)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Fixable(f"'{column}' must be text, not {json.dumps(value)[:40]}", "put it in quotes", where)
    return value.strip()


def _answers(value: Any, where: str, column: str = "answer") -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return [value.strip()]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [str(value)]
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return [part.strip() for part in value]
    raise Fixable(
        f"'{column}' must be text or a list of texts, not {json.dumps(value)[:40]}", "put it in quotes", where
    )
