"""The report: one page that stands alone, and the same in Markdown. A reader of saved results; it measures nothing."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from shuyuan import __version__
from shuyuan.base.files import fingerprint, read_json, write_whole
from shuyuan.base.records import Answer, Question
from shuyuan.examine import plots
from shuyuan.examine.results import BASE, BITS, MAIN, Exam, Sheet
from shuyuan.examine.statistics import Comparison
from shuyuan.examine.tables import (
    DASH,
    Column,
    change_span,
    columns,
    markdown_table,
    p_value,
    percent,
    recall_k,
    signed,
    signed_points,
    span,
    span_of,
    told_apart,
    verdict_lines,
    verdict_words,
)
from shuyuan.examine.words import Language, Speech, plain
from shuyuan.measure.refusal import declined

ANSWERS_FOR_COST = 1000
_MOST_ANSWER, _MOST_QUOTE = 220, 120  # characters shown of a reply and of a quoted source


def write_report(exam: Exam, language: Language = "both") -> None:
    """Write `report.html` and `report.md` into the exam's folder."""
    languages = ("en", "zh") if language == "both" else (language,)
    write_whole(exam.folder / "report.html", html(exam, language))
    write_whole(exam.folder / "report.md", "\n---\n\n".join(markdown(exam, each) for each in languages))


def html(exam: Exam, language: Language = "both") -> str:
    """The page: no script, nothing fetched; light and dark, wide and narrow, screen and paper."""
    source = (files("shuyuan.examine") / "data" / "report.html").read_text(encoding="utf-8")
    pages = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    t = Speech(language)
    return pages.from_string(source).render(
        t=t,
        language=language,
        exam=exam,
        verdict=[t(key, **values) for key, values in verdict_words(exam)],
        groups=[(group, len(list(same))) for group, same in itertools.groupby(columns(), key=lambda c: c.group)],
        heads=[t(column.head, k=recall_k(exam)) for column in columns()],
        rows=[_row(exam, sheet) for sheet in exam.sheets],
        forest=_forest(exam),
        gaps=_gaps(exam),
        languages=_languages(exam),
        cost=_cost_plot(exam, t),
        learned=_learned_plot(exam, t),
        heat=_heat(exam),
        apart=[_Apart.of(exam, question) for question in disagreements(exam)],
        general=bool(exam.general),
        signatures=_signatures(exam),
        paper=read_json(exam.folder / "paper.json")["hash"],
        shuyuan=__version__,
        commands=commands(exam),
    )


def markdown(exam: Exam, language: str = "en") -> str:
    """The verdict, the table, how the paper was made and how to repeat it, in Markdown."""
    say = partial(plain, language=language)
    counts = dict(exam.facts_about)
    made = [say(key, **counts) for key in ("made_questions", "made_material", "made_general", "made_marking")]
    limits = [say("limits_1", model=exam.settings["model"]), say("limits_2"), say("limits_3")]
    repeat = say(
        "repeat_note",
        version=exam.version,
        shuyuan=__version__,
        paper=read_json(exam.folder / "paper.json")["hash"],
        seed=exam.seed,
        decoding=exam.settings["decoding"],
    )
    return "\n".join(
        [
            f"# {say('title', name=exam.name)}\n",
            " ".join(verdict_lines(exam, language)) + "\n",
            markdown_table(exam, language) + "\n",
            f"## {say('made')}\n",
            *(f"- {line}" for line in made),
            f"\n## {say('limits')}\n",
            *(f"- {line}" for line in limits),
            f"\n## {say('repeat')}\n",
            repeat + "\n",
            *(f"- `{signature}`" for signature in _signatures(exam)),
            "\n```sh",
            *commands(exam),
            "```\n",
        ]
    )


def commands(exam: Exam) -> list[str]:
    """What to type to sit the same exam again."""
    names = " ".join(sorted(sheet.name for sheet in exam.sheets))
    papers = exam.settings["papers"]
    flags = {
        "--name": exam.name,
        "--questions": exam.settings["questions"],
        "--general": papers.get("forgetting", {}).get("items", 0),
        "--k": recall_k(exam),
        "--seed": exam.seed,
    }
    return [" ".join(["shuyuan exam", names, *(f"{flag} {value}" for flag, value in flags.items())])]


