"""The house's order: imports point left, files are small, shelves keep their contract, nothing private is published."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import house
import pytest
from conftest import REPOSITORY, SHUYUAN
from pydantic import ValidationError

from shuyuan.base import shelf
from shuyuan.base.errors import Fixable
from shuyuan.base.settings import MOST_SETTINGS, Settings, _plain_type

FILES = house.files(shelf.HOUSE)
SHELVES = [(room, name) for room in house.ROOMS[1:] for name in shelf.choices(room)]
VERBS = {"read": "read", "measure": "measure", "store": "open", "teach": "teach", "serve": "routes", "cli": "run"}


def room_of(path: Path) -> str:
    return path.relative_to(shelf.HOUSE).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(shelf.HOUSE)))
def test_file_keeps_house_order(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert house.wrong_way(source, room_of(path)) == []
    assert house.too_long(source) == []
    assert house.unsafe(source) == []
    assert house.undocumented(source) == []
    assert room_of(path) == "load" or house.model_names(source) == []


@pytest.mark.parametrize(
    "planted",
    ["from shuyuan.teach import lora", "import shuyuan.cli.main", "from ..examine import report", "from .. import cli"],
)
def test_order_test_sees_a_violation(planted: str) -> None:
    assert house.wrong_way(planted, "recall")
    assert house.wrong_way(f"def f():\n    {planted}", "recall")  # a late import is an import


def test_order_test_allows_the_left_and_the_same_room() -> None:
    fine = "from shuyuan.base.errors import Fixable\nfrom . import fuse\nfrom ..store import lance\nimport numpy"
    assert house.wrong_way(fine, "recall") == []


def test_the_other_checks_see_a_violation() -> None:
    assert house.too_long("def f():\n" + "    x = 1\n" * 61)
    assert house.too_long("x = 1\n" * 401)
    assert house.unsafe("import torch\ntorch.load('x')")
    assert house.unsafe("from pickle import loads")
    assert house.undocumented('"""File."""\ndef f():\n    pass')
    assert house.model_names("if name == 'qwen2.5': pass")


def test_every_folder_of_the_house_is_a_room() -> None:
    folders = {path.parent.name for path in shelf.HOUSE.glob("*/*.py")}
    assert folders <= set(house.ROOMS)


@pytest.mark.parametrize(("room", "name"), SHELVES, ids=str)
def test_shelf_contract(room: str, name: str) -> None:
    line = shelf.choices(room)[name]
    kind = shelf.choose(room, name)
    assert 10 <= len(line) <= 120, "the file's first docstring line says what it is"
    assert line[0].isupper()
    assert issubclass(kind, Settings), f"{kind} is on a shelf (named after its file), so it is a Settings record"
    assert kind.model_config["frozen"]
    assert len(kind.model_fields) <= MOST_SETTINGS
    assert callable(getattr(kind, VERBS.get(room, "__init__")))
    needed = {field: _plain_type(info.annotation) for field, info in kind.model_fields.items() if info.is_required()}
    required = {field: ("x", "y") if many else "x" for field, (_, many) in needed.items()}
    assert room == "cli" or not required, "every setting has a default"
    for field, info in kind.model_fields.items():
        assert info.description, f"{field} has no note"
        if _plain_type(info.annotation)[0] in (int, float):
            assert info.metadata, f"{field} has no bounds"
    if name == "completion":
        required = {"shell": "bash"}
    record = kind(**required)
    assert record == kind(**required)
    assert record == kind.of(record.model_dump())
    for field in kind.model_fields:
        with pytest.raises(ValidationError):
            setattr(record, field, getattr(record, field))
    with pytest.raises(Fixable, match="has no setting 'no_such_setting'"):
        kind.of({**required, "no_such_setting": 1})


def test_routes_leave_the_commands_own_flags_alone() -> None:
    from shuyuan.cli.teach import Teach

    taken = {*Teach.model_fields, "json", "workspace", "debug", "help"}
    for route in shelf.choices("teach"):
        assert not taken & set(shelf.choose("teach", route).model_fields), route


def test_listing_a_room_imports_none_of_it() -> None:
    script = "import sys; from shuyuan.base import shelf\n"
    script += "for room in sys.argv[1:]: shelf.choices(room)\n"
    script += "print([m for m in sys.modules if m.startswith('shuyuan.') and not m.startswith('shuyuan.base')])"
    shown = subprocess.run([sys.executable, "-c", script, *house.ROOMS], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_help_needs_no_heavy_import() -> None:
    heavy = r"import time:.*\| +(torch|transformers|pydantic|numpy|lancedb)$"
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", *SHUYUAN[1:], "--help"], capture_output=True, text=True, check=True
    )
    assert "examples:" in shown.stdout
    assert "shuyuan.base.shelf" in shown.stderr, "the import report is not there, so it proves nothing"
    assert re.findall(heavy, shown.stderr, re.MULTILINE) == []


def _published() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    return [REPOSITORY / name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]


def private(text: str) -> list[str]:
    """The words of a text that belong to a machine or a registry, not to the project."""
    words = (
        r"(?<![\w.])/(?:work|opt|root)/\w+",
        r"(?:files\.pythonhosted|pypi|test\.pypi|registry\.npmjs|deb\.debian|download\.pytorch)\.org",
        r"--(?:extra-)?index-url[ =]\S+",
        r"(?:AKIA|ghp_|hf_)[A-Za-z0-9]{16,}",
    )
    return [found for word in words for found in re.findall(word, text)]


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="only a checkout knows what is published")
def test_nothing_of_the_workplace_is_published() -> None:
    if os.environ.get("CI"):
        assert _published()
    for path in _published():
        if path != Path(__file__):
            assert private(path.read_bytes().decode("utf-8", errors="ignore")) == [], path
            most = 10_000_000 if path.suffix == ".safetensors" else 5_000_000  # shipped weights
            assert path.stat().st_size < most, path


def test_the_private_words_are_seen() -> None:
    for planted in ("see /work/" + "main", "https://pypi" + ".org/simple", "hf_" + "a" * 20):
        assert private(planted)
    assert private("a/work/of art; /opt") == []


def test_every_pin_works_on_the_oldest_python_we_promise() -> None:
    from packaging.specifiers import SpecifierSet

    pins = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    wrong, seen = [], 0
    for pin in pins:
        name, _, version = pin.partition("==")
        assert re.fullmatch(r"[\w.]+", version), pin
        try:
            told = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # needed on another system, or by another Python
        seen += 1
        if told["Version"] == version and not SpecifierSet(told["Requires-Python"] or "").contains("3.11.0"):
            wrong.append(pin)
    assert wrong == []
    assert seen > len(pins) // 2


def test_every_dependency_has_its_reason_and_its_pin() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    wanted = [one for one in wanted if not one.startswith("shuyuan[")]
    names = [re.split(r"[<>=\[]", entry)[0].lower() for entry in wanted]
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    pinned = {line.partition("==")[0] for line in pins.splitlines()}
    assert [name for name in names if name not in pinned] == []
    for page in ("docs/dependencies.md", "docs/zh/dependencies.md"):
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        assert [name for name in names if f"`{name}`" not in text] == [], page
