"""The commands about what was asked: list, show, publish, remove, keep."""

from __future__ import annotations

import json

import pytest
from test_base_asked import QUESTION, answer, wording
from test_base_material import document, file, passages

from shuyuan.base.workspace import Workspace
from shuyuan.cli.main import main


@pytest.fixture
def asked(workspace: Workspace) -> str:
    """The id of an answered question, beside one without an answer."""
    workspace.material.put_document(file("手册/书院.md"), document(), passages(document()))
    name = workspace.material.asked.put(wording(QUESTION), answer(), "lora+retrieve", 1.7e9)
    workspace.material.asked.put(wording("谁来上任？", name), None, "lora+retrieve", 1.7e9)
    workspace.material.asked.put(wording("Who built the ｂridge?"), None, "retrieve", 1.8e9)
    return name


def run(workspace: Workspace, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["-w", str(workspace.folder), "question", *words])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_list_to_search_in(workspace: Workspace, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(workspace, capsys, "list")
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["1", "2027-01-15", "unanswered"],
        ["2", "2023-11-14", "answered"],
    ]
    assert out.splitlines()[-1] == "2 of 2 questions · from now on: private"
    assert run(workspace, capsys, "list", "--order", "most")[1].splitlines()[1].endswith(asked)
    for words in (["BRIDGE"], ["--state", "unanswered"]):
        _, out, _ = run(workspace, capsys, "list", *words, "--json")
        assert [(one["wordings"], one["state"]) for one in json.loads(out)] == [
            (["Who built the ｂridge?"], "unanswered")
        ]
    assert run(workspace, capsys, "list", "nobody asked this")[1] == "0 of 0 questions · from now on: private\n"


def test_one_with_its_places_wordings_and_who_wrote_it(
    workspace: Workspace, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(workspace, capsys, "show", asked)
    assert code == 0
    start = document().text.index("山长每年")
    for said in (
        f"{QUESTION}  [{asked}]\n  also: 谁来上任？\n  asked 2 times, first 2023-11-14",
        "正月 [?]初八。 [1]🎉",
        f"[1] 手册/书院.md, page 1 > 书院 🙂, characters {start}–{start + 11}\n    “山长每年正月初八上任。”",
        "— a model wrote this: lora+retrieve, 2023-11-14 · private",
    ):
        assert said in out, out
    assert run(workspace, capsys, "show", "ＷＨＯ built the bridge")[1].endswith(
        "unanswered: the documents do not say\n"
    )
    assert json.loads(run(workspace, capsys, "show", asked, "--json")[1])["question"]["times"] == 2
    workspace.material.remove_files(["手册/书院.md"])
    assert "a document that the answer cites was changed or removed" in run(workspace, capsys, "show", asked)[1]


def test_publish_take_back_remove(workspace: Workspace, asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(workspace, capsys, "publish", asked)[0] == 0
    assert workspace.material.asked.get(asked).public
    assert " page " in run(workspace, capsys, "list", "初八")[1]
    assert run(workspace, capsys, "publish", asked, "--back")[0] == 0
    assert not workspace.material.asked.get(asked).public
    assert run(workspace, capsys, "remove", asked)[0] == 0
    for words in (["remove", asked], ["show", asked], ["publish", asked]):
        code, _, err = run(workspace, capsys, *words)
        assert code == 1
        assert f"there is no question '{asked}'" in err


def test_what_is_kept_is_chosen(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(workspace, capsys, "keep")[1] == "private\n"
    assert run(workspace, capsys, "keep", "off")[1] == "off\n"
    code, _, err = run(workspace, capsys, "keep", "all")
    assert code == 2
    assert "'off', 'private' or 'public'" in err
    assert workspace.material.asked.keeping() == "off"
