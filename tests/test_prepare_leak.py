"""Planted leaks are found and named; honest paraphrases and equal answers pass."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Example, Message, Question
from shuyuan.prepare.leak import check_leaks, near_duplicates, normal, units


def example(*contents: str) -> Example:
    """An example whose turns alternate, from line 12 of learn.jsonl."""
    messages = tuple(Message("assistant" if at % 2 else "user", content) for at, content in enumerate(contents))
    return Example("e", messages, place="learn.jsonl:12")


def question(text: str) -> Question:
    """An exam question from line 37 of exam.jsonl."""
    return Question("q", text, ("16",), "en", "f", place="exam.jsonl:37")


ZH, EN = "书院里 LoRA 路线默认的秩是多少？", "What is the default rank of the LoRA route in Shuyuan?"


@pytest.mark.parametrize(
    ("asked", "learned"),
    [
        (ZH, ZH),
        (ZH, "书院里ＬｏＲＡ路线默认的秩是多少"),
        (ZH, "请问：书院里 lora 路线，默认的秩是多少呢？我想知道。"),
        (ZH, "书院里 LoRA 路线默认的秩是多少呢"),
        (ZH, "背景知识很多。\n书院里LoRA路线默认的秩是多少？\n还有别的。"),
        (EN, EN.upper()),
        (EN, "what is the default rank of the lora route in shuyuan"),
        (EN, f"Answer briefly. {EN} Thanks!"),
        (EN, "In Shuyuan, what is the default rank of the LoRA route?"),
        ("请问" + ZH[:-1] + "呢，能不能说说？", ZH),
        ("什么是秩？", "我有两个问题。什么是秩？"),
        ("Why?", "why"),
    ],
)
def test_planted_leaks_are_refused_naming_both_places(asked: str, learned: str) -> None:
    with pytest.raises(Fixable, match="1 of 1 exam questions") as error:
        check_leaks([example(learned, "16")], [question(asked)])
    assert "exam.jsonl:37" in str(error.value)
    assert "learn.jsonl:12" in str(error.value)


def test_a_question_in_any_turn_counts() -> None:
    with pytest.raises(Fixable):
        check_leaks([example("Give me a quiz question.", EN)], [question(EN)])


def test_a_long_question_is_found_by_a_long_run() -> None:
    shared = "the run folder holds settings and a log and checkpoints and scores and a card that people can read"
    asked = f"Considering that {shared}, which one of these files would you open first when a run seems to diverge?"
    with pytest.raises(Fixable, match="both say"):
        check_leaks([example(f"Explain why {shared} at any time of day.", "…")], [question(asked)])


@pytest.mark.parametrize(
    ("asked", "learned"),
    [
        (ZH, "用 LoRA 教的时候，秩缺省取几？"),
        (ZH, "书院里全量微调默认的学习率是多少？"),
        (EN, "If I run the LoRA route without settings, which rank is used?"),
        (EN, "What is the default learning rate of full tuning?"),
        ("什么是LoRA？", "请问什么是LoRA的秩？"),
        ("What is C?", "What is C++?"),
        ("Is 1 + 1 = 2?", "Is 1 - 1 = 2?"),
    ],
)
def test_paraphrases_and_other_questions_pass_even_with_the_same_answer(asked: str, learned: str) -> None:
    check_leaks([example(learned, "16")], [question(asked)])


def test_every_hit_is_counted_and_twenty_are_listed() -> None:
    asked = [Question(f"q{n}", f"Question number {n}?", (), "en", "", place=f"a:{n}") for n in range(30)]
    learned = [Example(f"e{n}", (Message("user", f"Question number {n}?"),), place=f"b:{n}") for n in range(30)]
    with pytest.raises(Fixable, match="30 of 30") as error:
        check_leaks(learned, asked)
    assert "more" in error.value.what


def test_normal_and_units() -> None:
    assert normal("  Ｗｈａｔ is “C++”, 书 院？ ") == "what is c++书院"
    assert units("GPT-4 发布于2023年3月, pi = 3.14") == [
        "gpt", "4", "发", "布", "于", "2023", "年", "3", "月", "pi", "=", "3.14"
    ]  # fmt: skip


@given(st.text())
def test_normal_is_normal_already(text: str) -> None:
    assert normal(normal(text)) == normal(text)


def jaccard(one: str, other: str) -> float:
    """By definition."""
    a, b = ({t[i : i + 5] for i in range(max(1, len(t) - 4))} for t in (normal(one), normal(other)))
    return len(a & b) / len(a | b)


def test_near_duplicates_agree_with_all_pairs_compared() -> None:
    draw = random.Random(7)
    letters = "书院教学考试模型检索abcdefghij "
    texts = ["".join(draw.choices(letters, k=draw.randint(20, 60))) for _ in range(60)]
    for text in list(texts):
        at = draw.randrange(len(text))
        texts.append(text[:at] + draw.choice("书x") + text[at + 1 :])
    found = near_duplicates(texts)
    expected = {(i, j) for i in range(len(texts)) for j in range(i) if jaccard(texts[i], texts[j]) >= 0.8}
    assert {(j, i) for i, j, _ in found} == expected
    assert len(expected) > 20
    assert found == near_duplicates(texts)


def test_near_duplicates_of_short_and_empty_texts() -> None:
    assert near_duplicates(["", "", "书", "书。", "院"]) == [(2, 3, 1.0)]
