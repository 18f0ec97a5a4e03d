"""An exam's papers as tasks of another house: what is written, and that its marks are the exam's own.

That the other house then gives equal scores is shown by `bench/harness.py`, which needs it installed.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import test_examine as sitters
import yaml
from test_examine import held, people

from shuyuan.base.workspace import Workspace
from shuyuan.cli.main import main
from shuyuan.examine.harness import export, marked

workspace = sitters.workspace


class Loader(yaml.SafeLoader):
    """Reads `!function module.name` as the harness does, as a name."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def test_the_marks_of_a_task_are_those_of_the_exam(workspace: Workspace, tmp_path: Path) -> None:
    found = held(workspace, people())
    tasks = export(found.folder, tmp_path)
    assert tasks == ["shuyuan_exam_knowledge", "shuyuan_exam_unanswerable", "shuyuan_exam_forgetting"]
    for task in tasks:
        told = yaml.load((tmp_path / f"{task}.yaml").read_text(encoding="utf-8"), Loader)
        assert told["process_results"] == "marks.process_results"
        assert told["generation_kwargs"] == {"until": [], "do_sample": False, "max_gen_toks": 96}
        rows = [json.loads(line) for line in (tmp_path / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]
        paper = task.rpartition("_")[2]
        for sheet in found.sheets:
            marks = [marked(row, sheet.answers[row["id"]].text + "\n") for row in rows]
            for metric in (one["metric"] for one in told["metric_list"]):
                score = sheet.scores[f"{paper}/{metric}"]
                assert score.n == len(marks)
                assert score.value == pytest.approx(sum(mark[metric] for mark in marks) / len(marks))


def test_the_written_functions_are_there(workspace: Workspace, tmp_path: Path) -> None:
    export(held(workspace, people()).folder, tmp_path)
    tree = ast.parse((tmp_path / "marks.py").read_text(encoding="utf-8"))
    assert {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} == {"rows", "process_results"}


def test_the_command(workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held(workspace, people())
    capsys.readouterr()
    assert main(["exam", "export", str(tmp_path / "tasks"), "--max-tokens", "7", "-w", str(workspace.folder)]) == 0
    out = capsys.readouterr().out
    assert f"--include_path {tmp_path / 'tasks'} --tasks shuyuan_exam_knowledge,shuyuan_exam_unanswerable" in out
    assert "max_gen_toks: 7" in (tmp_path / "tasks" / "shuyuan_exam_knowledge.yaml").read_text(encoding="utf-8")
