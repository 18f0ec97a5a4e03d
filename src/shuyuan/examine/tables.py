"""The score table for terminal and Markdown, from the same columns as the page, and the sentences of the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shuyuan.base.progress import width_of
from shuyuan.base.records import Score
from shuyuan.examine.results import BITS, MAIN, Exam, Sheet
from shuyuan.examine.statistics import LEVEL
from shuyuan.examine.words import plain

ITEMS = "forgetting/accuracy"
DECLINES = "unanswerable/refusal-recall"
ANSWERS_FOR_COST = 1000
DASH = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the keys of its words, a number to rank by (None: not measured), and how a cell reads."""

    group: str
    head: str
    number: Callable[[Sheet], float | None]
    cell: Callable[[float], str]
    score: str = ""
    higher_is_better: bool = True
    change: bool = False
    short: bool = True


def columns() -> tuple[Column, ...]:
    """The columns of every table, in order; the `short` ones are for the terminal."""

    def scored(group: str, head: str, score: str, cell: Callable[[float], str], **more: Any) -> Column:
        return Column(group, head, lambda sheet: sheet.value(score), cell, score, **more)

    def changed(head: str, score: str, cell: Callable[[float], str], higher_is_better: bool) -> Column:
        def number(sheet: Sheet) -> float | None:
            return sheet.changes[score].value if score in sheet.changes else None

        return Column("g_forgetting", head, number, cell, score, higher_is_better, change=True)

    return (
        scored("g_knowledge", "accuracy", MAIN, percent),
        scored("g_knowledge", "exact", "knowledge/exact-match", percent, short=False),
        scored("g_knowledge", "f1", "knowledge/token-f1", percent),
        scored("g_knowledge", "rouge", "knowledge/rouge-l", percent, short=False),
        scored("g_refusal", "precision", "unanswerable/refusal-precision", percent),
        scored("g_refusal", "recall", "unanswerable/refusal-recall", percent),
        scored("g_search", "recall_k", "knowledge/recall-at-k", percent),
        changed("items", ITEMS, signed_points, True),
        changed("bits", BITS, lambda value: signed(value, 3), False),
        scored("g_answer", "seconds", "knowledge/seconds", small, higher_is_better=False),
        scored("g_answer", "tokens", "knowledge/tokens", lambda v: f"{v:,.0f}", higher_is_better=False),
        Column("g_teach", "minutes", lambda sheet: sheet.cost.seconds / 60, small, higher_is_better=False),
        Column(
            "g_teach", "memory", lambda sheet: sheet.cost.peak_bytes / 1e9 or None, small, higher_is_better=False,
            short=False,
        ),
    )  # fmt: skip


def table(exam: Exam, language: str = "en") -> str:
    """The short score table and the verdict for a terminal; columns align with wide characters too."""
    chosen = [column for column in columns() if column.short]
    heads = [[plain("assistant", language), *(_short_head(column, exam, language) for column in chosen)]]
    rows = [[sheet.name, *(_cell(column, sheet) for column in chosen)] for sheet in exam.sheets]
    widths = [max(map(width_of, cells)) for cells in zip(*heads, *rows, strict=True)]
    lines = [_line(row, widths) for row in heads + rows]
    lines.insert(1, "─" * width_of(lines[0]))
    return "\n".join([*lines, "", *verdict_lines(exam, language)])


def markdown_table(exam: Exam, language: str, short: bool = False) -> str:
    """The score table in Markdown: every column, or the terminal's."""
    chosen = [column for column in columns() if column.short or not short]
    heads = [plain("assistant", language)]
    heads += [f"{plain(c.group, language)}: {head(c, exam, language)}" for c in chosen]
    lines = [heads, ["---", *("---:" for _ in chosen)]]
    lines += [[sheet.name, *(_cell(column, sheet) for column in chosen)] for sheet in exam.sheets]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def head(column: Column, exam: Exam, language: str) -> str:
    """A column's title in one language."""
    return plain(column.head, language, k=recall_k(exam))


def recall_k(exam: Exam) -> int:
    """The k of this exam's recall@k."""
    return int(exam.settings.get("papers", {}).get("knowledge", {}).get("k", 5))


