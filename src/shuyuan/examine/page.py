"""What the report's template lays out: plain values, worked out from a saved exam."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from shuyuan.base.records import Answer, Question, Score
from shuyuan.examine.ledger import STATES, Fact, Standing, ledger, tally
from shuyuan.examine.plots import spark, stack
from shuyuan.examine.results import BASE, BITS, Exam, Sheet
from shuyuan.examine.showing import Item, Reply, items
from shuyuan.examine.tables import DASH, Column, change_span, columns, percent, signed, small, span, span_of
from shuyuan.examine.words import Speech

ROWS_OPEN = 60  # facts up to which the whole ledger is shown at once
_MOST_ANSWER, _MOST_QUOTE, _MOST_PROMPT = 240, 160, 6000  # characters shown of a reply, a quoted source, a prompt


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of the score table."""

    text: str
    interval: str = ""
    best: bool = False


def score_rows(exam: Exam) -> list[dict[str, Any]]:
    """The score table, best first."""
    return [
        {
            "name": sheet.name,
            "leads": sheet.name in exam.verdict.leaders,
            "wins": sheet.name == exam.verdict.winner,
            "cells": [_cell(exam, sheet, column) for column in columns()],
        }
        for sheet in exam.sheets
    ]


def key_figures(exam: Exam) -> list[tuple[str, str]]:
    """A number and the key of its word: what the paper was, and what it can tell apart."""
    about = exam.facts_about
    found = [
        (f"{about['questions']:,}", "k_questions"),
        (f"{about['facts']:,}", "k_facts"),
        (f"{about['documents']:,}", "k_documents"),
        (str(len(exam.sheets)), "k_assistants"),
    ]
    nearest = next(iter(exam.verdict.comparisons), None)
    if nearest and nearest.detectable:
        found.append((percent(nearest.detectable), "k_detectable"))
    return [*found, (f"{about['leaks']:,}", "k_leaks")]


def languages(exam: Exam) -> dict[str, Any]:
    """The main score in each language, where there are several."""
    names = sorted({language for sheet in exam.sheets for language in sheet.by_language})
    counts = {name: sum(q.language == name for q in exam.answerable) for name in names}
    rows = [
        {"name": sheet.name, "cells": [(percent(s.value), span(s)) for n in names if (s := sheet.by_language[n])]}
        for sheet in exam.sheets
        if sheet.by_language
    ]
    return {"names": [(name, counts[name]) for name in names], "rows": rows}


def further(exam: Exam) -> list[dict[str, Any]]:
    """The figures of papers that the score table has no columns for, one table a paper: value and interval."""
    shown = {column.score.partition("/")[0] for column in columns() if column.score}
    found = []
    for paper in dict.fromkeys(key.partition("/")[0] for sheet in exam.sheets for key in sheet.scores):
        if paper in shown:
            continue
        heads = list(dict.fromkeys(k for sheet in exam.sheets for k in sheet.scores if k.startswith(f"{paper}/")))
        signed_here = {
            head for head in heads if any(mark < 0 for s in exam.sheets for mark in s.marks.get(head, {}).values())
        }
        rows = [
            {
                "name": sheet.name,
                "cells": [_further(sheet.scores.get(head), head in signed_here) for head in heads],
            }
            for sheet in exam.sheets
        ]
        found.append({"paper": paper, "heads": [head.partition("/")[2] for head in heads], "rows": rows})
    return found


def _further(score: Score | None, with_sign: bool) -> Cell:
    if score is None:
        return Cell(DASH)
    if with_sign:
        return Cell(signed(score.value, 2), span_of(score.low, score.high, lambda value: signed(value, 2)))
    return Cell(percent(score.value), span(score)) if score.value <= 1 else Cell(small(score.value))


def ledger_rows(exam: Exam) -> dict[str, Any]:
    """The ledger: a bar for each assistant, and the facts of each document."""
    facts = ledger(exam)
    names = [sheet.name for sheet in exam.sheets]
    sources: dict[str, list[dict[str, Any]]] = {}
    for fact in facts:
        sources.setdefault(fact.source, []).append(_fact_row(fact, names))
    bars = [
        {"name": name, "bar": stack([(state, row[state]) for state in STATES]), **row}
        for name, row in tally(facts).items()
    ]
    return {"n": len(facts), "names": names, "bars": bars, "sources": sources, "open": len(facts) <= ROWS_OPEN}


def trainings(exam: Exam) -> list[dict[str, Any]]:
    """Every run's learning curve, once, in the order of the assistants."""
    found: dict[str, dict[str, Any]] = {}
    for step in (step for sheet in exam.sheets for step in sheet.made if step.get("curve")):
        curve, looks = step["curve"], step["curve"]["looks"]
        kept = next((n for n, look in enumerate(looks) if look["step"] == curve["best_step"]), -1)
        found[step["name"]] = {
            "name": step["name"],
            "verdict": f"v_{curve['verdict']}",
            "held": _course([look["held_out_loss"] for look in looks], kept),
            "general": _course([look["general_bits_per_byte"] for look in looks], kept),
        }
    return list(found.values())


