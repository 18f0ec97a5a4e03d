"""The page as it is built: its words in both languages, nothing from elsewhere, and equal to its source."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

from shuyuan.base.chinese import TABLES
from shuyuan.base.shelf import HOUSE

WEB = HOUSE / "web"
SOURCES = sorted((WEB / "src").rglob("*.vue")) + sorted((WEB / "src").rglob("*.ts"))
LOCALES = WEB / "src/locales"
WORDS = {language: json.loads((LOCALES / f"{language}.json").read_text("utf-8")) for language in ("en", "zh")}


def keys(words: dict, path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in words.items():
        if isinstance(value, dict):
            yield from keys(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def test_both_languages_say_the_same() -> None:
    english, chinese = dict(keys(WORDS["en"])), dict(keys(WORDS["zh"]))
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        holes = re.findall(r"\{\w+\}", text)
        assert sorted(holes) == sorted(re.findall(r"\{\w+\}", chinese[key])), key
    same = [key for key, text in english.items() if text and text == chinese[key]]
    assert same == ["models.to_fetch"], "words that were left untranslated"


def test_every_word_that_is_used_is_there() -> None:
    known = dict(keys(WORDS["en"]))
    used = {key for source in SOURCES for key in re.findall(r"\bt\('([\w.]+)'", source.read_text("utf-8"))}
    assert len(used) > 80
    assert sorted(used - known.keys()) == []
    prefixes = {p for source in SOURCES for p in re.findall(r"\bte?\(`([\w.]+)\$\{", source.read_text("utf-8"))}
    unused = {key for key in known.keys() - used if not key.startswith(tuple(prefixes))}
    assert sorted(unused) == []


def test_every_route_and_paper_has_its_words() -> None:
    from shuyuan.base.shelf import choices

    assert WORDS["en"]["routes"].keys() == choices("teach").keys()
    assert WORDS["en"]["papers"].keys() == choices("examine").keys()


def test_the_page_asks_nothing_of_anybody_else() -> None:
    files = [path for path in (WEB / "dist").rglob("*") if path.is_file()]
    assert any(path.name == "index.html" for path in files)
    for path in files:
        found = re.findall(r"(?:https?:)?//[\w-]+(?:\.[\w-]+)+", path.read_text("utf-8"))
        # names of XML vocabularies, and addresses in messages for developers; nothing is fetched from them
        foreign = {address.rpartition("/")[2] for address in found}
        assert foreign <= {"www.w3.org", "vuejs.org", "vue-i18n.intlify.dev", "router.vuejs.org", "github.com"}, path
    page = (WEB / "dist/index.html").read_text("utf-8")
    assert re.findall(r'(?:src|href)="(?!/)', page) == []
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*\bsrc=)", page), "an inline script"


def test_the_lock_file_names_no_address() -> None:
    assert "resolved" not in (WEB / "package-lock.json").read_text("utf-8")


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="only a checkout knows what is published")
def test_the_wheel_holds_the_page_and_all_that_the_rooms_read(tmp_path: Path) -> None:
    pytest.importorskip("setuptools.build_meta")
    listed = ["git", "ls-files", "-z", "src/shuyuan", "pyproject.toml", "README.md", "LICENSE"]
    named = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0")
    names = [name for name in named if (REPOSITORY / name).is_file()]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    script = "from setuptools import build_meta; print(build_meta.build_wheel('made'))"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    (wheel,) = (tmp_path / "made").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        held = set(packed.namelist())
    wanted = {name.removeprefix("src/") for name in names if name.startswith("src/")}
    wanted -= {name for name in wanted if name.startswith("shuyuan/web/") and "/dist/" not in name}  # its source
    assert "shuyuan/web/dist/index.html" in wanted
    assert sorted(wanted - held) == []


@pytest.mark.skipif(shutil.which("npm") is None, reason="without Node the page cannot be built anew")
def test_the_built_page_is_what_its_source_gives(tmp_path: Path) -> None:
    at = tmp_path / "web"
    for folder in (at, tmp_path / "base"):
        folder.mkdir()
    for name in ("index.html", "package.json", "package-lock.json", ".npmrc", "tsconfig.json", "vite.config.ts"):
        shutil.copy(WEB / name, at)
    for name in ("src", "public"):
        shutil.copytree(WEB / name, at / name)
    shutil.copy(HOUSE / TABLES[0], tmp_path / "base")  # which the terminal reads, too
    subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=at, check=True, capture_output=True, timeout=600)
    for script in ("check", "build"):
        subprocess.run(["npm", "run", script], cwd=at, check=True, capture_output=True, timeout=600)
    fresh, kept = (
        {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
        for root in (at / "dist", WEB / "dist")
    )
    assert fresh.keys() == kept.keys(), "build it: make page"
    assert [name for name in fresh if fresh[name] != kept[name]] == []
