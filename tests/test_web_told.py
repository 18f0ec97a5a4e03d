"""What people are told, in Chinese: nothing that page or terminal can show is missing, and nothing is there in vain."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import house
import talk
from pydantic_core._pydantic_core import list_all_errors

from shuyuan.base.chinese import TABLES
from shuyuan.base.guards import Guards
from shuyuan.base.shelf import HOUSE, choices, choose
from shuyuan.serve.jobs import ExamOrder

CHINESE: dict[str, str] = json.loads((HOUSE / TABLES[0]).read_text("utf-8"))  # what the page can show, and the terminal
TERMINAL: dict[str, str] = json.loads((HOUSE / TABLES[1]).read_text("utf-8"))  # what only the terminal shows
ROOMS = [room for room in house.ROOMS if room not in ("web", "cli")]
# What only programs are told, by the API, in English.
FOR_PROGRAMS = ["anthropic", "embeddings", "files", "images", "models", "sse", "tuning", "wire"]
# What the page never asks for: it is reached from a terminal, from Python, or by a program through the API.
ELSEWHERE = {
    "prepare": "asking calls conversations dataset_info gates gathering making mixture quiz shapes",
    "load": "shaping",
    "recall": "learning",
    "measure": "labels",
    "read": "address",
    "teach": "following recipe tune",
    "examine": "contexts curve drafting harness harness_model pairs pilot report reranking robustness showing teacher"
    " tuning",
    "serve": "anthropic embeddings files images models serving sse tuning webhooks wire",
}


def shown() -> Iterator[tuple[str, str]]:
    """Where something is said that the page can show, and its template."""
    for room in ROOMS:
        for path in sorted((HOUSE / room).glob("*.py")):
            if path.stem not in ELSEWHERE.get(room, "").split():
                yield from ((f"{room}/{path.name}:{line}", template) for line, template in talk.said(path))
    for route in choices("teach"):  # the notes in the form of its settings
        for field, info in choose("teach", route).model_fields.items():
            yield f"{route}.{field}", info.description or ""
    yield from ((f"guards.{field}", info.description or "") for field, info in Guards.model_fields.items())
    yield from ((f"exam.{field}", ExamOrder.model_fields[field].description or "") for field in ("k", "seed"))


def known() -> set[str]:
    """Every text that anybody says: our own sources, pydantic's messages, the system's."""
    ours = [text for room in ROOMS for path in (HOUSE / room).glob("*.py") for text in talk.every_text(path)]
    short = [text.removeprefix("{0}: ") for text in ours]  # a place stands in front of it
    return {*ours, *map(talk.numbered, short), *of_others()}


def of_others() -> Iterator[str]:
    for number in errno.errorcode:
        yield os.strerror(number)
    yield from ("File is not a zip file", "JSON decode error", "List", "Tuple", "Dictionary")
    yield from (
        "[Errno {0}] {1}",
        "[Errno {0}] {1}: '{2}'",
        "Name or service not known",
        "Temporary failure in name resolution",
        "timed out",
    )
    for error in list_all_errors():
        for plural in ("", "s"):
            text = error["message_template_python"].replace("{expected_plural}", plural)
            yield talk.numbered(re.sub(r"\{\w+\}", "{0}", text))
    yield "Input should be {0} or {1}"  # one of several


def test_all_that_the_page_can_show_is_said_in_chinese() -> None:
    said = {template: where for where, template in shown()}
    assert len(said) > 500
    assert {where: template for template, where in said.items() if template not in CHINESE} == {}


def test_nothing_is_translated_that_nobody_says() -> None:
    assert sorted(CHINESE.keys() - known()) == []


def test_what_is_filled_in_is_kept() -> None:
    for english, chinese in CHINESE.items():
        holes = sorted(talk.HOLE.findall(english))
        assert sorted(re.findall(r"\{(\d+)\*?\}", chinese)) == holes, english
        assert re.search(r"[\u4e00-\u9fff]", chinese) or not re.search(r"[a-z]{3}", english), english
        for command in re.findall(r"shuyuan [a-z]+|pip install \S+|https?://\S+", english):
            assert command in chinese, english


def test_files_that_speak_elsewhere_are_there() -> None:
    named = [HOUSE / room / f"{name}.py" for room, names in ELSEWHERE.items() for name in names.split()]
    assert [path for path in named if not any(talk.said(path))] == []


def test_the_reader_of_texts_sees_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        'HINT = "do that"\n'
        "def f(x):\n"
        '    what = f"it is {x!r}\\nhint: no" if x else "nothing"\n'
        '    say(f"{x}, " + ("a few" if x else f"many {x:,} of them"))\n'
        '    raise Fixable(what, HINT if x else "or {this}")\n'
        "class A:\n"
        '    def __str__(self):\n        "Not said."\n        return self.all["key"] + f"said {self.b}"\n',
        encoding="utf-8",
    )
    said = [template for _, template in talk.said(tmp_path / "a.py")]
    assert sorted(said) == [
        "do that", "it is {0}", "no", "nothing", "or {this}", "said {0}", "{0}, a few", "{0}, many {1} of them",
    ]  # fmt: skip
