"""The report: one page that stands alone, and the same in Markdown. A reader of saved results; it measures nothing."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

import jinja2

from shuyuan import __version__
from shuyuan.base.files import write_whole
from shuyuan.examine import drawings, page
from shuyuan.examine.ledger import ledger, tally
from shuyuan.examine.papers import USUAL
from shuyuan.examine.results import Exam
from shuyuan.examine.tables import columns, markdown_table, percent, recall_k, verdict_lines, verdict_words
from shuyuan.examine.words import Language, Speech, plain
from shuyuan.teach.command import command


def write_report(exam: Exam, language: Language = "both") -> None:
    """Write `report.html` and `report.md` into the exam's folder."""
    languages = ("en", "zh") if language == "both" else (language,)
    write_whole(exam.folder / "report.html", html(exam, language))
    write_whole(exam.folder / "report.md", "\n---\n\n".join(markdown(exam, each) for each in languages))


def html(exam: Exam, language: Language = "both") -> str:
    """The page: no script, nothing fetched; light and dark, wide and narrow, screen and paper."""
    source = (files("shuyuan.examine") / "data" / "report.html").read_text(encoding="utf-8")
    pages = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    pages.filters["breaking"] = page.breaking
    t = Speech(language)
    return pages.from_string(source).render(
        t=t,
        language=language,
        exam=exam,
        verdict=[t(key, **values) for key, values in verdict_words(exam)],
        keys=page.key_figures(exam),
        groups=[(group, len(list(same))) for group, same in itertools.groupby(columns(), key=lambda c: c.group)],
        heads=[t(column.head, k=recall_k(exam)) for column in columns()],
        rows=page.score_rows(exam),
        forest=drawings.forest(exam),
        gaps=drawings.gaps(exam),
        languages=page.languages(exam),
        cost=drawings.cost(exam, t),
        learned=drawings.learned(exam, t),
        growth=drawings.growth(exam, t),
        robustness=drawings.robustness(exam),
        reliability=drawings.reliability(exam),
        further=page.further(exam),
        trainings=page.trainings(exam),
        ledger=page.ledger_rows(exam),
        apart=page.apart(exam, t),
        made=[t(key, **values) for key, values in _made(exam)],
        limits=[t(key, **values) for key, values in _limits(exam)],
        repeat=[t(key, **values) for key, values in _repeat(exam)],
        runs=page.runs(exam),
        signatures=_signatures(exam),
        commands=commands(exam),
    )


def markdown(exam: Exam, language: str = "en") -> str:
    """The verdict, the table, how the paper was made and how to repeat it, in Markdown."""
    say = partial(plain, language=language)
    runs = [
        [say(head) for head in ("r_run", "r_seed", "r_tokens", "r_minutes", "r_memory", "r_mark")],
        *page.runs(exam),
    ]
    facts = tally(ledger(exam))
    known = [["", *next(iter(facts.values()), ())], *([name, *map(str, row.values())] for name, row in facts.items())]
    return "\n".join(
        [
            f"# {say('title', name=exam.name)}\n",
            " ".join(verdict_lines(exam, language)) + "\n",
            markdown_table(exam, language) + "\n",
            *([f"## {say('ledger')}\n", _rows(known)] if facts else []),
            *(_further(each) for each in page.further(exam)),
            f"## {say('made')}\n",
            *(f"- {say(key, **values)}" for key, values in _made(exam)),
            f"\n## {say('limits')}\n",
            *(f"- {say(key, **values)}" for key, values in _limits(exam)),
            f"\n## {say('repeat')}\n",
            "```sh",
            *commands(exam),
            "```\n",
            *(say(key, **values) + "\n" for key, values in _repeat(exam)),
            *([_rows(runs)] if len(runs) > 1 else []),
            *(f"- `{signature}`" for signature in _signatures(exam)),
            "",
        ]
    )


def _rows(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first row is its head, and whose first column alone stands at the left."""
    lines = [rows[0], ["---", *["---:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _further(table: Mapping[str, Any]) -> str:
    rows = [[row["name"], *(f"{cell.text} ({cell.interval})" for cell in row["cells"])] for row in table["rows"]]
    return f"## {table['paper']}\n\n" + _rows([["", *table["heads"]], *rows]).replace(" ()", "")


def commands(exam: Exam) -> list[str]:
    """What to type to teach the same assistants and to sit the same exam again."""
    steps = {step["name"]: step for sheet in reversed(exam.sheets) for step in sheet.made}
    chained = sorted(steps.values(), key=lambda step: str(step["name"]).count("+"))
    names = " ".join(sorted(sheet.name for sheet in exam.sheets))
    papers = exam.settings["papers"]
    flags = {
        "--name": exam.name,
        "--questions": exam.settings["questions"],
        "--general": papers.get("forgetting", {}).get("items", 0),
        "--k": recall_k(exam),
        "--seed": exam.seed,
    }
    if tuple(papers) != USUAL:
        flags |= {"--papers": ",".join(papers)}
    if exam.settings.get("temperature"):
        flags |= {"--samples": exam.settings["samples"], "--temperature": exam.settings["temperature"]}
    sit = " ".join(["shuyuan exam", names, *(f"{flag} {value}" for flag, value in flags.items())])
    return [*(command(step) for step in chained), sit]


def _made(exam: Exam) -> list[tuple[str, dict[str, Any]]]:
    counts = dict(exam.facts_about)
    nearest = next(iter(exam.verdict.comparisons), None)
    makers = Counter(question.made for question in exam.questions if question.made)
    counts["makers"] = ", ".join(f"{count} {maker}" for maker, count in makers.most_common())
    keys = ["made_questions", *(["made_by"] if makers else []), "made_leaks", "made_material"]
    found = [(key, counts) for key in [*keys, *(["made_general"] if exam.general else [])]]
    if nearest and nearest.detectable:
        found.append(("made_power", {"facts": nearest.clusters, "points": percent(nearest.detectable)}))
    return [*found, ("made_marking", {})]


def _limits(exam: Exam) -> list[tuple[str, dict[str, Any]]]:
    return [("limits_1", {"model": exam.settings["model"]}), ("limits_2", {}), ("limits_3", {}), ("limits_4", {})]


def _repeat(exam: Exam) -> list[tuple[str, dict[str, Any]]]:
    machine = dict(exam.machine)
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    accelerator = f", {machine['accelerator']}" if machine["accelerator"] else ""
    about = {"version": exam.version, "shuyuan": __version__, "paper": exam.paper, "seed": exam.seed}
    return [
        ("repeat_note", {**about, "decoding": exam.settings["decoding"]}),
        ("machine_note", {**machine, "memory": machine["memory_gb"], "packages": packages, "accelerator": accelerator}),
    ]


def _signatures(exam: Exam) -> list[str]:
    found = {score.signature for sheet in exam.sheets for score in sheet.scores.values()}
    return sorted(found)
