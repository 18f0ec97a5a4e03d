"""The line of a terminal that is written again and again, in a real one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

WAITING = """
import sys
from shuyuan.base.progress import Bar, Wait, say
with Wait("opening retrieve"):
    sys.stdin.readline()
    say("a line between")
    with Bar("fetching", 2) as bar:
        bar.advance(1, "half")
        sys.stdin.readline()
    sys.stdin.readline()
print("the answer")
"""


def test_what_is_waited_for_gives_way_to_lines_and_bars_and_leaves_nothing_behind() -> None:
    """The terminal is the child's stdout and stderr, as with `shuyuan ask`."""
    ours, its = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")}
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdin=subprocess.PIPE, stdout=its, stderr=its, env=environment, text=True
    )
    os.close(its)
    assert child.stdin

    def until(wanted: str) -> str:
        seen = b""
        while wanted.encode() not in seen:
            seen += os.read(ours, 4096)
        return seen.decode()

    def go_on() -> None:
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()

    assert until("opening retrieve · ").startswith("\r\x1b[Kopening retrieve · ")
    go_on()
    said = until("fetching ")
    assert "\r\x1b[Ka line between\r\n" in said  # the waiting line is taken away first
    go_on()
    said = until("opening retrieve · ").split("\r\x1b[K", 1)[1]  # no waiting line in the bar's place
    assert said.startswith("fetching: 2 in")
    go_on()
    assert "\r\x1b[Kthe answer" in until("the answer")
    assert child.wait() == 0
    os.close(ours)


def test_elsewhere_nothing_is_said_of_waiting() -> None:
    done = subprocess.run([sys.executable, "-c", WAITING], input="\n\n\n", capture_output=True, text=True, check=True)
    assert "opening" not in done.stderr
    assert "a line between" in done.stderr
