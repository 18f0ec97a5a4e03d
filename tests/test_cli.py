"""The command line as a person meets it: real processes, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY, SHUYUAN

from shuyuan import __version__
from shuyuan.base import shelf
from shuyuan.base.workspace import Workspace
from shuyuan.cli.main import command_parser, main, split_command, spoken
from shuyuan.cli.reference import page
from shuyuan.cli.shell import table

COMMANDS = sorted(shelf.choices("cli"))


def said(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of one command line, run in this process."""
    code = main(line)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_no_words_show_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys)
    assert (code, err) == (0, "")
    assert out == said(capsys, "--help")[1]
    assert out.index("examples:") < out.index("commands:")
    assert set(COMMANDS) >= {
        "new",
        "add",
        "ask",
        "teach",
        "exam",
        "compare",
        "report",
        "list",
        "models",
        "pull",
        "doctor",
    }
    for command in COMMANDS:
        assert f"\n  {spoken(command)} " in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == (0, f"shuyuan {__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(capsys, *spoken(command).split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: shuyuan {spoken(command)}")
    assert "examples:\n  " in out
    assert out == said(capsys, "--help", *spoken(command).split())[1]
    parser, kind, _ = command_parser(command)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    assert ("--json" in flags) == kind.speaks_json
    assert {"--workspace", "--debug", "--help"} <= set(flags)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_understood(command: str) -> None:
    """Every example in a help page parses, with its flags and their bounds."""
    import shlex

    from shuyuan.base.settings import given_flags

    lines = [line.partition("   ")[0] for line in command_parser(command)[1].examples.strip().splitlines()]
    for line in lines:
        words = shlex.split(line.removeprefix("source <(").partition(" > ")[0].rstrip(")"))
        named, rest = split_command(words[1:])
        assert (words[0], named) == ("shuyuan", command)
        rest = [word for word in rest if word != "--help"]
        parser, kind, way = command_parser(command, rest)
        parsed, unknown = parser.parse_known_intermixed_args(rest)
        assert unknown == [], line
        if "--help" not in words:
            kind.of(given_flags(parsed, kind))
            assert way is None or way.of(given_flags(parsed, way))


@pytest.mark.parametrize("route", sorted(shelf.choices("teach")))
def test_route_help_is_drawn_from_its_record(route: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "teach", route, "--help")
    assert code == 0
    for name, info in shelf.choose("teach", route).model_fields.items():
        assert f"--{name.replace('_', '-')} " in out
        assert str(info.description).split()[0] in out
    assert "--on " in out
    assert "--seed " in out


