"""What the command line tells people in Chinese: the language chosen, nothing forgotten, nothing of theirs touched."""

from __future__ import annotations

import ast
import itertools
import json
import os
import pty
import random
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import house
import pytest
import talk
from playwright._impl._driver import compute_driver_executable
from test_web_told import CHINESE, FOR_PROGRAMS, TERMINAL
from test_web_told import known as known_to_the_page

from shuyuan.base.chinese import Table, language
from shuyuan.base.progress import Bar, cut, say, width_of
from shuyuan.base.shelf import HOUSE, choices, choose
from shuyuan.base.workspace import Workspace
from shuyuan.cli.helping import wrapped
from shuyuan.cli.ledger import _SIGNS
from shuyuan.cli.main import ABOUT, SHARED, main, spoken
from shuyuan.cli.reference import ROOMS
from shuyuan.examine.pilot import Worth
from shuyuan.load.catalogue import entries
from shuyuan.prepare.questions import USES

ALL = {**CHINESE, **TERMINAL}
HAN = re.compile(r"[\u4e00-\u9fff]")
VALUES = (
    "lora+retrieve",
    "手册/规章🎓（２０２７）.md",
    "1,234",
    "3m 20s",
    "1.2 MB",
    "",
    "ＡＢ和“引号”",
    "a: b, c; d · e",
    "x.py:12",
)


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHUYUAN_LANG", "zh")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh"),
        ({"LC_ALL": "zh_CN.GBK", "LC_MESSAGES": "en_US"}, "zh"),
        ({"SHUYUAN_LANG": "en", "LC_ALL": "zh_CN.UTF-8"}, "en"),
        ({"SHUYUAN_LANG": "ZH", "LANG": "en_US.UTF-8"}, "zh"),
        ({"SHUYUAN_LANG": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        ({"SHUYUAN_LANG": "fr", "LANG": "zh_CN.UTF-8"}, "en"),
    ],
)
def test_the_language_is_named_or_that_of_the_locale(
    given: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHUYUAN_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert language() == wanted


# --- nothing is forgotten, and nothing is there in vain


def notes() -> Iterator[tuple[str, str]]:
    """Every line of a help or reference page: commands, ways, settings, what stands behind the examples."""
    for room in (*ROOMS, "cli"):
        for name, line in choices(room).items():
            yield f"{room} {name}", line
            kind = choose(room, name)
            yield from ((f"{room} {name} {field}", info.description) for field, info in kind.model_fields.items())
            yield from behind(getattr(kind, "examples", ""))
    yield from behind(ABOUT + SHARED)
    yield from (("main", line) for line in ABOUT.split("\n") + SHARED.split("\n") if line and not line.startswith(" "))


def behind(examples: str) -> Iterator[tuple[str, str]]:
    for line in examples.splitlines():
        if found := re.fullmatch(r"\s*\S.*?\s{3,}(\S.*)", line):
            yield line, found[1]


def test_every_command_setting_and_example_has_its_chinese() -> None:
    said = {text: where for where, text in notes()}
    assert len(said) > 350
    assert {where: text for text, where in said.items() if text not in ALL} == {}


def test_all_that_the_terminal_can_show_is_said_in_chinese() -> None:
    kinds = {"place", "subject", "other", "table", "two-passage", "there", "right"}  # of tables and lists, not said
    table, missing = Table(ALL), {}
    for room in (room for room in house.ROOMS if room != "web"):
        for path in sorted((HOUSE / room).glob("*.py")):
            if (room == "serve" and path.stem in FOR_PROGRAMS) or (room, path.stem) == ("examine", "report"):
                continue
            for line, text in (*talk.said(path), *talk.reasons(path)):
                if text not in kinds and not {text, f"| {text}"} & ALL.keys():
                    shown = table.in_chinese(talk.HOLE.sub("7", text))  # put together from others
                    if re.search("[a-z]{3}", shown):
                        missing[f"{room}/{path.name}:{line}"] = text
    assert missing == {}


def test_states_and_kinds_in_tables_are_said_in_chinese() -> None:
    states = {"answered", "unanswered", "withdrawn", *_SIGNS, "lost", "facts", *get_args(Worth), *USES}
    kinds = {entry.kind for entry in entries().values()}
    assert sorted(word for word in states | kinds if word and f"| {word}" not in ALL) == []


def test_nothing_is_translated_that_the_terminal_never_says() -> None:
    paths = [path for room in house.ROOMS if room != "web" for path in (HOUSE / room).glob("*.py")]
    texts = {text for path in paths for text in talk.every_text(path)}
    words = {node.value for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8"))) if _is_text(node)}
    words |= {entry.kind for entry in entries().values()}
    spoken_of = {
        *known_to_the_page(), *texts, *words, *(f"| {one}" for one in words | texts), *(text for _, text in notes()),
        *(word for entry in entries().values() for word in entry.languages), *OF_ARGPARSE,
    }  # fmt: skip
    assert sorted(TERMINAL.keys() - spoken_of) == []
    assert [key for key in TERMINAL if TERMINAL[key] == CHINESE.get(key)] == []


OF_ARGPARSE = (
    "| options",
    "positional arguments",
    "the following arguments are required: {0}",
    "argument {0}",
    "invalid choice: {0} (choose from {1})",
    "expected one argument",
    "expected at least one argument",
    "expected at most one argument",
    "ignored explicit argument {0}",
    "unrecognized arguments: {0}",
)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_what_is_filled_in_is_kept() -> None:
    for english, chinese in TERMINAL.items():
        assert sorted(re.findall(r"\{(\d+)\*?\}", chinese)) == sorted(talk.HOLE.findall(english)), english
        assert HAN.search(chinese) or "Holm" in english, english
        for kept in re.findall(r"shuyuan [a-z]+|pip install \S+|https?://[\w.:/]+|--[a-z-]+|`\S+`", english):
            assert kept in chinese or kept.startswith("https://"), english


def test_every_text_becomes_its_own_chinese() -> None:
    """None is taken for another; what is filled in stays, a file name with full width and emoji, too."""
    table = Table(ALL)
    wanted = [talk.filled(*pair) for pair in ALL.items() if not pair[0].startswith("| ")]
    assert [(said, table.in_chinese(said)) for said, becomes in wanted if table.in_chinese(said) != becomes] == []


# --- terminal and page read a text in the same way


def corpus() -> list[str]:
    """Every template with what may fill it, alone and as lines are put together, and lines that nobody says."""
    drawn = random.Random(1)
    texts = []
    for english in (*CHINESE, *TERMINAL):
        for _ in range(2):
            texts.append(re.sub(r"\{\d+\}", lambda _: drawn.choice(VALUES), english))
        inner = re.sub(r"\{\d+\}", "7", drawn.choice([*CHINESE]))
        texts.append(re.sub(r"\{\d+\}", lambda _, inner=inner: drawn.choice((inner, "12", "lora")), english))
    some = drawn.choices(texts, k=1400)
    texts += [f"{a}{by}{b}" for a, by, b in zip(some[:600], itertools.cycle(JOINS), some[600:1200], strict=False)]
    texts += [f"  {a}\nhint: {b}\n" for a, b in zip(some[1200:1300], some[1300:], strict=True)]
    return [*texts, *STRANGE]


JOINS = ("; ", ", ", " · ", ": ", " (", "\n", "\u3000", " 🎓 ")
STRANGE = [
    "", " ", "lora", "one two", "½ of Ⅷ", "１２ of ３４", "3 of 4 FILES", "12 files", "ſtopped", "K of K",
    "x" * 1001 + " files",
    "İstanbul: 3 documents", "a\r\nb c", "\ufeff 12 files\u2028", "notes: files: the file is empty (0 bytes)",
    "\t1 of 2 files\x85", "the FILE is empty (0 bytes)", "Hint: none", "hint: did you mean lora?", "(12) files (13)",
]  # fmt: skip


def test_terminal_and_page_say_the_same(tmp_path: Path) -> None:
    """`chinese.ts` as it stands runs in Playwright's node; its port has to give every text the same Chinese."""
    source = (HOUSE / "web/src/chinese.ts").read_text("utf-8")
    imported = "import words from '../../base/told.zh.json'"
    assert imported in source
    reads = "JSON.parse(readFileSync(process.argv[2]!, 'utf-8'))"
    source = source.replace(
        imported, "import { readFileSync } from 'node:fs'\nconst words: Record<string, string> = " + reads
    )
    source += f"\nprocess.stdout.write(JSON.stringify({reads.replace('2', '3', 1)}.map(inChinese)))\n"
    texts = corpus()
    files = {"chinese.mts": source, "words.json": json.dumps(ALL), "texts.json": json.dumps(texts)}
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    command = [compute_driver_executable()[0], *(str(tmp_path / name) for name in files)]
    page = json.loads(subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout)
    table = Table(ALL)
    ours = [table.in_chinese(text) for text in texts]
    assert len(texts) > 4000
    assert sum(one != text for one, text in zip(ours, texts, strict=True)) > 3000
    different = [(text, a, b) for text, a, b in zip(texts, ours, page, strict=True) if a != b]
    assert different == []


# --- what is shown


def said(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of one command line, run in this process."""
    code = main(line)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def english(text: str) -> list[str]:
    """Where three English words follow one another, as they do in sentences and not in names."""
    text = re.sub(r"shuyuan [a-z]+( [a-z]+)?|默认 [^）]*", "", text)  # commands, and values
    return re.findall(r"\b[A-Za-z][a-z']+,? [a-z']+,? [a-z']+\b", text)


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("command", ["", *map(spoken, choices("cli")), *(f"teach {one}" for one in choices("teach"))])
def test_help_pages_are_chinese_and_fit(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if not line.startswith(("  shuyuan ", "  source "))]  # examples
    assert english(" ".join(" ".join(lines).split())) == []
    assert [line for line in lines if HAN.search(line) and line.endswith(":")] == []
    assert command == "" or max(map(width_of, lines)) <= 100
    flags = set(re.findall(r"(?<= )--[a-z-]+", out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHUYUAN_LANG", "en")
        plain = said(capsys, *command.split(), "--help")[1]
    assert flags >= {flag for flag in re.findall(r"(?<= )--[a-z-]+", plain) if flag != "--model" or flag in flags}
    assert plain != out
    assert not HAN.search("".join(line for line in plain.splitlines() if not line.startswith("  shuyuan "))[20:])


def test_lines_break_between_chinese_characters_and_keep_words_whole() -> None:
    text = "按 alpha / √rank 缩放，适合大的秩（默认 lora+retrieve）🎓，“引号”也不拆开；ＡＢＣ 全角。"
    for columns in range(16, 60):
        lines = [*wrapped(text, columns)]
        assert all(width_of(line) <= columns for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert any("lora+retrieve" in line for line in lines)
        assert not any(line[0] in "，。；）”" for line in lines)
    assert [*wrapped("", 20)] == [""]


def test_a_line_on_a_terminal_is_cut_by_its_columns() -> None:
    assert cut("书院🎓ab", 5) == "书院"
    assert cut("书院🎓ab", 6) == "书院🎓"
    assert cut("e\u0301tude", 2) == "e\u0301t"
    assert cut("ab", 9) == "ab"


@pytest.mark.usefixtures("chinese")
def test_a_first_journey(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person types first, and gets wrong; names of theirs stay as they are."""
    monkeypatch.chdir(tmp_path)
    name = "规章🎓（２０２７）the file is empty.md"
    (tmp_path / "手册").mkdir()
    (tmp_path / "手册" / name).write_text("# 山长\n\n新山长王德明将于 2027 年上任。\n", "utf-8")
    (tmp_path / "手册" / "空 🈳.txt").write_bytes(b"")
    code, out, err = said(capsys, "new", "school")
    assert (code, out, err) == (0, "school\n", "下一步：cd school && shuyuan add 文件\n")
    monkeypatch.chdir("school")
    code, out, err = said(capsys, "add", "../手册")
    assert out == "1 个文档，1 个段落，0 个样例，0 道题\n"
    assert "  ../手册/空 🈳.txt：文件是空的（0 字节）\n" in err
    assert english(err.replace(name, "")) == []
    out = said(capsys, "list")[1]
    assert f"{tmp_path / 'school'}：建在 qwen2.5-0.5b 和 multilingual-e5-small 上\n2 个文件，1 个文档" in out
    assert "  没有读：手册/空 🈳.txt：" in out
    head, row = said(capsys, "mark", f"手册/{name}", "--pin", "--tag", "旧", "the-files")[1].splitlines()
    assert head.split() == ["文档或文件夹", "置顶", "标签", "用户组"]
    assert row == f"手册/{name}  置顶  the-files 旧"
    assert width_of(head.partition("置顶")[0]) == width_of(row.partition("置顶")[0])
    for line, what, hint in (
        (["taech"], "没有“taech”这个命令", "您是不是想写 teach？"),
        (["teach", "lora", "--rnk", "8"], "shuyuan teach 没有 --rnk 这个选项", "您是不是想写 --rank？"),
        (
            ["teach", "lora", "--rank", "0"],
            "lora 的“rank”不能是 '0'：应当不小于 1",
            "适配器的宽度（≥ 1, ≤ 512；默认 16）",
        ),
        (["exam", "--k", "ａ🎓"], "exam 的“k”不能是 'ａ🎓'：应当是整数，这里读不出整数", "检索召回率按这么多段落来算"),
        (["ask"], "缺少必需的参数：QUESTION", "请看：shuyuan ask --help"),
        (["ask", "a", "--mode", "sing"], "参数 --mode：不能是 'sing'", "请看：shuyuan ask --help"),
        (["add", "../没有 such file.md"], "没有文件或文件夹 ../没有 such file.md", "请检查名称和当前文件夹"),
        (["exam"], "这个工作区里没有考题", "请先添加：shuyuan add … --questions 文件"),
        (["report"], "这里还没有考过试", "请考一次：shuyuan exam"),
        (["list", "-w", "/nowhere"], "/nowhere 里没有工作区", "请建一个：shuyuan new /nowhere"),
    ):
        code, out, err = said(capsys, *line)
        assert (code > 0, out) == (True, "")
        assert err.startswith(what), err
        assert f"\n提示：{hint}" in err, err
        assert english(err.replace("such file", "")) == [], err


@pytest.mark.usefixtures("chinese")
@pytest.mark.parametrize("line", ["list", "teach", "store", "models", "mark", "question list", "key list"])
def test_what_programs_read_is_the_same_in_both_languages(
    line: str, workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["-w", str(workspace.folder), *line.split()]
    chinese = said(capsys, *given, "--json")[1]
    shown = said(capsys, *given)[1]
    assert HAN.search(shown)
    assert english(shown.replace("zh en and about 100 more", "")) == []
    monkeypatch.setenv("SHUYUAN_LANG", "en")
    assert said(capsys, *given, "--json")[1] == chinese
    assert said(capsys, *given)[1] != shown


@pytest.mark.usefixtures("chinese")
def test_completion_is_the_same_in_both_languages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chinese = said(capsys, "completion", "fish")[1]
    monkeypatch.setenv("SHUYUAN_LANG", "en")
    assert said(capsys, "completion", "fish")[1] == chinese


@pytest.mark.usefixtures("chinese")
def test_bars_and_unforeseen_errors_are_said_in_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("reading", 3, "files") as bar:
        bar.advance(3)
        bar._draw()
    say("lora 书院🎓: kept 2 of 3 documents: 1 empty")
    with pytest.raises(ZeroDivisionError), Bar("reading", 3, "files"):
        1 / 0  # noqa: B018
    shown = capsys.readouterr().err
    assert shown == "阅读：3 / 3 个文件\n阅读：3 个文件，用时 0s\nlora 书院🎓：3 个文档中保留 2：1 空的\n"


@pytest.mark.usefixtures("chinese")
def test_a_live_bar_fits_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for quiet in ("CI", "NO_COLOR"):
        monkeypatch.delenv(quiet, raising=False)
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 61))
    with os.fdopen(reader, "rb", buffering=0) as shown, os.fdopen(writer, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        bar = Bar("embedding passages", 300, "passages")
        bar.advance(100, "手册/规章🎓.md")
        bar._draw()
        terminal.flush()
        drawn = shown.read(1 << 16).decode().rpartition("\x1b[K")[2]
    assert drawn.startswith("给段落定位 ████████░░░░░░░░░░░░░░░░ 100 / 300 个段落")
    assert width_of(drawn) <= 60


@pytest.mark.usefixtures("chinese")
def test_words_of_the_material_are_not_translated(workspace: Workspace) -> None:
    """The sample of a look before teaching reads as the learner reads it, though it is a sentence of ours."""
    from shuyuan.base.records import Answer, Citation
    from shuyuan.cli.shown import footer, looked_over, sources
    from shuyuan.teach.preflight import Preflight

    sample = "⟦there is no text in it⟧\nthe file is empty (0 bytes)"
    counts = {"sequences": 9, "held_out": 1, "steps": 3, "tokens": 99, "repeated": 0, "contradictory": 1, "unended": 0}
    found = Preflight(
        title="teaching lora", lengths=((64, 9),), sample=sample, difference=0.001, longest_batch=64, seconds=100,
        peak_bytes=2_000_000_000, free_bytes=1, questions=4, **counts,
    )  # fmt: skip
    shown = looked_over(found)
    assert sample.replace("\n", "\n  ") in shown
    assert english(shown.replace(sample.replace("\n", "\n  "), "")) == []
    citation = Citation(source="the file is empty (0 bytes).md", start=3, end=9, quote="12 files", page=2)
    assert sources(workspace, Answer(text="12 files", citations=(citation,))) == (
        "[1] the file is empty (0 bytes).md，第 2 页，字符 3–9\n    “12 files”"
    )
    assert footer("lora", Answer(text="", refused=True, seconds=3, prompt_tokens=1200, answer_tokens=5)) == (
        "— lora · 拒答 · 3s · 读 1,200 + 写 5 个词元"
    )


def test_help_of_every_command_needs_no_patterns() -> None:
    """Only exact texts are looked up, so help stays as fast as it was: `regex` is not imported."""
    script = "import sys; from shuyuan.cli.main import overview; overview(); print('regex' in sys.modules)"
    env = {**os.environ, "SHUYUAN_LANG": "zh"}
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, env=env)
    assert found.stdout == "False\n"