def verdict_words(exam: Exam) -> list[tuple[str, dict[str, Any]]]:
    """The verdict as keys of `words` with their values: who is best by how much, and what the paper could show."""
    found, best = exam.verdict, next((s for s in exam.sheets if s.name == exam.verdict.best), None)
    if best is None or MAIN not in best.scores:
        return [("no_questions", {})]
    main = best.scores[MAIN]
    said: dict[str, Any] = {
        "best": best.name,
        "share": f"{percent(main.value)}\u00a0%",
        "n": main.n,
        "interval": span(main),
    }
    if not found.comparisons:
        return [("alone", said)]
    nearest = found.comparisons[0]
    said |= {
        "other": nearest.other,
        "gap": percent(nearest.difference),
        "gap_interval": span_of(nearest.low, nearest.high, signed_points),
        "p": p_value(nearest.p_holm),
    }
    sentences = [("win" if found.winner else "draw", said)]
    if len(found.leaders) > 2:
        sentences.append(("undecided", {"names": ", ".join(found.leaders)}))
    if nearest.detectable:
        facts = nearest.clusters
        sentences.append(("power", {"facts": facts, "n": nearest.n, "points": percent(nearest.detectable)}))
        if not found.winner and nearest.difference > 0:
            needed = math.ceil(facts * (nearest.detectable / nearest.difference) ** 2)
            sentences.append(("needed", {"facts": f"{needed:,}"}))
    return [*sentences, *_asides(exam, best)]


def minutes_for_answers(sheet: Sheet) -> float | None:
    """What an assistant costs: minutes for teaching it and for a thousand answers, one after another."""
    each = sheet.value("knowledge/seconds")
    return None if each is None else (sheet.cost.seconds + ANSWERS_FOR_COST * each) / 60


def _asides(exam: Exam, best: Sheet) -> list[tuple[str, dict[str, Any]]]:
    """What the verdict adds on cost, on what was forgotten, and on what is made up, each by a rule of its own."""
    sentences: list[tuple[str, dict[str, Any]]] = []
    leaders = [sheet for sheet in exam.sheets if sheet.name in exam.verdict.leaders]
    costs = [(minutes, sheet.name) for sheet in leaders if (minutes := minutes_for_answers(sheet)) is not None]
    if len(costs) > 1:
        minutes, name = min(costs)
        answers = f"{ANSWERS_FOR_COST:,}"
        sentences.append(("cheapest", {"name": name, "minutes": small(minutes), "answers": answers}))
    change = best.changes.get(ITEMS)
    if change and change.high is not None and change.high < 0:
        values = {"name": best.name, "points": percent(-change.value), "interval": change_span(change)}
        sentences.append(("forgets", values))
    declines = best.scores.get(DECLINES)
    if declines and declines.value < 0.5:
        share = f"{percent(declines.value)}\u00a0%"
        sentences.append(("invents", {"name": best.name, "n": declines.n, "share": share}))
    return sentences


def verdict_lines(exam: Exam, language: str) -> list[str]:
    """The verdict as plain sentences."""
    return [plain(key, language, **values) for key, values in verdict_words(exam)]


def p_value(p: float) -> str:
    """`p < .001`, `p = .032`, `p = 1`; its spaces do not break."""
    text = "p < .001" if p < 0.001 else "p = 1" if p > 0.9995 else f"p = {p:.3f}".replace("0.", ".")
    return text.replace(" ", "\u00a0")


def told_apart(p: float) -> bool:
    """Whether a corrected p-value counts as evidence."""
    return p <= LEVEL


def percent(value: float) -> str:
    """A share from 0 to 1 in whole percent."""
    return f"{100 * value:.0f}".replace("-0", "0") if abs(value) < 0.005 else f"{100 * value:.0f}"


def signed(value: float, digits: int) -> str:
    """With its sign, a true minus, and no sign at zero."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def signed_points(value: float) -> str:
    """A share's change in points."""
    return signed(100 * value, 0)


def small(value: float) -> str:
    """Two significant digits below ten, whole above; nothing, where it is less than a hundredth."""
    return "0" if value < 0.005 else f"{value:.2g}" if value < 9.95 else f"{value:,.0f}"


def span(score: Score) -> str:
    """A score's interval in percent: `74–89`."""
    return span_of(score.low, score.high, percent)


def change_span(score: Score) -> str:
    """A change's interval in points: `−5..+2`."""
    return span_of(score.low, score.high, signed_points)


def span_of(low: float | None, high: float | None, cell: Callable[[float], str]) -> str:
    """Two ends of an interval; with signs they are kept apart by `..`; `?` where there is no interval."""
    if low is None or high is None:
        return "?"
    return f"{cell(low)}{'..' if cell is not percent else '–'}{cell(high)}"


def _short_head(column: Column, exam: Exam, language: str) -> str:
    ambiguous = column.head in ("precision", "recall", "minutes")
    prefix = {"g_refusal": ("refusal ", "拒答"), "g_teach": ("teaching ", "教学")}
    front = prefix[column.group][language == "zh"] if ambiguous else ""
    return front + head(column, exam, language)


def _cell(column: Column, sheet: Sheet) -> str:
    number = column.number(sheet)
    if number is None:
        return DASH
    text = column.cell(number)
    return f"{text} ({span(sheet.scores[MAIN])})" if column.score == MAIN else text


def _line(cells: list[str], widths: list[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    padded = [first[0] + " " * (first[1] - width_of(first[0]))]
    padded += [" " * (size - width_of(cell)) + cell for cell, size in rest]
    return "  ".join(padded).rstrip()
