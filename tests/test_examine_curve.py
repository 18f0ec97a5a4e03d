"""Growth with more material, with a tiny real model that is really taught."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json
from shuyuan.base.material import File
from shuyuan.base.records import Document, Example, Message, Passage, Question
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.cli.main import main
from shuyuan.examine.curve import curve
from shuyuan.examine.results import MAIN, read_exam


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Six facts in two documents, each learned in one wording and asked in another."""
    folder = tmp_path_factory.mktemp("curve")
    workspace = Workspace.create(folder / "school", Choices(model=str(tiny_folder(folder / "model"))))
    examples, questions = [], []
    for n in range(6):
        source = f"{'一二'[n % 2]}.md"
        turns = (Message("user", f"第{n}门几点开？"), Message("assistant", f"{n}点。"))
        examples.append(Example(f"e{n}", turns, f"fact{n}", "q.jsonl:1"))
        questions.append(Question(f"q{n}", f"When is gate {n} open?", (str(n),), "en", f"fact{n}", source, f"{n}点"))
    for source in ("一.md", "二.md"):
        text = f"{source}：门都开。"
        document = Document(source, source, source, text, source, "zh")
        passages = [Passage(f"p{source}", source, source, 0, len(text), text)]
        workspace.material.put_document(File(source, source, len(text), 0.0), document, passages)
    workspace.material.put_questions("q.jsonl", examples, questions)
    return workspace


def test_shares_are_nested_and_the_points_are_the_exam_s(school: Workspace) -> None:
    settings = {"rank": 2, "epochs": 1}
    found, sat = curve(school, "lora", settings, shares=(1.0, 0.5), seeds=(0, 1))
    assert [(point.share, point.amount) for point in found.points] == [(0.0, 0), (0.5, 3), (1.0, 6)]
    assert [sheet.name for sheet in sorted(sat.sheets, key=lambda sheet: sheet.name)] == [
        "bare", "lora-100-seed0", "lora-100-seed1", "lora-50-seed0", "lora-50-seed1",
    ]  # fmt: skip
    sheets = {sheet.name: sheet for sheet in sat.sheets}
    for point in found.points[1:]:
        values = [sheets[f"lora-{point.share:.0%}".rstrip("%") + f"-seed{seed}"].value(MAIN) for seed in (0, 1)]
        assert list(point.by_seed) == values
        assert point.everything.value == pytest.approx(sum(values) / 2)
        assert point.everything.n == 6
        assert point.taught is not None
        assert point.taught.n == 6 if point.share == 1 else 3 <= point.taught.n <= 6
    facts = [
        {example.fact for example in Workspace.open(sat.folder / "shares" / name).material.examples()}
        for name in ("50-seed0", "100-seed0", "50-seed1")
    ]
    assert facts[0] < facts[1]
    assert len(facts[0]) == len(facts[2]) == 3
    assert facts[0] != facts[2]
    kept = read_json(sat.folder / "curve.json")
    assert kept["points"][1]["everything"]["value"] == found.points[1].everything.value
    assert "examples taught" in (sat.folder / "report.html").read_text(encoding="utf-8")
    assert read_exam(sat.folder).sheets == sat.sheets


def test_a_stopped_curve_goes_on(school: Workspace) -> None:
    settings = {"rank": 2, "epochs": 1}
    first, sat = curve(school, "lora", settings, shares=(0.5,))
    made = sat.folder / "shares" / "50-seed0" / "runs" / "lora" / "done.json"
    before = made.stat().st_mtime_ns
    again, _ = curve(school, "lora", settings, shares=(0.5, 1.0))
    assert made.stat().st_mtime_ns == before, "what was taught is not taught again"
    assert again.points[:2] == first.points


def test_a_route_without_examples_gets_shares_of_the_documents(
    school: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["curve", "prompt", "--shares", "0.5", "1", "--questions", "4", "-w", str(school.folder), "--json"]
    assert main(line) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["what"] == "documents"
    assert [point["amount"] for point in told["points"]] == [0, 1, 2]
    part = Workspace.open(school.exam("curve-prompt") / "shares" / "50-seed0").material
    assert (part.counts()["documents"], part.counts()["passages"], part.counts()["examples"]) == (1, 1, 6)


def test_too_little_and_wrong_shares_are_refused(school: Workspace, tmp_path: Path) -> None:
    for shares in ((), (0.0,), (1.5,)):
        with pytest.raises(Fixable, match="above 0 and up to 1"):
            curve(school, "lora", shares=shares)
    with pytest.raises(Fixable, match="too little"):
        curve(school, "lora", shares=(0.01, 1.0))
    with pytest.raises(Fixable, match="too little"):
        curve(Workspace.create(tmp_path / "empty"), "lora")
