"""The figures of `make demo`, from its workspace into bench/results/ and the two READMEs.

python bench/handbook.py demo
"""

from __future__ import annotations

import re
import shutil
import sys
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
        "Teaching took {teaching:.0f} minutes and answering {sitting:.0f}, with at most {peak:.1f} GB of memory. "
        "One run, one seed; the full table is in [bench/results](bench/results/handbook.md).",
    ),
    "zh": (
        "README.zh.md",
        "{date} 的一次 `make demo`，{machine}：关于 {documents} 页文档的 {questions} 道题，外加 {general} 道常识题。"
        "教学用了 {teaching:.0f} 分钟，答题用了 {sitting:.0f} 分钟，内存最多 {peak:.1f} GB。"
        "一次运行，一个种子；完整的表在 [bench/results](bench/results/handbook.md)。",
    ),
}
FIGURES = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- /figures -->)", re.DOTALL)


def main() -> None:
    """Read the newest exam of the workspace and write the figures."""
    workspace = Workspace.open(sys.argv[1])
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
            [sentence.format(**facts), markdown_table(exam, language, short=True), *verdict_lines(exam, language)]
        )
        before = (ROOT / page).read_text(encoding="utf-8")
        start, end = FIGURES.search(before).span()
        write_whole(ROOT / page, f"{before[:start]}{block}\n{before[end:]}")
    shutil.copy(exam.folder / "scores.json", results / "handbook.json")
    write_whole(results / "handbook.md", drawn(exam, facts))


def drawn(exam: Exam, facts: dict[str, object]) -> str:
    """The whole table with how it came about."""
    head = WORDS["en"][1].partition(" One run")[0].format(**facts)
    verdict = "\n\n".join(verdict_lines(exam, "en"))
    return (
        f"# The demo on the handbook\n\n{head}\n\n{markdown_table(exam, 'en')}\n\n{verdict}\n\nCommand: `make demo`\n"
    )


if __name__ == "__main__":
    main()