def disagreements(exam: Exam, most: int = 10) -> list[Question]:
    """The questions on which assistants are most evenly split, one a fact; none where all did the same."""

    def split(question: Question) -> float:
        outcomes = [sheet.marks.get(_judged_by(question), {}).get(question.id) for sheet in exam.sheets]
        known = [mark for mark in outcomes if mark is not None]
        share = sum(known) / len(known) if known else 0.0
        return share * (1 - share)

    found: list[Question] = []
    seen: set[str] = set()
    for question in sorted(exam.questions, key=lambda q: (-split(q), fingerprint(q.id))):
        fact = question.fact or question.id
        if split(question) > 0 and fact not in seen and len(found) < most:
            found.append(question)
            seen.add(fact)
    return found


def _judged_by(question: Question) -> str:
    return MAIN if question.answers else "unanswerable/refusal-recall"


# What the template shows: plain values, worked out here so that the template only lays out.


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    interval: str = ""
    best: bool = False


def _row(exam: Exam, sheet: Sheet) -> dict[str, Any]:
    return {
        "name": sheet.name,
        "leads": sheet.name in exam.verdict.leaders,
        "wins": sheet.name == exam.verdict.winner,
        "cells": [_cell(exam, sheet, column) for column in columns()],
    }


def _cell(exam: Exam, sheet: Sheet, column: Column) -> _Cell:
    number = column.number(sheet)
    if number is None:
        return _Cell(DASH)
    text = column.cell(number)
    others = [n for each in exam.sheets if (n := column.number(each)) is not None]
    best = (max if column.higher_is_better else min)(others)
    ties = sum(column.cell(other) == column.cell(best) for other in others)
    bold = column.cell(best) == text and ties * 2 <= len(others)
    return _Cell(text, _small_print(sheet, column), bold)


def _small_print(sheet: Sheet, column: Column) -> str:
    score = (sheet.changes if column.change else sheet.scores).get(column.score)
    base = column.change and sheet.name == BASE  # the model against itself
    if score is None or score.low is None or base or column.group == "g_answer":
        return ""
    if not column.change:
        return span(score)
    return change_span(score) if column.score != BITS else span_of(score.low, score.high, lambda v: signed(v, 2))


def _forest(exam: Exam) -> dict[str, Any]:
    axis = plots.linear_axis([], include=(0.0, 1.0), unit=0.01)
    base = next((sheet.value(MAIN) for sheet in exam.sheets if sheet.name == BASE), None)
    rows = []
    for sheet in exam.sheets:
        if MAIN in sheet.scores:
            score = sheet.scores[MAIN]
            kind = "wins" if sheet.name == exam.verdict.winner else ""
            graph = plots.interval(axis, score.value, (score.low, score.high), kind=kind, line=base)
            rows.append({"name": sheet.name, "graph": graph, "value": percent(score.value), "interval": span(score)})
    return {"rows": rows, "ruler": plots.ruler(axis)}


def _gaps(exam: Exam) -> dict[str, Any]:
    found = exam.verdict.comparisons
    ends = [end for c in found for end in (c.difference, c.low, c.high) if end is not None]
    axis = plots.linear_axis(ends, unit=0.01)
    rows = [
        {
            "name": c.other,
            "graph": _gap(axis, c),
            "value": signed_points(c.difference),
            "p": p_value(c.p_holm),
        }
        for c in found
    ]
    return {"rows": rows, "ruler": plots.ruler(axis)}


def _gap(axis: plots.Axis, found: Comparison) -> Markup:
    kind = "" if told_apart(found.p_holm) else "open"
    return plots.interval(axis, found.difference, (found.low, found.high), kind=kind, line=0.0)


def _languages(exam: Exam) -> dict[str, Any]:
    names = sorted({language for sheet in exam.sheets for language in sheet.by_language})
    counts = {name: sum(q.language == name for q in exam.answerable) for name in names}
    rows = [
        {"name": sheet.name, "cells": [(percent(s.value), span(s)) for n in names if (s := sheet.by_language[n])]}
        for sheet in exam.sheets
        if sheet.by_language
    ]
    return {"names": [(name, counts[name]) for name in names], "rows": rows}


