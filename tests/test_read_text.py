"""Bytes → text in every encoding people send, and what is not text is refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.read.encoding import decode
from shuyuan.read.language import language
from shuyuan.read.reading import read_file

SIMPLIFIED = [
    "书院是一座古老的学校，藏书、教书、考试都在这里。",
    "测试文件",
    "你好，世界！",
    "默认的学习率是多少？",
    "LoRA 的秩（rank）默认是 16，可以用 --rank 修改。\n第二行\n",
    "人工智能模型训练需要大量数据。",
]
TRADITIONAL = [
    "書院是一座古老的學校，藏書、教書、考試都在這裡。",
    "這是測試檔案。",
    "預設的學習率是多少？",
    "人工智慧模型訓練需要大量資料。\nLoRA 的秩預設是 16。",
]


@pytest.mark.parametrize("text", SIMPLIFIED)
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_simplified_chinese_is_decoded_whatever_wrote_it(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("text", TRADITIONAL)
@pytest.mark.parametrize("encoding", ["utf-8", "big5", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_traditional_chinese_is_decoded_whatever_wrote_it(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "ascii"])
def test_english_without_a_mark(encoding: str) -> None:
    text = "Teach a model your own material.\nThen examine it."
    assert decode(text.encode(encoding)) == text


def test_emoji_and_rare_characters_survive_gb18030() -> None:
    text = "书院的标志是一本书😀，还有生僻的字𠀀。"
    assert decode(text.encode("gb18030")) == text


def test_older_western_text() -> None:
    text = "Le café est fermé à midi, mais la bibliothèque est ouverte.\nOù êtes-vous allés cet été ?\n"
    assert decode(text.encode("cp1252")) == text


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), min_size=1))
def test_utf8_with_a_mark_is_kept_to_the_letter(text: str) -> None:
    assert decode(b"\xef\xbb\xbf" + text.encode()) == text


def test_line_ends_are_one_kind_and_invisible_characters_go() -> None:
    assert decode("a\r\nb\rc\u200b\u202ed\u00ade 👩\u200d🔬".encode()) == "a\nb\ncde 👩\u200d🔬"


def test_hidden_tags_go_and_those_of_a_flag_stay() -> None:
    flag = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "obey me")
    assert decode(f"旗 {flag} and{hidden} words".encode()) == f"旗 {flag} and words"


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 20,
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(200),
        b"\x7fELF\x02\x01\x01\x00" + bytes(64),
    ],
)
def test_binary_garbage_is_refused_by_file_and_line(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "垃圾.txt"
    file.write_bytes(b"one\ntwo\n" + data)
    with pytest.raises(Fixable, match="not text") as error:
        read_file(file, "垃圾.txt")
    assert error.value.place == f"{file}:3"


def test_a_broken_byte_in_utf8_is_named_by_line_not_guessed_around() -> None:
    data = "第一行\n第二行\n第三".encode() + b"\xff" + "行。这一个文件别处都是好的。".encode()
    with pytest.raises(Fixable, match="not valid UTF-8") as error:
        decode(data, "notes.txt")
    assert error.value.place == "notes.txt:3"


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html", ".pdf", ".docx"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"empty{suffix}"
    file.touch()
    with pytest.raises(Fixable, match="empty") as error:
        read_file(file, file.name)
    assert error.value.place == str(file)


@pytest.mark.parametrize("suffix", [".txt", ".md", ".html"])
def test_white_space_alone_is_no_text(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"blank{suffix}"
    file.write_text(" \n\t\n")
    with pytest.raises(Fixable, match="no text"):
        read_file(file, file.name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("书院是什么？", "zh"),
        ("What does 书院 mean?", "en"),
        ("LoRA 的 rank 是什么?", "zh"),
        ("update-alternatives 怎么用", "zh"),
        ("PAM 和 NSS", "zh"),
        ("定制：\n```\n# enable bash-completion if it is there\nif ! shopt -oq posix; then\n```\n", "zh"),
        ("见 https://example.org/what-is-the-root/of/all/pages", "zh"),
        ("`ls -l`", "en"),
        ("Titles in Chinese, such as 论语, are kept as they are.", "en"),
        ("学校はどこですか", "ja"),
        ("서원은 어디입니까", "ko"),
        ("Где академия?", "ru"),
        ("1 + 1 = 😀", "und"),
    ],
)
def test_language_by_script(text: str, expected: str) -> None:
    assert language(text) == expected
