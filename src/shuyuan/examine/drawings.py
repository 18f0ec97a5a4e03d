"""The report's plots of an exam: intervals, cost, what was learned and forgotten, and growth with more material."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from shuyuan.base.files import read_json
from shuyuan.examine import plots
from shuyuan.examine.results import BASE, BITS, MAIN, Exam, Sheet
from shuyuan.examine.statistics import Comparison
from shuyuan.examine.tables import minutes_for_answers, p_value, percent, signed_points, span, told_apart
from shuyuan.examine.words import Speech

ROBUST = "robustness/"


def forest(exam: Exam) -> dict[str, Any]:
    """Right answers with intervals, one row an assistant, and the untaught model as a line."""
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


def gaps(exam: Exam) -> dict[str, Any]:
    """How far each is behind the best, paired, with Holm's p; hollow where nothing is told apart."""
    found = exam.verdict.comparisons
    ends = [max(-1.0, min(1.0, end)) for c in found for end in (c.difference, c.low, c.high) if end is not None]
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


def cost(exam: Exam, t: Speech) -> Markup | None:
    """Right answers against minutes, with the stair of those whom nobody beats in both."""
    dots = [
        plots.Dot(sheet.name, minutes, right, _kind(exam, sheet))
        for sheet in exam.sheets
        if (minutes := minutes_for_answers(sheet)) and (right := sheet.value(MAIN)) is not None
    ]
    if not dots:
        return None
    axes = plots.log_axis([dot.x for dot in dots]), plots.linear_axis([], include=(0.0, 1.0), unit=0.01)
    return plots.scatter(dots, axes, (t.svg("cost_x"), t.svg("right_y")), frontier=frontier(dots))


def frontier(dots: Sequence[plots.Dot]) -> list[plots.Dot]:
    """The dots that no other beats in both, from the cheapest up."""
    found: list[plots.Dot] = []
    for dot in sorted(dots, key=lambda dot: (dot.x, -dot.y)):
        if not found or dot.y > found[-1].y:
            found.append(dot)
    return found


def learned(exam: Exam, t: Speech) -> Markup | None:
    """What was learned of the documents against what general text lost."""
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
    return plots.scatter(dots, (x, y), (t.svg("learned_x"), t.svg("learned_y")), zero=True)


def robustness(exam: Exam) -> dict[str, Any]:
    """Right as asked, in each changed spelling, and in all of them at once."""
    axis = plots.linear_axis([], include=(0.0, 1.0), unit=0.01)
    rows = []
    for sheet in exam.sheets:
        own = {key.removeprefix(ROBUST): score.value for key, score in sheet.scores.items() if key.startswith(ROBUST)}
        plain, every = own.pop("plain", None), own.pop("invariance", None)
        own.pop("equivariance", None)  # is about other facts, not about spelling
        if plain is not None and every is not None:
            graph = plots.fall(axis, plain, [(f"{name}: {percent(v)} %", v) for name, v in own.items()], every)
            rows.append({"name": sheet.name, "graph": graph, "value": f"{percent(plain)} → {percent(every)}"})
    return {"rows": rows, "ruler": plots.ruler(axis)}


def reliability(exam: Exam, bins: int = 5) -> list[dict[str, Any]]:
    """How sure each model is of its choice, against how often it is right, with the counts; and its error."""
    found = []
    for sheet in exam.sheets:
        right, brier = (sheet.marks.get(f"calibration/{mark}", {}) for mark in ("accuracy", "brier"))
        told: dict[int, list[tuple[float, float]]] = {}
        for item, loss in brier.items():
            far = math.sqrt(loss)  # an item's Brier score is (sure − right)²
            sure = 1 - far if right[item] else far
            told.setdefault(min(bins - 1, int(sure * bins)), []).append((sure, right[item]))
        if told:
            points = [
                (sum(sure for sure, _ in of) / len(of), sum(met for _, met in of) / len(of), len(of))
                for _, of in sorted(told.items())
            ]
            error = sheet.value("calibration/ece")
            name, value = sheet.name, "" if error is None else percent(error)
            found.append({"name": name, "plot": plots.reliability(points), "error": value})
    return found


def growth(exam: Exam, t: Speech) -> list[dict[str, Any]]:
    """The curves over the amount of material that were drawn in this workspace."""
    files = sorted(exam.folder.parent.glob("*/curve.json"))
    return [curve_plot(read_json(file), t) for file in files]


def curve_plot(curve: dict[str, Any], t: Speech) -> dict[str, Any]:
    """One of them: the score over the amount taught, about everything and about what was taught."""
    points = curve["points"]
    x = plots.linear_axis([point["amount"] for point in points])
    y = plots.linear_axis([], include=(0.0, 1.0), unit=0.01)
    series = [
        plots.Line(t.svg(f"size_{part}"), tuple(_point(point["amount"], point[part]) for point in points), kind)
        for part, kind in (("everything", ""), ("taught", "dashed"))
        if all(point.get(part) for point in points)
    ]
    what = t.svg("size_x_" + curve["what"])
    note = t("size_note", route=curve["route"], seeds=len(curve["seeds"]))
    return {"note": note, "plot": plots.lines(series, (x, y), (what, t.svg("right_y")))}


def _point(amount: float, score: dict[str, Any]) -> tuple[float, float, float | None, float | None]:
    return amount, score["value"], score["low"], score["high"]


def _gap(axis: plots.Axis, found: Comparison) -> Markup:
    kind = "" if told_apart(found.p_holm) else "open"
    return plots.interval(axis, found.difference, (found.low, found.high), kind=kind, line=0.0)


def _kind(exam: Exam, sheet: Sheet) -> str:
    return "wins" if sheet.name == exam.verdict.winner else "base" if sheet.name == BASE else ""
