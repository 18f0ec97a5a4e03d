"""The figures of `make demo`, from its workspace into bench/results/ and the two READMEs.

python bench/handbook.py demo [--minutes 24]        # --minutes: how long the whole command took, if it was timed
"""

from __future__ import annotations

import argparse
import re
import shutil
from datetime import date
from pathlib import Path

from documents import machine

from shuyuan.base.files import read_json, write_whole
from shuyuan.base.workspace import Workspace
from shuyuan.examine.results import Exam, read_exam
from shuyuan.examine.tables import markdown_table, verdict_lines

ROOT = Path(__file__).resolve().parent.parent
WORDS = {
    "en": (
        "README.md",
        "`make demo` on {date}, {machine}: {questions} questions about {documents} pages, {general} general ones. "
        "{whole}Teaching took {teaching:.0f} minutes and answering {sitting:.0f}, and teaching needed {peak:.1f} GB. "
        "One run, one seed; the full table is in [bench/results](bench/results/handbook.md).",
    ),
    "zh": (
        "README.zh.md",
        "{date} 的一次 `make demo`，{machine}：关于 {documents} 页文档的 {questions} 道题，外加 {general} 道常识题。"
        "{whole}教学用了 {teaching:.0f} 分钟，答题用了 {sitting:.0f} 分钟，教学时内存最多 {peak:.1f} GB。"
        "一次运行，一个种子；完整的表在 [bench/results](bench/results/handbook.md)。",
    ),
}
WHOLE = {
    "en": "The command took {minutes:.0f} minutes from a fresh clone, installation included. ",
    "zh": "从刚克隆的仓库算起，连安装在内共 {minutes:.0f} 分钟。",
}
FIGURES = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- /figures -->)", re.DOTALL)


def main() -> None:
    """Read the newest exam of the workspace and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace")
    parser.add_argument("--minutes", type=float)
    given = parser.parse_args()
    wholes = {
        language: words.format(minutes=given.minutes) if given.minutes else "" for language, words in WHOLE.items()
    }
    workspace = Workspace.open(given.workspace)
    exam = read_exam(workspace.exam(workspace.exams()[-1]))
    results = ROOT / "bench" / "results"
    runs = [read_json(workspace.run(name).folder / "done.json") for name in workspace.runs()]
    facts = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "questions": len(exam.questions),
        "general": len(exam.general),
        "documents": workspace.material.counts()["documents"],
        "teaching": sum(run["seconds"] for run in runs) / 60,
        "sitting": sum(answer.seconds for sheet in exam.sheets for answer in sheet.answers.values()) / 60,
        "peak": max(run["peak_bytes"] for run in runs) / 1e9,
    }
    for language, (page, sentence) in WORDS.items():
        block = "\n\n".join(
            [
                sentence.format(**facts, whole=wholes[language]),
                markdown_table(exam, language, short=True),
                *verdict_lines(exam, language),
            ]
        )
        before = (ROOT / page).read_text(encoding="utf-8")
        start, end = FIGURES.search(before).span()
        write_whole(ROOT / page, f"{before[:start]}{block}\n{before[end:]}")
    shutil.copy(exam.folder / "scores.json", results / "handbook.json")
    write_whole(results / "handbook.md", drawn(exam, {**facts, "whole": wholes["en"]}))


def drawn(exam: Exam, facts: dict[str, object]) -> str:
    """The whole table with how it came about."""
    head = WORDS["en"][1].partition(" One run")[0].format(**facts)
    verdict = "\n\n".join(verdict_lines(exam, "en"))
    return (
        f"# The demo on the handbook\n\n{head}\n\n{markdown_table(exam, 'en')}\n\n{verdict}\n\nCommand: `make demo`\n"
    )


if __name__ == "__main__":
    main()