def _cost_plot(exam: Exam, t: Speech) -> Markup | None:
    dots = []
    for sheet in exam.sheets:
        each, right = sheet.value("knowledge/seconds"), sheet.value(MAIN)
        if each and right is not None:
            minutes = (sheet.cost.seconds + ANSWERS_FOR_COST * each) / 60
            dots.append(plots.Dot(sheet.name, minutes, right, _kind(exam, sheet)))
    if not dots:
        return None
    y = plots.linear_axis([], include=(0.0, 1.0), unit=0.01)
    return plots.scatter(dots, plots.log_axis([dot.x for dot in dots]), y, titles=(t.svg("cost_x"), t.svg("right_y")))


def _learned_plot(exam: Exam, t: Speech) -> Markup | None:
    base = next((sheet.value(MAIN) for sheet in exam.sheets if sheet.name == BASE), None)
    dots = [
        plots.Dot(sheet.name, sheet.changes[BITS].value, (sheet.value(MAIN) or 0.0) - base, _kind(exam, sheet))
        for sheet in exam.sheets
        if base is not None and BITS in sheet.changes
    ]
    if len(dots) < 2:
        return None
    x = plots.linear_axis([dot.x for dot in dots], include=(0.0, 0.02, -0.02))
    y = plots.linear_axis([dot.y for dot in dots], unit=0.01, include=(0.0, 0.1))
    return plots.scatter(dots, x, y, titles=(t.svg("learned_x"), t.svg("learned_y")), zero=True)


def _kind(exam: Exam, sheet: Sheet) -> str:
    return "wins" if sheet.name == exam.verdict.winner else "base" if sheet.name == BASE else ""


def _heat(exam: Exam) -> dict[str, Any]:
    facts: dict[str, list[Question]] = defaultdict(list)
    for question in exam.answerable:
        facts[question.fact or question.id].append(question)
    shares = {sheet.name: {f: _share(sheet, questions) for f, questions in facts.items()} for sheet in exam.sheets}
    order = sorted(facts, key=lambda f: (-sum(row[f] or 0.0 for row in shares.values()), f))
    return {
        "n": len(facts),
        "rows": [
            {"name": sheet.name, "strip": _strip(sheet.name, shares[sheet.name], order, facts)} for sheet in exam.sheets
        ],
    }


def _strip(
    name: str, shares: Mapping[str, float | None], order: Sequence[str], facts: Mapping[str, Sequence[Question]]
) -> Markup:
    titles = [f"{name} · {percent(shares[f] or 0)} % · {facts[f][0].text}" for f in order]
    return plots.strip([shares[f] for f in order], titles)


def _share(sheet: Sheet, questions: Sequence[Question]) -> float | None:
    known = [m for q in questions if (m := sheet.marks.get(MAIN, {}).get(q.id)) is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class _Apart:
    """A question with what each assistant said to it, those who were right first."""

    question: Question
    replies: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, exam: Exam, question: Question) -> _Apart:
        replies = []
        for sheet in exam.sheets:
            answer = sheet.answers[question.id]
            right = sheet.marks[_judged_by(question)].get(question.id, 0.0) == 1.0
            replies.append(
                {
                    "name": sheet.name,
                    "right": right,
                    "text": _cut(answer.text, _MOST_ANSWER),
                    "declined": declined(answer, question),
                    "places": _places(answer),
                }
            )
        return cls(question, tuple(sorted(replies, key=lambda reply: not reply["right"])))


def _places(answer: Answer) -> list[tuple[str, str]]:
    """The first citations as place and quote."""
    return [
        (f"{c.source}" + (f", p. {c.page}" if c.page else "") + f" [{c.start}–{c.end}]", _cut(c.quote, _MOST_QUOTE))
        for c in answer.citations[:2]
    ]


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _signatures(exam: Exam) -> list[str]:
    found = {score.signature for sheet in exam.sheets for score in sheet.scores.values()}
    return sorted(found)
