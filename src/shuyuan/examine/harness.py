"""An exam's papers as tasks of lm-evaluation-harness: YAML and JSONL in one folder, marked as Shuyuan marks them.

Format: https://github.com/EleutherAI/lm-evaluation-harness/blob/main/docs/task_guide.md (0.4.9 or newer).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, write_whole
from shuyuan.base.records import Answer, Question
from shuyuan.base.shelf import choose, kebab_name
from shuyuan.examine.results import read_pools, read_question
from shuyuan.measure.marking import Metric

MARKS = "marks.py"
MOST_TOKENS = 96  # what our own assistants write at most, unless they are told otherwise
_FROM_TEXT = ("accuracy", "exact-match", "token-f1", "rouge-l", "refusal-recall")  # need nothing but the reply


def export(exam: Path, folder: Path, max_tokens: int = MOST_TOKENS) -> list[str]:
    """Write the papers of an exam as tasks into a folder, and return the tasks' names.

    A task has the questions that its paper is about and the metrics that read nothing but the reply; what needs
    passages, flags or clocks stays with Shuyuan. The folder may be moved; running it needs Shuyuan beside the harness.
    """
    paper = read_json(exam / "paper.json")
    pools = read_pools(paper)
    written = []
    for name, given in paper["papers"].items():
        one = choose("examine", name).of({key: value for key, value in given.items() if key != "version"})
        asked = [question for question in pools[one.pool] if one.spoken and _applies(one.metrics(), question)]
        marks = [kebab_name(type(metric)) for metric in one.metrics() if kebab_name(type(metric)) in _FROM_TEXT]
        if asked and marks:
            task = f"shuyuan_{exam.name}_{name}".replace("-", "_")
            rows = [{**asdict(question), "marks": marks} for question in asked]
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_whole(folder / f"{task}.jsonl", lines)
            write_whole(folder / f"{task}.yaml", _task(task, marks, given["version"], max_tokens))
            written.append(task)
    if not written:
        raise Fixable(f"the exam '{exam.name}' has no paper that can be marked by the reply alone", "")
    write_whole(folder / MARKS, (files("shuyuan.examine") / "data" / "harness_marks.txt").read_text(encoding="utf-8"))
    return written


def marked(row: dict[str, Any], reply: str) -> dict[str, float]:
    """The marks of one reply to a task's row, by the metrics that the row names."""
    question = read_question({key: value for key, value in row.items() if key != "marks"})
    measured = {name: choose("measure", name)().measure(Answer(reply.strip()), question) for name in row["marks"]}
    return {name: value for name, value in measured.items() if value is not None}


def _applies(metrics: Sequence[Metric], question: Question) -> bool:
    """Whether the first metric, which the paper is about, has anything to say about a question."""
    return bool(metrics) and metrics[0].measure(Answer(""), question) is not None


def _task(name: str, marks: Sequence[str], version: int, max_tokens: int) -> str:
    task = {
        "task": name,
        "dataset_path": "json",
        "custom_dataset": "!function marks.rows",
        "dataset_kwargs": {"task_file": f"{name}.jsonl"},
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": "{{text}}",
        "doc_to_target": "{{answers|first if answers else ''}}",
        "process_results": "!function marks.process_results",
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": max_tokens},
        "metric_list": [{"metric": mark, "aggregation": "mean", "higher_is_better": True} for mark in marks],
        "metadata": {"version": float(version)},
    }
    text = str(yaml.safe_dump(task, allow_unicode=True, sort_keys=False))
    return text.replace("'!function marks.rows'", "!function marks.rows").replace(
        "'!function marks.process_results'", "!function marks.process_results"
    )