@pytest.mark.parametrize(
    ("line", "code", "what", "hint"),
    [
        (["taech"], 2, "there is no command 'taech'", "did you mean teach?"),
        (["teach", "lorra"], 2, "there is no 'lorra' to teach with", "did you mean lora?"),
        (["teach", "lora", "--rnk", "8"], 2, "shuyuan teach has no flag --rnk", "did you mean --rank?"),
        (["teach", "lora", "--rank", "0"], 2, "'rank' of lora cannot be '0'", "width of the adapter"),
        (["teach", "lora", "--rank", "many"], 2, "'rank' of lora cannot be 'many'", "width of the adapter"),
        (["teach", "--seed", "-1"], 2, "'seed' of teach cannot be '-1'", "the same seed"),
        (["ask"], 2, "the following arguments are required: QUESTION", "see: shuyuan ask --help"),
        (["ask", "a", "b"], 2, "cannot use 'b'", "see: shuyuan ask --help"),
        (["ask", ""], 2, "'question' of ask cannot be ''", "what to ask"),
        (["ask", "a", "--mode", "sing"], 2, "invalid choice: 'sing'", "see: shuyuan ask --help"),
        (["compare", "lora"], 2, "'names' of compare", "two or more assistants"),
        (["--no-such"], 2, "unrecognized arguments: --no-such", "see: shuyuan --help"),
        (["list", "-w", "/nowhere"], 1, "there is no workspace in /nowhere", "make one: shuyuan new /nowhere"),
        (["-w", "/nowhere", "ask", "a"], 1, "there is no workspace in /nowhere", "make one: shuyuan new /nowhere"),
    ],
)
def test_errors_say_what_and_what_to_do(
    line: list[str], code: int, what: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    got, out, err = said(capsys, *line)
    assert (got, out) == (code, "")
    assert what in err.splitlines()[0]
    assert err.splitlines()[1].startswith("hint: ")
    assert hint in err
    assert "Traceback" not in err
    assert "Traceback" in said(capsys, *line, "--debug")[2]


def test_new_and_list(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "书院 🙂"
    code, out, err = said(capsys, "new", str(folder), "--model", "smollm2-135m")
    assert (code, out) == (0, f"{folder}\n")
    assert "next: " in err
    assert said(capsys, "new", str(folder), "--model", "smollm2-135m")[0] == 0
    assert "is a workspace already" in said(capsys, "new", str(folder))[2]
    code, out, _ = said(capsys, "list", "--json", "-w", str(folder))
    held = json.loads(out)
    assert (code, held["model"], held["runs"], held["exams"]) == (0, "smollm2-135m", {}, [])
    monkeypatch.setenv("SHUYUAN_WORKSPACE", str(folder))
    code, out, err = said(capsys, "list")
    assert (code, err) == (0, "")
    assert "0 documents" in out
    assert said(capsys, "-w", str(tmp_path), "list")[0] == 1, "the flag goes before the environment"
    monkeypatch.delenv("SHUYUAN_WORKSPACE")
    monkeypatch.chdir(folder)
    assert said(capsys, "list")[1] == out


def test_teach_without_a_route_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "teach")
    assert code == 0
    for route, line in shelf.choices("teach").items():
        assert route in out
        assert line in out
    assert json.loads(said(capsys, "teach", "--json")[1]) == shelf.choices("teach")


def test_nothing_to_examine_compare_or_report(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["-w", str(workspace.folder)]
    for line in (["compare", "a", "b"], ["report"]):
        code, out, err = said(capsys, *line, *at)
        assert (code, out) == (1, "")
        assert "no exam was sat here yet\nhint: sit one: shuyuan exam" in err
    code, _, err = said(capsys, "exam", *at)
    assert code == 1
    assert "no exam questions" in err
    assert said(capsys, "ask", "山长？", "--with", "lroa", *at)[0] == 1


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "models")
    assert code == 0
    assert "qwen2.5-0.5b" in out
    rows = json.loads(said(capsys, "models", "--json")[1])
    assert {"name", "kind", "licence", "present", "bytes"} <= set(rows[0])


def test_doctor_without_models(tmp_path: Path) -> None:
    given = {**os.environ, "SHUYUAN_HOME": str(tmp_path / "home"), "SHUYUAN_WORKSPACE": str(tmp_path / "none")}
    shown = subprocess.run([*SHUYUAN, "doctor", "--json"], env=given, capture_output=True, text=True, check=False)
    checks = json.loads(shown.stdout)
    assert shown.returncode == any(check["state"] == "bad" for check in checks)
    found = {check["what"]: check for check in checks}
    assert {"Python", "packages", "processor", "memory", "GPU", "models' folder", "environment"} <= set(found)
    assert found["model qwen2.5-0.5b"]["found"] == "not here yet"
    assert "shuyuan pull qwen2.5-0.5b" in found["model qwen2.5-0.5b"]["hint"]
    assert not (tmp_path / "home").exists(), "looking changes nothing"


def test_doctor_names_a_broken_workspace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHUYUAN_HOME", str(tmp_path / "home"))
    (tmp_path / "shuyuan.toml").write_text("model = ")
    code, out, _ = said(capsys, "doctor", "--quick", "-w", str(tmp_path))
    assert code == 1
    assert "✗  workspace" in out
    assert "hint: workspace: correct the file" in out


def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    lock = tmp_path / "school" / "runs" / ".prompt.lock"
    script = f"""
import sys, time
from shuyuan.cli import main, shell, list as command
command.List.run = lambda self, desk: (print("begun", flush=True), time.sleep(60))
sys.exit(main.main(["list", "-w", {str(lock.parent)!r}]))
"""
    process = subprocess.Popen([SHUYUAN[0], "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == "\nstopped; the same command goes on from what is finished\n"


def test_a_reader_that_leaves_is_no_error(workspace: Workspace) -> None:
    process = subprocess.Popen([*SHUYUAN, "teach", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    assert process.wait() == 0
    process.stderr.close()


def test_a_terminal_without_utf8_loses_no_result(workspace: Workspace) -> None:
    given = {**os.environ, "PYTHONIOENCODING": "ascii", "SHUYUAN_WORKSPACE": str(workspace.folder)}
    shown = subprocess.run([*SHUYUAN, "--help"], env=given, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\\u4e66\\u9662" in shown.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_sound_script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "completion", shell)
    assert code == 0
    for word in ("teach", "lora", "exam"):
        assert word in out
    assert "learning-rate" in out
    assert said(capsys, "completion", "tcsh")[0] == 2


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "complete.sh"
    script.write_text(said(capsys, "completion", "bash")[1])

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        ask = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shuyuan; echo ${{COMPREPLY[@]}}"
        return subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout.split()

    assert completed("shuyuan", "te") == ["teach"]
    assert completed("shuyuan", "teach", "lo") == ["lora"]
    assert "--rank" in completed("shuyuan", "teach", "lora", "--r")
    assert completed("shuyuan", "exam", "bare", "--qu") == ["--questions"]


def test_table_aligns_chinese() -> None:
    assert table([("书院", 1), ("ab", 22)], ("名", "n")) == "名    n\n书院  1\nab    22"


@pytest.mark.parametrize(("language", "name"), [("en", "docs/commands.md"), ("zh", "docs/zh/commands.md")])
def test_reference_page_is_current(language: str, name: str) -> None:
    assert (REPOSITORY / name).read_text(encoding="utf-8") == page(language), "run: make reference"
