"""Mark what was handed in: from an exam's paper, sitting and answers to its scores, verdict and report.

Nobody is asked anything, so an exam can be marked again whenever the metrics have changed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shuyuan import __version__
from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.shelf import choose
from shuyuan.examine.figures import with_conclusions, with_figures
from shuyuan.examine.report import write_report
from shuyuan.examine.results import (
    Exam,
    read_cost,
    read_exam,
    read_pools,
    read_question,
    read_sitting,
    write_scores,
)
from shuyuan.examine.scoring import score
from shuyuan.examine.sitting import kept

VERSION = "1"  # of the exam's rules: what is asked, how it is marked and decided


def mark(folder: Path) -> Exam:
    """Mark the exam in a folder and write `scores.json` and the report. Raises Fixable where an answer is missing."""
    paper, (sitting, asking) = read_json(folder / "paper.json"), read_sitting(folder)
    papers = [
        choose("examine", name).of({key: value for key, value in given.items() if key != "version"})
        for name, given in paper["papers"].items()
    ]
    pools, offered = read_pools(paper), [read_question(row) for row in paper["offered"]]
    asked = list({question.id: question for each in papers if each.spoken for question in pools[each.pool]}.values())
    texts = [text for each in papers for text in (*each.texts(), *each.weighed(offered))]
    assistants, sat = sitting["assistants"], {}
    for name, one in assistants.items():
        rows = read_jsonl(folder / "answers" / f"{name}.jsonl")
        sat[name] = with_conclusions(papers, offered, kept(rows, one["key"], asked, texts, asking))
    costs = {name: read_cost(one["cost"]) for name, one in assistants.items()}
    sheets, found = score(papers, pools, sat, relevant=sitting["relevant"], costs=costs, seed=sitting["seed"])
    sheets = with_figures(papers, pools, sat, sheets, sitting["seed"])
    about = {
        "name": sitting["name"],
        "version": f"{VERSION}+{'.'.join(str(each.version) for each in papers)}",
        "shuyuan": __version__,
        "paper": paper["hash"],
        **{part: sitting[part] for part in ("seed", "settings", "counts", "machine")},
    }
    sheets = [replace(sheet, made=tuple(assistants[sheet.name]["made"])) for sheet in sheets]
    write_scores(folder, about, sheets, found)
    result = read_exam(folder)
    write_report(result)
    return result
