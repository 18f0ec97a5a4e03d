"""Training data as people have it: every form becomes the same examples, and a bad row is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Example, Message
from shuyuan.prepare.conversations import Tally, read_data
from shuyuan.prepare.shapes import ALPACA, Shape

WEATHER = {"name": "weather", "description": "天气", "parameters": {"type": "object", "properties": {}}}
CALL = {"name": "weather", "arguments": {"city": "北京"}}
TOOLS = [{"type": "function", "function": WEATHER}]


def file_of(tmp_path: Path, *rows: Any) -> Path:
    """A JSONL file; a row that is text is written as it is."""
    file = tmp_path / "chats.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join(lines) + "\n")
    return file


def read(tmp_path: Path, *rows: Any, **options: Any) -> tuple[list[Any], Tally]:
    """What the rows become, and what was counted."""
    tally = Tally()
    return list(read_data(file_of(tmp_path, *rows), "d/chats.jsonl", tally, **options)), tally


def turns(example: Example) -> list[tuple[str, str]]:
    """(role, content) of each message."""
    return [(message.role, message.content) for message in example.messages]


def chat(*contents: str) -> dict[str, Any]:
    """An OpenAI row of user and assistant in turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": content} for at, content in enumerate(contents)]}


def test_one_conversation_in_three_forms_is_one_example(tmp_path: Path) -> None:
    openai = {
        "messages": [{"role": "system", "content": "简短。"}, *chat("你好？", "好🎓", "Ｂｙｅ", "再见")["messages"]]
    }
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    sharegpt = {
        "conversations": [{"from": names[t["role"]], "value": t["content"]} for t in openai["messages"][1:]],
        "system": "简短。",
    }
    alpaca = {
        "instruction": "Ｂｙｅ",
        "input": "",
        "output": "再见",
        "system": "简短。",
        "history": [["你好？", "好🎓"]],
    }
    made = [read(tmp_path, row)[0][0] for row in (openai, sharegpt, alpaca)]
    assert made[0] == made[1] == made[2]
    assert turns(made[0]) == [
        ("system", "简短。"), ("user", "你好？"), ("assistant", "好🎓"), ("user", "Ｂｙｅ"), ("assistant", "再见"),
    ]  # fmt: skip
    assert all(message.learned for message in made[0].messages), "answers in the history are learned"
    assert made[0].place == "d/chats.jsonl:1"


def test_alpaca_joins_instruction_and_input(tmp_path: Path) -> None:
    (made,), _ = read(tmp_path, {"instruction": "翻译", "input": "书院", "output": "academy"})
    assert turns(made) == [("user", "翻译\n书院"), ("assistant", "academy")]
    (made,), _ = read(tmp_path, {"prompt": "翻译", "completion": "academy"})
    assert turns(made) == [("user", "翻译"), ("assistant", "academy")]


def test_tools_in_openai_and_sharegpt_form(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(CALL["arguments"])}}
    openai = {
        "messages": [
            {"role": "user", "content": "北京天气？"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "晴"},
            {"role": "assistant", "content": "是晴天。"},
        ],
        "tools": TOOLS,
    }
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "北京天气？"},
            {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "observation", "value": "晴"},
            {"from": "gpt", "value": "是晴天。"},
        ],
        "tools": json.dumps([WEATHER]),
    }
    legacy = {
        "messages": [
            {"role": "user", "content": "北京天气？"},
            {"role": "assistant", "content": None, "function_call": CALL},
            {"role": "function", "name": "weather", "content": "晴"},
            {"role": "assistant", "content": "是晴天。"},
        ],
        "functions": [WEATHER],
    }
    made = [read(tmp_path, row)[0][0] for row in (openai, sharegpt, legacy)]
    assert made[0] == made[1] == made[2]
    assert [message.role for message in made[0].messages] == ["user", "assistant", "tool", "assistant"]
    (called,) = json.loads(made[0].messages[1].tool_calls)
    assert json.loads(called["function"]["arguments"]) == {"city": "北京"}
    assert json.loads(made[0].tools) == TOOLS


def test_an_observation_may_answer_plain_text_in_sharegpt_data(tmp_path: Path) -> None:
    said = [("human", "多少钱？"), ("gpt", "我算一下：{…}"), ("observation", "160"), ("gpt", "160 元。")]
    (made,), _ = read(tmp_path, {"conversations": [{"from": who, "value": what} for who, what in said]})
    assert [message.role for message in made.messages] == ["user", "assistant", "tool", "assistant"]


