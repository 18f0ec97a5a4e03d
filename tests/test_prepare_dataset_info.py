"""LLaMA-Factory's dataset_info.json, read as it is; and data files into a workspace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Example
from shuyuan.base.workspace import Workspace
from shuyuan.cli.main import main
from shuyuan.prepare.adding import add
from shuyuan.prepare.conversations import Tally, read_data
from shuyuan.prepare.dataset_info import read_dataset_info
from shuyuan.prepare.leak import check_leaks
from shuyuan.prepare.mixture import Mix, mixed_examples

IDENTITY = [
    {"instruction": "hi", "input": "", "output": "Hello! I am {{name}}, made by {{author}}."},
    {"instruction": "你是谁？", "input": "", "output": "我是 {{name}}，由 {{author}} 训练。"},
]
SHAREGPT = [{"conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}], "tools": "[]"}]
OPENAI = [{"messages": [{"role": "user", "content": "问？"}, {"role": "assistant", "content": "答。"}]}]
RANKED = [{"instruction": "问？", "input": "ｘ", "chosen": "好🎓", "rejected": "坏", "output": "unused"}]
RANKED_CHAT = [
    {
        "conversations": [{"from": "human", "value": "问？\nｘ"}],
        "better": {"from": "gpt", "value": "好🎓"},
        "worse": {"from": "gpt", "value": "坏"},
    }
]
INFO: dict[str, Any] = {
    "identity": {"file_name": "identity.json"},
    "alpaca_en": {"hf_hub_url": "llamafactory/alpaca_en", "ms_hub_url": "llamafactory/alpaca_en"},
    "chat": {
        "file_name": "chat.json",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "tools": "tools"},
    },
    "openai": {
        "file_name": "openai.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    },
    "wiki": {"file_name": "wiki.jsonl", "columns": {"prompt": "text"}},
    "dpo": {
        "file_name": "dpo.json",
        "ranking": True,
        "columns": {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"},
    },
    "dpo_chat": {
        "file_name": "dpo_chat.json",
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "chosen": "better", "rejected": "worse"},
    },
    "pictures": {"file_name": "chat.json", "formatting": "sharegpt", "columns": {"images": "images"}},
}


def folder(tmp_path: Path, **more: Any) -> Path:
    """A data folder of LLaMA-Factory's kind; `more` are further entries, or files' contents by name with a dot."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "identity.json").write_text(json.dumps(IDENTITY, ensure_ascii=False, indent=2))
    (data / "chat.json").write_text(json.dumps(SHAREGPT, ensure_ascii=False))
    (data / "dpo.json").write_text(json.dumps(RANKED))
    (data / "dpo_chat.json").write_text(json.dumps(RANKED_CHAT))
    (data / "openai.jsonl").write_text("\n".join(json.dumps(row) for row in OPENAI))
    (data / "wiki.jsonl").write_text('{"text": "书院是藏书、讲学、考课的地方。"}\n{"text": "A house of books."}\n')
    (data / "dataset_info.json").write_text(json.dumps({**INFO, **more}))
    return data


def records(info: Path, name: str) -> list[Example | Document]:
    """What a data set holds."""
    (data_set,) = read_dataset_info(info, (name,))
    replace = {"name": "小书", "author": "书院"}
    return [
        record
        for file in data_set.files
        for record in read_data(file, file.name, Tally(), data_set.shape, replace=replace)
    ]


def test_every_kind_of_entry_is_read(tmp_path: Path) -> None:
    info = folder(tmp_path) / "dataset_info.json"
    shown = {name: [m.content for m in records(info, name)[-1].messages] for name in ("identity", "chat", "openai")}
    assert shown == {
        "identity": ["你是谁？", "我是 小书，由 书院 训练。"],
        "chat": ["问", "答"],
        "openai": ["问？", "答。"],
    }
    assert [document.text for document in records(info, "wiki")][1] == "A house of books."


def test_ranked_data_in_both_forms_is_one_pair(tmp_path: Path) -> None:
    info = folder(tmp_path) / "dataset_info.json"
    (alpaca,), (chat,) = records(info, "dpo"), records(info, "dpo_chat")
    assert isinstance(alpaca, Example)
    assert isinstance(chat, Example)
    assert [m.content for m in alpaca.messages] == ["问？\nｘ", "好🎓"]
    assert [m.content for m in alpaca.rejected] == ["坏"]
    assert alpaca.id == chat.id


