"""Preference data as people have it becomes pairs; pairs become sequences; a bad row is named."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_prepare_conversations import file_of, read
from tiny import tiny_tokenizer

from shuyuan.base.errors import Fixable
from shuyuan.base.material import lessons_fingerprint
from shuyuan.base.records import Example, Lessons, Message, Question
from shuyuan.base.workspace import Workspace
from shuyuan.prepare import tokens
from shuyuan.prepare.chat import encode_example
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.conversations import Tally, identified, read_data
from shuyuan.prepare.endings import Pair
from shuyuan.prepare.gathering import data_files, put_data
from shuyuan.prepare.leak import leaks
from shuyuan.prepare.meaning import said
from shuyuan.prepare.sources import Roots
from shuyuan.prepare.tokens import encoded_pairs

ASKED, GOOD, BAD = "秩是多少？Ｗhy 🎓", "十六。It is 16. 🎓", "六十四。"
SYSTEM = {"role": "system", "content": "简短。"}
HISTORY = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "好"}]
PROMPT = [SYSTEM, *HISTORY, {"role": "user", "content": ASKED}]


def say(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def from_value(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]


FORMS: dict[str, dict[str, Any]] = {
    "openai": {
        "input": {"messages": PROMPT, "tools": [], "parallel_tool_calls": True},
        "preferred_output": [say(GOOD)],
        "non_preferred_output": [say(BAD)],
    },
    "openai, older": {
        "input": {"messages": PROMPT},
        "preferred_completion": [say(GOOD)],
        "non_preferred_completion": [say(BAD)],
    },
    "trl": {"prompt": PROMPT, "chosen": [say(GOOD)], "rejected": [say(BAD)]},
    "trl, whole conversations": {"chosen": [*PROMPT, say(GOOD)], "rejected": [*PROMPT, say(BAD)]},
    "ultrafeedback": {
        "prompt": ASKED,
        "chosen": [*PROMPT, say(GOOD)],
        "rejected": [*PROMPT, say(BAD)],
        "messages": [*PROMPT, say(GOOD)],
    },
    "messages": {"messages": PROMPT, "chosen": say(GOOD), "rejected": say(BAD)},
    "sharegpt": {
        "conversations": from_value(PROMPT),
        "chosen": from_value([say(GOOD)])[0],
        "rejected": from_value([say(BAD)])[0],
    },
    "alpaca": {
        "instruction": ASKED,
        "input": "",
        "chosen": GOOD,
        "rejected": BAD,
        "system": SYSTEM["content"],
        "history": [["你好", "好"]],
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_one_pair(tmp_path: Path, form: str) -> None:
    (made,), tally = read(tmp_path, FORMS[form])
    assert made.messages == (
        Message("system", "简短。"),
        Message("user", "你好"),
        Message("assistant", "好", learned=False),
        Message("user", ASKED),
        Message("assistant", GOOD),
    )
    assert made.rejected == (Message("assistant", BAD),)
    assert made.with_rejected().messages == (*made.messages[:-1], *made.rejected)
    assert set(tally.unused) <= {"prompt", "messages"}
    assert made.place == "d/chats.jsonl:1"


def test_prompts_that_are_text(tmp_path: Path) -> None:
    (made,), _ = read(tmp_path, {"prompt": ASKED, "chosen": GOOD, "rejected": BAD})
    assert [message.content for message in made.turns] == [ASKED, GOOD, BAD]


def test_an_ending_may_hold_calls_and_their_results(tmp_path: Path) -> None:
    call = {"function": {"name": "weather", "arguments": '{"city": "北京"}'}}
    called = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "晴"}, say("晴。")]
    row = {"prompt": [{"role": "user", "content": "天气？"}], "chosen": called, "rejected": [say("不知道。")]}
    (made,), _ = read(tmp_path, row)
    assert [m.role for m in made.messages] == ["user", "assistant", "tool", "assistant"]
    assert [m.content for m in made.with_rejected().messages] == ["天气？", "不知道。"]


GIVEN: dict[str, Any] = {"prompt": PROMPT, "chosen": [say(GOOD)], "rejected": [say(BAD)]}
WHOLE: dict[str, Any] = {"chosen": [*PROMPT, say(GOOD)], "rejected": [*PROMPT, say(BAD)]}


@pytest.mark.parametrize(
    ("good", "bad", "what"),
    [
        (GIVEN, {"rejected": [say(GOOD)]}, "'chosen' and 'rejected' are the same"),
        (GIVEN, {"rejected": [say(" ")]}, "'rejected' is empty"),
        (GIVEN, {"chosen": []}, "'chosen' is empty"),
        (GIVEN, {"rejected": None}, "no 'rejected'"),
        (GIVEN, {"prompt": None}, "no 'prompt'"),
        (GIVEN, {"chosen": [{"role": "user", "content": "x"}]}, "goes on with the user's turn"),
        (GIVEN, {"chosen": [{**say(GOOD), "weight": 0}]}, "weight 0"),
        (GIVEN, {"prompt": PROMPT[:-1]}, "turn 4 is the assistant's, where the user's belongs"),
        (GIVEN, {"chosen": [say(GOOD), say(GOOD)]}, "turn 6 is the assistant's"),
        (WHOLE, {"rejected": WHOLE["chosen"]}, "are the same"),
        (WHOLE, {"rejected": PROMPT}, "'rejected' is empty"),
        (
            WHOLE,
            {"rejected": [*PROMPT[:-1], {"role": "user", "content": "?"}, say(BAD)]},
            "'chosen' goes on with the user",
        ),
        (WHOLE, {"rejected": GOOD}, "'chosen' goes on with the system's"),
        (FORMS["openai"], {"input": {}}, "no 'messages'"),
        (FORMS["openai"], {"input": None}, "no object 'input'"),
        (FORMS["openai"], {"non_preferred_output": [{"content": BAD}]}, "turn 1 has no 'role'"),
        (FORMS["alpaca"], {"rejected": [say(BAD)]}, "'rejected' must be text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_pair_is_named(tmp_path: Path, good: dict[str, Any], bad: dict[str, Any], what: str) -> None:
    with pytest.raises(Fixable, match=what) as error:
        read(tmp_path, good, {**good, **bad})
    assert error.value.place == f"{tmp_path / 'chats.jsonl'}:2"


def test_a_table_holds_pairs(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "a.csv").write_text(f"prompt,chosen,rejected\n{ASKED},{GOOD},{BAD}\n")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([FORMS["openai, older"]]), tmp_path / "a.parquet")
    (made,) = read_data(tmp_path / "a.csv", "a.csv", Tally())
    (same,) = read_data(tmp_path / "a.parquet", "a.parquet", Tally())
    assert isinstance(made, Example)
    assert isinstance(same, Example)
    assert made.rejected == same.rejected == (Message("assistant", BAD),)


# in a workspace


def example(rejected: str = BAD, chosen: str = GOOD) -> Example:
    return identified(
        Example("", (Message("user", ASKED), Message("assistant", chosen)), rejected=(Message("assistant", rejected),))
    )


def test_a_rejected_ending_changes_the_fingerprints_and_none_leaves_them() -> None:
    plain = identified(Example("", (Message("user", ASKED), Message("assistant", GOOD))))
    ids = {plain.id, example().id, example("七").id}
    assert len(ids) == 3
    marks = {lessons_fingerprint(Lessons(examples=(one,))) for one in (plain, example(), example("七"))}
    assert len(marks) == 3
    assert plain.id == "3e6921ea64817ef4"
    assert lessons_fingerprint(Lessons(examples=(plain,))) == "073309a29e5923b1"


def test_pairs_are_stored_and_old_examples_still_open(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "school")
    files = data_files(Roots.open(workspace.folder), [file_of(tmp_path, FORMS["openai"], FORMS["openai"])])
    kept = put_data(workspace.material, files, {}, Chunk())
    assert kept.dropped == {"duplicate": 1}
    (stored,) = workspace.material.examples()
    assert stored.rejected == (Message("assistant", BAD),)
    workspace.material.close()
    with sqlite3.connect(tmp_path / "school" / "material.sqlite") as db:  # as an older version wrote it
        db.execute("update examples set record = json_remove(record, '$.rejected')")
        db.execute("pragma user_version = 3")
    (old,) = Workspace.open(tmp_path / "school").material.examples()
    assert old == replace(stored, rejected=())


def test_leaks_are_seen_in_the_rejected_ending() -> None:
    asked = Question("q", "What is the default rank of the LoRA route here?", ("16",), "en", "")
    leaking = example(f"Ask yourself: {asked.text}")
    (hit,) = leaks([leaking], [asked])
    assert hit.example is leaking
    assert leaks([example()], [asked]) == []
    proof = Question("p", "啥？", ("六十四",), "zh", "f", evidence="书院里这条路线默认的秩一直都是六十四。")
    assert leaks([example(proof.evidence)], [proof])
    assert any(asked.text in one.text for one in said([leaking], 10)[0]), "its meaning is compared, too"


# as tokens


def test_a_pair_holds_both_conversations_and_learns_the_endings_only(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    (made,), _ = read(tmp_path, FORMS["openai"])
    (pair,), kept = encoded_pairs([made], tokenizer, 1024, tmp_path)
    assert str(kept) == "kept 1 pairs"
    for part, whole in zip(pair.parts, (made, made.with_rejected()), strict=True):
        assert part == encode_example(whole, tokenizer)
    learned = [[i for i, on in zip(part.ids, part.learned, strict=True) if on] for part in pair.parts]
    assert [tokenizer.decode(ids) for ids in learned] == [f"{GOOD}<|end|>", f"{BAD}<|end|>"]


def test_what_is_cut_or_dropped_is_counted(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    asked = len(encode_example(Example("", (Message("user", ASKED), Message("assistant", "x"))), tokenizer).ids)
    plain = Example("", (Message("user", ASKED), Message("assistant", GOOD)))
    given = [example(), example("b" * 90, "a" * 90), example("a" * 80 + "b", "a" * 80 + "c"), plain]
    pairs, kept = encoded_pairs(given, tokenizer, asked + 40, tmp_path)
    assert len(pairs) == 2
    assert str(kept).startswith(f"kept 2 of 4 pairs (1 cut at {asked + 40} tokens): ")
    assert kept.dropped == {"with one ending only": 1, "cut before their endings differ": 1}


def test_many_pairs_lie_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer()
    given = [example(f"坏 {number}") for number in range(30)]
    in_memory, kept = encoded_pairs(given, tokenizer, 1024, tmp_path)
    monkeypatch.setattr(tokens, "_IN_MEMORY", 10)
    on_disk, same = encoded_pairs(given, tokenizer, 1024, tmp_path)
    assert list(in_memory) == list(on_disk)
    assert kept == same
    assert (tmp_path / "tokens").exists()
    assert all(isinstance(pair, Pair) for pair in on_disk)
    other, _ = encoded_pairs([example("别的")] * 11, tokenizer, 1024, tmp_path)
    assert len(other) == 11