def test_weights_say_what_is_learned(tmp_path: Path) -> None:
    row = chat("a", "b", "c", "d")
    row["messages"][1]["weight"] = 0
    nothing = chat("x", "y")
    nothing["messages"][1]["weight"] = 0
    (made,), tally = read(tmp_path, row, nothing)
    assert made.messages[1] == Message("assistant", "b", learned=False)
    assert made.messages[3].learned
    assert tally.kept("rows").dropped == {"with nothing to learn": 1}


def test_parts_of_text_and_the_developer(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "你"}, {"type": "text", "text": "好"}]
    row = {"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": parts}]}
    row["messages"].append({"role": "assistant", "content": "好"})
    (made,), _ = read(tmp_path, row)
    assert turns(made) == [("system", "s"), ("user", "你好"), ("assistant", "好")]


def test_raw_text_becomes_documents(tmp_path: Path) -> None:
    made, tally = read(tmp_path, {"text": "书院是藏书的地方。{{name}}"}, {"text": " \n"}, {"text": "A house."})
    assert [type(document) for document in made] == [Document, Document]
    assert [document.source for document in made] == ["d/chats.jsonl:1", "d/chats.jsonl:3"]
    assert [document.language for document in made] == ["zh", "en"]
    assert made[0].text == "书院是藏书的地方。{{name}}"
    assert str(tally.kept("rows")) == "kept 2 of 3 rows: 1 empty"


def test_what_is_empty_or_unused_is_counted(tmp_path: Path) -> None:
    good = {"instruction": "q", "output": "a", "id": 7}
    made, tally = read(tmp_path, good, {**good, "output": " "}, {"instruction": "", "input": "", "output": "a"})
    assert len(made) == 1
    assert tally.kept("rows").dropped == {"empty": 2}
    assert tally.unused == {"id": 2}
    row = chat("q", "a")
    row["messages"][1] |= {"timestamp": 3, "weight": 1}
    assert read(tmp_path, row)[1].unused == {"messages[].timestamp": 1}


BAD_TURNS = [
    (["assistant", "user", "assistant"], "turn 1 is the assistant's, where the user's belongs at the beginning"),
    (["user", "user", "assistant"], "turn 2 is the user's, where the assistant's belongs after the user's"),
    (["user", "assistant", "assistant"], "turn 3 is the assistant's, where the user's belongs"),
    (["user", "assistant", "user"], "the last turn is the user's"),
    (["system"], "there are no turns"),
    (["user", "system", "assistant"], "turn 2 is the system's"),
    (["user", "assistant", "tool", "assistant"], "turn 3 is the tool's"),
    ([], "there are no turns"),
]


@pytest.mark.parametrize(("roles", "what"), BAD_TURNS)
def test_odd_turns_are_named(tmp_path: Path, roles: list[str], what: str) -> None:
    bad = {"messages": [{"role": role, "content": "x"} for role in roles]}
    with pytest.raises(Fixable, match=what) as error:
        read(tmp_path, *[chat("q", "a")] * 36, bad)
    assert error.value.place == f"{tmp_path / 'chats.jsonl'}:37"


