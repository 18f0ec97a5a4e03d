"""The report as a reader meets it: one file, two languages, every figure from the record, nothing fetched or run."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from string import Formatter

import pytest
import test_examine as sitters
from test_examine import LooksUp, held, people, questions, seat

from shuyuan.base.files import read_json, write_json
from shuyuan.base.workspace import Workspace
from shuyuan.examine import plots
from shuyuan.examine.drawings import frontier
from shuyuan.examine.exam import hold
from shuyuan.examine.page import breaking, excerpt, trainings
from shuyuan.examine.report import commands, html, markdown
from shuyuan.examine.results import Exam
from shuyuan.examine.words import words

workspace = sitters.workspace
LOOKS = [
    {"step": step, "held_out_loss": loss, "held_out_bits_per_byte": None, "general_bits_per_byte": 1 + step / 100}
    for step, loss in ((0, 2.5), (10, 0.9), (20, 1.1))
]
MADE = {
    "name": "lora", "route": "lora", "on": "bare", "seed": 3, "fingerprint": "f00d", "trained_tokens": 1234,
    "seconds": 90, "peak_bytes": 5_000_000_000, "settings": {"rank": 32, "epochs": 1000},
    "guards": {"hold_out": 0.05, "patience": 0, "forget_limit": 0.5},
    "curve": {"verdict": "over-fit", "best_step": 10, "looks": LOOKS},
}  # fmt: skip


class Outline(HTMLParser):
    """What a page is made of, and whether its tags are closed in order."""

    VOID = frozenset({"meta", "input", "br", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def taught(workspace: Workspace) -> Exam:
    one, lora, two = (seat(assistant) for assistant in people())
    library = {**MADE, "name": "retrieve", "route": "retrieve", "seed": 0, "settings": {}, "guards": {}}
    del library["curve"]
    return hold(workspace, [one, replace(lora, made=(MADE,)), replace(two, made=(library,))], sitters.PAPERS, "exam")


@pytest.mark.parametrize("language", ["both", "en", "zh"])
def test_the_page_is_whole_and_runs_nothing(workspace: Workspace, language: str) -> None:
    page = html(taught(workspace), language)
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert not [name for name in outline.attributes if name.startswith("on") or name in ("style", "src", "srcset")]
    assert "Undefined" not in page
    shown = re.sub(r"<style>.*?</style>|<title>.*?</title>", "", page, flags=re.DOTALL)
    assert ("教学" in shown, "Limits" in shown) == (language != "en", language != "zh")


def test_both_languages_say_everything_with_the_same_values() -> None:
    for key, texts in words().items():
        assert set(texts) == {"en", "zh"}, key
        fields = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in texts.values()]
        assert fields[0] == fields[1], key
        assert [texts[one].count("<") for one in texts].count(texts["en"].count("<")) == 2, key


def test_every_word_is_used() -> None:
    room = files("shuyuan.examine")
    source = "".join(
        file.read_text(encoding="utf-8")
        for folder in (room, room / "data")
        for file in folder.iterdir()
        if file.name.endswith((".py", ".html"))
    )
    built = ("v_", "size_", "f_")  # + a verdict, + a part of the questions, + the name of a figure
    keys = tomllib.loads((room / "data" / "words.toml").read_text(encoding="utf-8"))
    assert [key for key in keys if f'"{key}"' not in source and not key.startswith(built)] == []


def test_what_counts_as_right_is_marked_and_all_else_escaped() -> None:
    assert str(excerpt("It is <16> or ４０.", ["16"], 99)) == "It is &lt;<mark>16</mark>&gt; or ４０."
    assert str(excerpt("数目是 一百。", ["一百"], 99)) == "数目是 <mark>一百</mark>。"
    assert str(excerpt("AdamW, adamw", ["AdamW"], 99)) == "<mark>AdamW</mark>, <mark>adamw</mark>"
    assert str(excerpt("a" * 300, ["b"], 10)) == "a" * 10 + "…"
    late = str(excerpt("x " * 200 + "gold" + " y" * 200, ["gold"], 60))
    assert late.startswith("…")
    assert "<mark>gold</mark>" in late
    assert late.endswith("…")
    assert str(excerpt("<b>", [], 9)) == "&lt;b&gt;"
    assert str(breaking("a<+b")) == "a&lt;+<wbr>b"


def test_the_frontier_holds_those_whom_nobody_beats_in_both() -> None:
    dots = [plots.Dot(name, x, y) for name, x, y in (("a", 1, 0.2), ("b", 2, 0.1), ("c", 3, 0.9), ("d", 4, 0.9))]
    assert [dot.name for dot in frontier(dots[::-1])] == ["a", "c"]


def test_a_run_shows_its_curve_and_the_command_that_made_it(workspace: Workspace) -> None:
    found = taught(workspace)
    (run,) = trainings(found)
    assert (run["verdict"], run["held"]["first"], run["held"]["last"]) == ("v_over-fit", "2.50", "0.90")
    assert commands(found) == [
        "shuyuan teach lora --rank 32 --epochs 1000 --patience 0 --seed 3",
        "shuyuan teach retrieve",
        "shuyuan exam bare lora retrieve --name exam --questions 0 --general 8 --k 2 --seed 0",
    ]
    for text in (html(found), markdown(found, "en")):
        assert "shuyuan teach lora --rank 32" in text
        assert "f00d" in text
        assert "1,234" in text


def test_the_commands_are_understood(workspace: Workspace) -> None:
    from shuyuan.base.settings import given_flags
    from shuyuan.cli.main import command_parser, split_command

    for line in commands(taught(workspace)):
        name, rest = split_command(line.split()[1:])
        parser, kind, way = command_parser(name, rest)
        parsed, unknown = parser.parse_known_intermixed_args(rest)
        assert unknown == [], line
        kind.of(given_flags(parsed, kind))
        assert way is None or way.of(given_flags(parsed, way))


def test_a_curve_of_this_workspace_is_drawn(workspace: Workspace) -> None:
    found = taught(workspace)
    score = {"value": 0.4, "low": 0.2, "high": 0.6}
    points = [{"amount": n, "everything": score, "taught": score if n else None} for n in (0, 10, 20)]
    curve = {"route": "lora", "what": "examples", "seeds": [0, 1], "points": points}
    write_json(workspace.exam("curve-lora") / "curve.json", curve)
    assert "examples taught" in html(found)


def test_the_record_is_complete_and_the_pages_are_drawn_from_it(workspace: Workspace) -> None:
    found = taught(workspace)
    record = read_json(found.folder / "scores.json")
    assert record["assistants"]["lora"]["made"] == [json.loads(json.dumps(MADE))]
    assert {"processor", "cores", "memory_gb", "python", "packages"} <= set(record["machine"])
    assert record["settings"]["decoding"] == "greedy"
    record["assistants"]["lora"]["scores"]["knowledge/accuracy"]["value"] = 0.4321
    write_json(found.folder / "scores.json", record)
    from shuyuan.examine.results import read_exam

    assert "| lora | 43 (" in markdown(read_exam(found.folder), "en")


def test_a_large_ledger_is_folded(workspace: Workspace) -> None:
    page = html(taught(workspace))
    assert "<details open><summary>" in page
    many = [
        replace(q, id=f"{q.id}-{n}", fact=f"{q.fact}-{n}", text=f"{q.text} {n}") for q in questions() for n in "abcde"
    ]
    workspace.material.put_questions("q.jsonl", [], many)
    assert "<details open><summary>" not in html(held(workspace, [LooksUp("bare", many, range(9))], "many"))


def test_names_from_outside_are_escaped(workspace: Workspace, tmp_path: Path) -> None:
    odd = replace(seat(LooksUp("<i>x&y", questions(), range(5))), made=({**MADE, "name": "<script>"},))
    page = html(hold(workspace, [odd], sitters.PAPERS, "odd"))
    assert "<script" not in page
    assert "<i>x&y" not in page
    assert "&lt;i&gt;x&amp;y" in page


def test_further_papers_are_drawn(workspace: Workspace) -> None:
    from shuyuan.examine import drawings, page
    from shuyuan.examine.exam import chosen_papers

    papers = chosen_papers(workspace, ["robustness", "calibration", "fairness", "format"], general=4)
    found = hold(workspace, [seat(assistant) for assistant in people()], papers, "more")
    rows = drawings.robustness(found)["rows"]
    best = next(sheet for sheet in found.sheets if sheet.name == "retrieve")
    shown = next(row["value"] for row in rows if row["name"] == "retrieve")
    values = [best.value(f"robustness/{name}") for name in ("plain", "invariance")]
    assert shown == " → ".join(f"{100 * value:.0f}" for value in values if value is not None)
    counted = sum(int(text) for text in re.findall(r">(\d+)</text>", str(drawings.reliability(found)[0]["plot"])))
    assert counted == len(found.sheets[0].marks["calibration/brier"])
    tables = {table["paper"]: table for table in page.further(found)}
    assert set(tables) == {"robustness", "calibration", "fairness", "format"}
    assert "stereotype" in tables["fairness"]["heads"]
    outline = Outline(html(found))
    assert outline.open == []
    assert commands(found)[-1].endswith("--papers knowledge,calibration,fairness,format,robustness"), (
        "what is needed to sit it again"
    )


def test_a_bin_says_how_sure_and_how_often_right() -> None:
    assert 'cx="75.0" cy="37.5"' in str(plots.reliability([(0.5, 0.75, 4)]))
