"""Translations gain from each other, texts on one topic do not: with a toy that copies, and with the default model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shuyuan.load.pulling import present
from shuyuan.prepare.translation import FEW, MOST, Told, gains
from shuyuan.recall.leaks import teller

WORDS = {"harbour": "港", "salt": "盐", "rank": "秩"}


def toy(texts: Sequence[tuple[str, str]]) -> list[Told]:
    """Knows three words, and copies signs; what it can take from the text before surprises it less."""
    found = []
    for before, text in texts:
        asked = before.rpartition("\n\n")[2].partition("\n")[0].lower()
        told, at = [], 0
        while at < len(text):
            word = next((w for pair in WORDS.items() for w in pair if text[at:].lower().startswith(w)), text[at])
            other = next(
                (b for pair in WORDS.items() for a, b in (pair, pair[::-1]) if a == word.lower()), word.lower()
            )
            told.append((at, at + len(word), -1.0 if other in asked else -3.0 if word in WORDS else -9.0))
            at += len(word)
        found.append(told)
    return found


def test_what_is_translated_gains() -> None:
    (same,) = gains([("harbour", "港")], toy)
    assert same == pytest.approx((2 / (1 + FEW) + min(8, MOST) / (1 + FEW)) / 2)  # both directions, capped
    assert gains([("harbour", "盐"), ("salt", "盐")], toy)[0] == 0
    assert gains([], toy) == []


def test_names_signs_and_width_gain_nothing() -> None:
    plain, named = gains([("harbour", "港"), ("X7 harbour?!😀", "ｘ７　港？！🙂")], toy)
    assert named == pytest.approx(plain)
    assert gains([("X7", "X7")], toy) == [0]
    assert gains([("🙂", "？")], toy) == [0]


def test_each_pair_has_its_own_gain() -> None:
    pairs = [("salt", "盐"), ("rank", "盐"), ("harbour", "港"), ("salt", "盐")]
    assert gains(pairs, toy) == [gains([pair], toy)[0] for pair in pairs]


@pytest.mark.skipif(not present("qwen2.5-0.5b"), reason="no model here")
def test_the_default_model_tells_translations_from_neighbours() -> None:
    english = [
        "Where no bar can be drawn, progress comes as lines. How many seconds lie between them?",
        "How many layers does the embedder multilingual-e5-small have?",
        "Which exit code does Shuyuan return when I interrupt it?",
        "Opening documents saved in other formats",
    ]
    chinese = [
        "画不了进度条的地方，进度以行显示，行与行之间隔几秒？",
        "向量模型 multilingual-e5-small 有多少层？",
        "我中断命令时，书院以什么退出码结束？",
        "打开以其他格式保存的文档",
    ]
    near = [
        "训练每过多少步写下一个检查点？",
        "multilingual-e5-small 的向量宽度是多少？",
        "敲错了命令，书院以什么退出码结束？",
        "插入超链接",
    ]
    tells = teller("qwen2.5-0.5b")
    same, other = (gains(list(zip(english, of, strict=True)), tells) for of in (chinese, near))
    assert min(same) > 0.7
    assert all(one > two for one, two in zip(same, other, strict=True))
    assert sorted(other)[-2] < 0.4  # but for exit codes, which are asked for in the same words