def with_turn(**turn: Any) -> dict[str, Any]:
    """A conversation whose answer has these things in it."""
    row = chat("q", "a")
    row["messages"][1] |= turn
    return row


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"messages": None}, "no 'messages'"),
        ({"messages": "x"}, "no JSON list"),
        ({"messages": {"a": 1}}, "must be a list"),
        ({"messages": ["x"]}, "turn 1 is not an object"),
        ({"messages": [{"content": "x"}]}, "turn 1 has no 'role'"),
        (with_turn(role="asistant"), "by 'asistant'"),
        (with_turn(content=None), "turn 2 has no 'content'"),
        (with_turn(content=7), "content of turn 2 must be text"),
        (with_turn(content=[{"type": "image_url", "image_url": {}}]), "part of type 'image_url'"),
        (with_turn(content=[{"type": "text", "value": "x"}]), "a part of turn 2 has no 'text'"),
        (with_turn(weight=2), "'weight' of turn 2 cannot be 2"),
        (with_turn(weight=True), "'weight' of turn 2 cannot be True"),
        (with_turn(tool_calls=[{"function": {}}]), "has no name"),
        (with_turn(tool_calls=[{"function": {"name": "f", "arguments": "{"}}]), "'arguments' of turn 2"),
        (with_turn(tool_calls=[{"function": {"name": "f", "arguments": "[1]"}}]), "must be an object"),
        ({**chat("q", "a"), "tools": "[{]"}, "tools is not valid JSON"),
        ({**chat("q", "a"), "tools": [{"type": "function"}]}, "not a function"),
        ('{"messages": [{"role": "user", "content": "\\ud83d"}]}', "half a character"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_row_is_named(tmp_path: Path, bad: Any, what: str) -> None:
    with pytest.raises(Fixable, match=what) as error:
        read(tmp_path, chat("q", "a"), bad)
    assert error.value.place == f"{tmp_path / 'chats.jsonl'}:2"


@pytest.mark.parametrize(
    ("first", "what"),
    [
        ({"question": "q", "answer": "a"}, "--questions"),
        ({"instruction": "q", "chosen": "a"}, "no 'rejected'"),
        ({"chosen": "q a", "rejected": "q b"}, "what the two endings answer is missing"),
        ({"input": [], "preferred_output": [], "non_preferred_output": []}, "no object 'input'"),
        ({"conversations": [], "images": ["a.png"]}, "pictures"),
        ({"a": 1}, "of no known form"),
        ({"instruction": "q"}, "no 'output'"),
        ({"instruction": "q", "output": 3}, "'output' must be text"),
        ({"instruction": "q", "output": "a", "history": [["x"]]}, "pairs of texts"),
        ({"instruction": "q", "output": "a", "history": "x"}, "no JSON list"),
        ({"text": None}, "no 'text'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_form_that_cannot_be_learned_is_refused(tmp_path: Path, first: dict[str, Any], what: str) -> None:
    with pytest.raises(Fixable) as error:
        read(tmp_path, first)
    assert what in str(error.value)
    assert error.value.place.endswith("chats.jsonl:1")


def test_a_call_that_nobody_made_is_not_answered(tmp_path: Path) -> None:
    row = with_turn(content="", tool_calls=[{"id": "c1", "function": {"name": "f", "arguments": "{}"}}])
    row["messages"] += [{"role": "tool", "tool_call_id": "c2", "content": "x"}, {"role": "assistant", "content": "y"}]
    with pytest.raises(Fixable, match="answers the call 'c2'"):
        read(tmp_path, row)


def test_holes_are_filled_or_refused(tmp_path: Path) -> None:
    row = {"instruction": "你是谁？", "output": "我是 {{name}}，由 {{author}} 开发。{{ x }}{{code}}"}
    with pytest.raises(Fixable, match=r"'{{name}}' is still to be filled in") as error:
        read(tmp_path, row)
    assert "--replace name=" in error.value.hint
    (made,), tally = read(tmp_path, row, replace={"name": "小书{{author}}", "author": "书院"})
    assert made.messages[1].content == "我是 小书{{author}}，由 书院 开发。{{ x }}{{code}}"
    assert tally.filled == {"name": 1, "author": 1}
    (made,), _ = read(tmp_path, row, replace={"name": "{{name}}", "author": "{{author}}"})
    assert made.messages[1].content == row["output"]


def test_a_table_holds_conversations_as_json(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "a.csv"
    cell = json.dumps(chat("你好", "好")["messages"], ensure_ascii=False).replace('"', '""')
    file.write_text(f'messages\n"{cell}"\n')
    (made,) = read_data(file, "a.csv", Tally())
    assert isinstance(made, Example)
    assert turns(made) == [("user", "你好"), ("assistant", "好")]
    rows = [chat("你好", "好"), with_turn(content=None, tool_calls=[{"function": {"name": "f", "arguments": "{}"}}])]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    made, called = read_data(tmp_path / "a.parquet", "a.parquet", Tally())
    assert (turns(made), made.place) == ([("user", "你好"), ("assistant", "好")], "a.parquet:row 1")
    assert "f" in called.messages[1].tool_calls


def test_a_given_shape_and_chosen_rows(tmp_path: Path) -> None:
    shape = Shape("alpaca", {**ALPACA.columns, "prompt": "ask", "response": "say"})
    rows = [{"ask": str(number), "say": "a"} for number in range(5)]
    made, tally = read(tmp_path, *rows, shape=shape, only={1, 3})
    assert [example.messages[0].content for example in made] == ["1", "3"]
    assert tally.kept("rows").dropped == {"not drawn": 3}


def test_the_same_lesson_has_the_same_id(tmp_path: Path) -> None:
    quiet = chat("q", "a", "r", "b")
    quiet["messages"][1]["weight"] = 0
    made, _ = read(tmp_path, chat("q", "a", "r", "b"), quiet, chat("q", "a", "r", "b"))
    assert made[0].id == made[2].id != made[1].id