@pytest.mark.parametrize(
    ("entry", "what", "hint"),
    [
        ({"file_name": "chat.json", "format": "sharegpt"}, "unknown key 'format'", "formatting"),
        ({"file_name": "chat.json", "formatting": "sharegtp"}, "'formatting' cannot be 'sharegtp'", "sharegpt"),
        ({"file_name": "chat.json", "columns": {"promt": "x"}}, "unknown name 'promt' in 'columns'", "prompt"),
        ({"file_name": "chat.json", "columns": {"query": "x"}}, "the 'prompt'", "instruction"),
        ({"file_name": "chat.json", "tags": {"rol_tag": "x"}}, "unknown name 'rol_tag' in 'tags'", "role_tag"),
        ({"file_name": "chat.json", "formatting": "sharegpt", "tags": {"role_tag": "r"}}, "content_tag", "value"),
        ({"file_name": "chats.json"}, "is not there", "chat.json"),
        ({}, "no 'file_name'", "name its file"),
        ({"script_url": "x.py"}, "never run", "file_name"),
        ({"cloud_file_name": "s3://x"}, "cloud storage", "file_name"),
        ({"file_name": "chat.json", "ranking": True}, "which ones are 'chosen' and 'rejected'", '"chosen"'),
        ({"file_name": "chat.json", "columns": {"prompt": "a", "chosen": "b"}}, "preference pairs", '"ranking": true'),
        ({"file_name": "chat.json", "columns": {"prompt": "a", "kto_tag": "b"}}, "KTO", ""),
        ({"file_name": "chat.json", "split": "test"}, "'split'", "remove"),
        ({"file_name": "chat.json", "subset": "zh"}, "'subset'", "remove"),
        ({"file_name": "chat.json", "num_samples": 0}, "'num_samples' cannot be 0", "how many"),
        ("chat.json", "not an object", "file_name"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_entry_says_what_is_wrong(tmp_path: Path, entry: Any, what: str, hint: str) -> None:
    info = folder(tmp_path, mine=entry) / "dataset_info.json"
    with pytest.raises(Fixable) as error:
        read_dataset_info(info, ("mine",))
    assert what in error.value.what
    assert hint in error.value.hint
    assert str(info) in error.value.place
    assert "mine" in error.value.place
    assert read_dataset_info(info, ("chat",)), "other entries are none of its business"


def test_names_and_files_that_are_not_there(tmp_path: Path) -> None:
    info = folder(tmp_path) / "dataset_info.json"
    for names, what in [
        (("identiy",), "did you mean identity"),
        (("alpaca_en",), "Hugging Face hub"),
        (("pictures",), "pictures cannot be learned"),
        ((), "--dataset identity,chat"),
    ]:
        with pytest.raises(Fixable) as error:
            read_dataset_info(info, names)
        assert what in str(error.value)
    info.write_text('{"a": {"file_name": "x"}, "a": {}}')
    with pytest.raises(Fixable, match="stands there twice"):
        read_dataset_info(info, ("a",))
    info.write_text("[]")
    with pytest.raises(Fixable, match="does not describe"):
        read_dataset_info(info, ("a",))


def test_history_is_read_only_where_it_is_declared(tmp_path: Path) -> None:
    rows = [{"instruction": "b", "output": "c", "history": [["x", "y"]]}]
    columns = {"prompt": "instruction", "response": "output", "history": "history"}
    data = folder(tmp_path, with_history={"file_name": "h.json", "columns": columns}, plain={"file_name": "h.json"})
    (data / "h.json").write_text(json.dumps(rows))
    assert len(records(data / "dataset_info.json", "with_history")[0].messages) == 4
    (plain,) = read_dataset_info(data / "dataset_info.json", ("plain",))
    tally = Tally()
    (made,) = read_data(data / "h.json", "h", tally, plain.shape)
    assert len(made.messages) == 2
    assert tally.unused == {"history": 1}, "what is left out is said"


FILL = {"name": "小书", "author": "书院"}


def test_data_goes_into_the_workspace_and_is_replaced(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder(tmp_path)
    added = add(workspace, [], data=[data], datasets=["identity", "chat", "wiki"], replace=FILL)
    assert (added.examples, added.documents, added.passages) == (3, 2, 2)
    assert (added.data.came, added.data.kept) == (5, 5)
    said = capsys.readouterr().err
    assert "data/identity.json: kept 2 rows" in said
    assert "kept 5 rows of data" in said
    assert workspace.material.origins() == {"data/identity.json": 2, "data/chat.json": 1}
    assert [e.place for e in workspace.material.examples("data/identity.json")] == [
        "data/identity.json:2", "data/identity.json:7",
    ]  # fmt: skip
    again = add(workspace, [], data=[data], datasets=["identity", "chat", "wiki"], replace=FILL)
    assert (again.examples, again.documents, str(again.data)) == (3, 2, "kept 5 rows of data")
    (data / "identity.json").write_text(json.dumps(IDENTITY[:1]))
    assert add(workspace, [], data=[data], datasets=["identity"], replace=FILL).examples == 2


def test_duplicates_are_counted_within_and_across_files(workspace: Workspace, tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text((json.dumps(OPENAI[0]) + "\n") * 3)
    two.write_text(json.dumps({"instruction": "问？", "output": "答。"}) + "\n")
    added = add(workspace, [], data=[one, two])
    assert added.data.dropped == {"duplicate": 2, "in another file": 1}
    texts = tmp_path / "t.jsonl"
    texts.write_text('{"text": "the same"}\n{"text": "the same"}\n{"text": "  "}\n')
    assert str(add(workspace, [], data=[texts]).data) == "kept 1 of 3 rows of data: 1 empty, 1 duplicate"


def test_a_bad_row_stores_nothing_of_any_file(workspace: Workspace, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(json.dumps(OPENAI[0]))
    bad.write_text((json.dumps(OPENAI[0]) + "\n") * 9 + '{"messages": []}\n')
    with pytest.raises(Fixable) as error:
        add(workspace, [], data=[good, bad])
    assert error.value.place == f"{bad}:10"
    assert workspace.material.counts()["examples"] == 0


def test_placeholders_and_options_that_do_nothing_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    data = folder(tmp_path)
    with pytest.raises(Fixable, match="still to be filled in"):
        add(workspace, [], data=[data], datasets=["identity"])
    with pytest.raises(Fixable, match=r"nothing holds '{{nmae}}'") as error:
        add(workspace, [], data=[data], datasets=["identity"], replace={**FILL, "nmae": "x"})
    assert "name" in error.value.hint
    with pytest.raises(Fixable, match="none was given"):
        add(workspace, [], data=[data / "chat.json"], datasets=["identity"])
    assert workspace.material.counts()["examples"] == 0


def test_samples_are_drawn_once_and_for_all(workspace: Workspace, tmp_path: Path) -> None:
    entry = {"file_name": "many.jsonl", "num_samples": 30}
    data = folder(tmp_path, some=entry, too_many={**entry, "num_samples": 101})
    rows = [{"instruction": f"question {number}", "output": "a"} for number in range(100)]
    (data / "many.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    added = add(workspace, [], data=[data], datasets=["some"])
    assert str(added.data) == "kept 30 of 100 rows of data: 70 not drawn"
    drawn = [e.place for e in workspace.material.examples()]
    add(workspace, [], data=[data], datasets=["some"])
    assert [e.place for e in workspace.material.examples()] == drawn
    with pytest.raises(Fixable, match="101 rows are wanted"):
        add(workspace, [], data=[data], datasets=["too_many"])
    assert add(workspace, [], data=[data / "many.jsonl"], most=7).examples == 7


def test_raw_texts_outlive_a_visit_of_their_folder(workspace: Workspace, tmp_path: Path) -> None:
    data = folder(tmp_path)
    (data / "notes.md").write_text("# Notes\n\nOne.")
    add(workspace, [data], data=[data / "wiki.jsonl"])
    paths = {document.source for document in workspace.material.documents()}
    added = add(workspace, [data])
    assert added.forgotten == 0
    assert {document.source for document in workspace.material.documents()} == paths
    assert sum("wiki.jsonl" in path for path in paths) == 2


def test_data_and_exam_are_compared_before_a_teaching(workspace: Workspace, tmp_path: Path) -> None:
    quiz = tmp_path / "quiz.jsonl"
    quiz.write_text(json.dumps({"question": "书院默认的秩是多少，请回答？", "answer": "16", "use": "exam"}) + "\n")
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps({"instruction": "书院默认的秩是多少，请回答", "output": "16"}) + "\n")
    add(workspace, [], [quiz], data=[chats])
    with pytest.raises(Fixable, match=r"chats\.jsonl:1"):
        check_leaks(workspace.material.lessons().examples, workspace.material.questions())


def test_files_of_a_workspace_are_mixed(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder(tmp_path)
    add(workspace, [], data=[data], datasets=["identity", "chat"], replace=FILL)
    origins = ("data/identity.json", "data/chat.json")
    mixed = mixed_examples(workspace.material, Mix(origins, "interleave_over"))
    assert [e.messages[0].content for e in mixed] == ["hi", "问", "你是谁？", "问"]
    assert "2 (50%) from the 1 of data/chat.json" in capsys.readouterr().err
    with pytest.raises(Fixable, match=r"no examples came from 'data/chat\.jsn'") as error:
        mixed_examples(workspace.material, Mix(("data/chat.jsn",)))
    assert "data/chat.json" in error.value.hint


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, school = folder(tmp_path), str(tmp_path / "school")
    assert main(["new", school]) == 0
    line = ["add", "-w", school, "--data", str(data / "dataset_info.json"), "--dataset", "identity,chat", "openai"]
    assert main([*line, "--replace", "name=小=书", "author=书院"]) == 0
    assert "4 examples" in capsys.readouterr().out
    kept = [e.messages[-1].content for e in Workspace.open(school).material.examples()]
    assert "我是 小=书，由 书院 训练。" in kept
    assert main([*line, "--replace", "name"]) == 1
    assert "write name=text" in capsys.readouterr().err