def runs(exam: Exam) -> list[tuple[str, ...]]:
    """Every run that somebody was made by: name, seed, tokens learned, minutes, peak memory, fingerprint."""
    found = {}
    for step in (step for sheet in exam.sheets for step in sheet.made):
        found[step["name"]] = (
            str(step["name"]),
            str(step.get("seed", DASH)),
            f"{step.get('trained_tokens') or 0:,}",
            small(float(step.get("seconds") or 0) / 60),
            small(float(step.get("peak_bytes") or 0) / 1e9),
            str(step.get("fingerprint", DASH)),
        )
    return list(found.values())


def disagreements(exam: Exam, most: int = 10) -> list[Question]:
    """The questions on which assistants are most evenly split, one a fact; none where all did the same."""
    return [item.question for item in _apart(exam, most)]


def apart(exam: Exam, t: Speech) -> list[dict[str, Any]]:
    """Those questions with what everybody said, those who were right first; what counts as right is marked."""
    return [
        {
            "question": item.question,
            "evidence": excerpt(item.question.evidence, item.question.answers, _MOST_QUOTE),
            "replies": [
                _reply(reply, item.question, t)
                for reply in sorted(item.replies, key=lambda reply: -(reply.mark or 0.0))
            ],
        }
        for item in _apart(exam)
    ]


def excerpt(text: str, needles: Sequence[str], most: int) -> Markup:
    """A text on one line, cut around the first needle that it holds, with every needle marked."""
    text = " ".join(text.split())
    spoken = "|".join(re.escape(" ".join(n.split())) for n in sorted(needles, key=len, reverse=True) if n.strip())
    first = re.search(spoken, text, re.IGNORECASE) if spoken else None
    start = max(0, first.start() - most // 3) if first and first.end() > most else 0
    shown = ("…" if start else "") + text[start : start + most] + ("…" if start + most < len(text) else "")
    if not first:
        return escape(shown)
    pieces = re.split(f"({spoken})", shown, flags=re.IGNORECASE)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces)
    )


def breaking(name: str) -> Markup:
    """An assistant's name, which may go on in the next line after each of its routes."""
    return escape(name).replace("+", Markup("+<wbr>"))


def _apart(exam: Exam, most: int = 10) -> list[Item]:
    asked = {question.id for question in exam.questions}
    found: dict[str, Item] = {}
    for item in items(exam, disagree=True):
        if item.question.id in asked and len(found) < most:
            found.setdefault(item.question.fact or item.question.id, item)
    return list(found.values())


def _reply(reply: Reply, question: Question, t: Speech) -> dict[str, Any]:
    answer = reply.answers[0]
    mark = "✓" if reply.right else f"{reply.mark:.0%}" if reply.mark else "○" if reply.declined else "×"
    return {
        "name": reply.assistant,
        "kind": "right" if reply.right else "wrong",
        "mark": mark,
        "declined": reply.declined,
        "text": excerpt(answer.text, question.answers, _MOST_ANSWER),
        "places": _places(answer, question),
        "cost": t(
            "seconds_tokens",
            seconds=small(answer.seconds),
            read=f"{answer.prompt_tokens:,}",
            written=f"{answer.answer_tokens:,}",
        ),
        "prompt": answer.prompt[:_MOST_PROMPT] + ("…" if len(answer.prompt) > _MOST_PROMPT else ""),
    }


def _places(answer: Answer, question: Question) -> list[tuple[str, Markup]]:
    """The first citations as place and quote."""
    return [
        (
            f"{c.source}" + (f", p. {c.page}" if c.page else "") + f" [{c.start}–{c.end}]",
            excerpt(c.quote, question.answers, _MOST_QUOTE),
        )
        for c in answer.citations[:2]
    ]


def _fact_row(fact: Fact, names: Sequence[str]) -> dict[str, Any]:
    first = fact.questions[0]
    return {
        "text": first.text,
        "language": first.language,
        "answer": first.answers[0] if fact.answerable else "",
        "wordings": len(fact.questions),
        "cells": [_standing(name, fact.standings.get(name)) for name in names],
    }


def _standing(name: str, standing: Standing | None) -> dict[str, str]:
    if standing is None:
        return {"state": "none", "title": name, "sign": DASH}
    right = sum(mark == 1.0 for mark in standing.marks.values())
    share = f"{right}/{len(standing.marks)}"
    return {"state": standing.state, "title": f"{name}: {share}", "sign": "↓" if standing.lost else ""}


def _course(values: Sequence[float | None], kept: int) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        return None
    return {"spark": spark(known, kept), "first": f"{known[0]:.2f}", "last": f"{known[kept]:.2f}"}


def _cell(exam: Exam, sheet: Sheet, column: Column) -> Cell:
    number = column.number(sheet)
    if number is None:
        return Cell(DASH)
    text = column.cell(number)
    others = [n for each in exam.sheets if (n := column.number(each)) is not None]
    best = (max if column.higher_is_better else min)(others)
    ties = sum(column.cell(other) == column.cell(best) for other in others)
    bold = column.cell(best) == text and ties * 2 <= len(others)
    return Cell(text, _small_print(sheet, column), bold)


def _small_print(sheet: Sheet, column: Column) -> str:
    score = (sheet.changes if column.change else sheet.scores).get(column.score)
    base = column.change and sheet.name == BASE  # the model against itself
    if score is None or score.low is None or base or column.group == "g_answer":
        return ""
    if not column.change:
        return span(score)
    return change_span(score) if column.score != BITS else span_of(score.low, score.high, lambda v: signed(v, 2))
