"""Settings become flags; shelves list without importing and guess a near miss; progress is plain without a terminal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from shuyuan.base import progress, shelf
from shuyuan.base.errors import Fixable
from shuyuan.base.progress import Bar, follow, human_bytes, human_seconds
from shuyuan.base.records import Document, Heading, Kept, Passage
from shuyuan.base.settings import Settings, add_flags, field_help, given_flags


class Sample(Settings):
    """One field of each kind."""

    place: Annotated[str, Field(description="where")]
    rank: Annotated[int, Field(ge=1, le=8, description="100% of the width")] = 4
    rate: Annotated[float, Field(gt=0, lt=1, description="speed")] = 0.5
    quick: Annotated[bool, Field(description="hurry")] = False
    mode: Annotated[Literal["query", "chat"], Field(description="how")] = "query"
    words: Annotated[tuple[str, ...], Field(description="several")] = ()
    limit: Annotated[int | None, Field(ge=0, description="at most")] = None
    with_: Annotated[str, Field(description="a keyword of Python")] = ""


def parse(*line: str) -> dict[str, object]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser, Sample)
    return given_flags(parser.parse_args(line), Sample)


def test_flags() -> None:
    assert parse("here") == {"place": "here"}
    line = "here --rank 8 --rate .25 --quick --mode chat --words 书 院 --limit 0 --with lora"
    sample = Sample.of(parse(*line.split()))
    expected = {"rank": 8, "rate": 0.25, "quick": True, "mode": "chat", "words": ("书", "院"), "limit": 0}
    assert sample == Sample(place="here", **expected, with_="lora")  # type: ignore[arg-type]
    assert Sample.of(parse("here", "--no-quick")).quick is False
    with pytest.raises(argparse.ArgumentError):
        parse("here", "--mode", "sing")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rnk": 1}, "did you mean rank?"),
        ({"rank": 0}, "'rank' of sample cannot be 0"),
        ({"rank": "many"}, "'rank' of sample cannot be 'many'"),
        ({"rate": float("nan")}, "cannot be nan"),
        ({"mode": "sing"}, "'query' or 'chat'"),
    ],
)
def test_bad_settings_are_fixable(given: dict[str, object], said: str) -> None:
    with pytest.raises(Fixable) as refused:
        Sample.of({"place": "x", **given}, "settings.toml")
    assert said in str(refused.value)
    assert refused.value.place == "settings.toml"


def test_field_help_and_frozen() -> None:
    assert field_help(Sample.model_fields["rank"]) == "100% of the width (≥ 1, ≤ 8; default 4)"
    assert field_help(Sample.model_fields["quick"]) == "hurry"
    with pytest.raises(ValidationError):
        Sample(place="x").rank = 3  # type: ignore[misc]


def test_shelf() -> None:
    assert shelf.class_name("exact_match") == "ExactMatch"
    assert "lora" in shelf.choices("teach")
    assert not any(line.endswith(".") for line in shelf.choices("teach").values())
    assert shelf.choose("measure", "exact-match") is shelf.choose("measure", "exact_match")
    with pytest.raises(Fixable, match="there is no 'lorra' to teach with") as refused:
        shelf.choose("teach", "lorra")
    assert refused.value.hint == "did you mean lora?"
    for name in ("../base/files", "cost", "__init__", ""):
        with pytest.raises(Fixable):
            shelf.choose("teach", name)


def test_another_package_adds_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "guest-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[shuyuan.teach]\nhypnosis = guest_route:Hypnosis\n")
    (tmp_path / "guest_route.py").write_text("class Hypnosis:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    shelf.choices.cache_clear()
    try:
        assert shelf.choices("teach")["hypnosis"] == "from guest"
        assert shelf.choose("teach", "hypnosis").__name__ == "Hypnosis"
    finally:
        shelf.choices.cache_clear()
        sys.modules.pop("guest_route", None)


def test_progress_is_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(follow(range(3), "reading", 3, "files")) == [0, 1, 2]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "reading: 3 files in 0s\n"
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Bar("downloading", 2_000_000, "B", done=1_000_000) as bar:
        bar.advance(500_000, "a.safetensors")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("downloading: 1.5 MB of 2.0 MB")
    assert lines[0].endswith(" · a.safetensors")
    assert all("\r" not in line and "\x1b" not in line for line in lines)


def test_failed_bar_does_not_say_it_finished(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Bar("reading", 3):
            raise OSError

    with pytest.raises(OSError):
        fail()
    assert capsys.readouterr().err == ""


def test_human_numbers() -> None:
    assert [human_seconds(s) for s in (0.4, 59.7, 200, 3900)] == ["0s", "1m 00s", "3m 20s", "1h 05m"]
    sizes = [human_bytes(size) for size in (512, 1234, 350e6, 999.9e6, 2.5e12)]
    assert sizes == ["512 B", "1.2 kB", "350 MB", "1.0 GB", "2.5 TB"]


def test_records() -> None:
    headings = (Heading(0, 1, "书"), Heading(5, 2, "一"), Heading(9, 3, "甲"), Heading(12, 2, "二"))
    document = Document("d", "a/b.md", "书", "x" * 20, "", "zh", headings, (0, 10))
    assert document.headings_at(10) == ("书", "一", "甲")
    assert document.headings_at(15) == ("书", "二")
    assert [document.page_at(at) for at in (0, 9, 10, 19)] == [1, 1, 2, 2]
    assert Passage("p", "d", "a/b.md", 0, 1, "x", ("书",)).searchable == "b.md > 书\nx"
    assert str(Kept(5, 2, {"short": 1, "twice": 2}, "rows")) == "kept 2 of 5 rows: 2 twice, 1 short"
    assert str(Kept(2, 2, {}, "rows")) == "kept 2 rows"
