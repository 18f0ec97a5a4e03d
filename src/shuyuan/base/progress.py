"""Talk on stderr: lines of what was done, bars with the time left, and what is being waited for."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TypeVar

from shuyuan.base.chinese import told, word

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0  # where there is no terminal to redraw
SECONDS_BETWEEN_DRAWS = 0.2
_BAR = 24


class _Line:
    """The last line of the terminal, which is written again and again. `bars` are shown there before anything else."""

    def __init__(self) -> None:
        self.pen = threading.RLock()  # one writes at a time
        self.bars: list[Bar] = []
        self._drawn = False

    def draw(self, text: str) -> None:
        with self.pen:
            sys.stderr.write(f"\r\x1b[K{cut(text, _columns())}")
            sys.stderr.flush()
            self._drawn = True

    def erase(self) -> None:
        with self.pen:
            if self._drawn and sys.stderr.isatty():
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            self._drawn = False


_line = _Line()


def say(text: str) -> None:
    """Tell the person what was done or derived, in their language. Results go to stdout; talk goes here."""
    with _line.pen:
        _line.erase()
        print(told(text), file=sys.stderr, flush=True)


def human_seconds(seconds: float) -> str:
    """45s, 3m 20s, 1h 05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def seconds_of(text: str) -> float:
    """The seconds of `90s`, `10m` or `1h`."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def human_bytes(count: float) -> str:
    """512 B, 1.2 MB: decimal units, as disks and downloads are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def width_of(text: str) -> int:
    """Columns of a terminal that a text takes: two for East Asian wide characters, none for combining marks."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, columns: int) -> str:
    """As much of the start of a text as fits into these columns."""
    if width_of(text) <= columns:
        return text
    widths = itertools.accumulate(width_of(char) for char in text)
    return text[: sum(width <= columns for width in widths)]


class Bar:
    """A progress bar on a terminal; elsewhere one line every ten seconds.

    `done` starts above 0 when a run is resumed, so the time left is estimated from this run's own pace.
    """

    def __init__(self, title: str, total: float, unit: str = "", done: float = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self._at_start = done
        self.note = ""
        self._began = self._drawn = time.monotonic()
        self._live = _redraws()

    def __enter__(self) -> Bar:
        _line.bars.append(self)
        if self._live:
            self._draw()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        _line.bars.remove(self)
        _line.erase()
        if kind is None:
            took = human_seconds(time.monotonic() - self._began)
            say(f"{self.title}: {self._amount(self.total)} in {took}" + (f" · {self.note}" if self.note else ""))

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count `amount` more as done; `note` is a short word on how it goes (a loss, a file name)."""
        self.done += amount
        self.note = note or self.note
        wait = SECONDS_BETWEEN_DRAWS if self._live else SECONDS_BETWEEN_LINES
        if time.monotonic() - self._drawn >= wait:
            self._draw()

    def _amount(self, count: float) -> str:
        return human_bytes(count) if self.unit == "B" else f"{count:,.0f} {self.unit}".rstrip()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        share = min(1.0, self.done / self.total) if self.total else 1.0
        fresh = self.done - self._at_start
        left = ""
        if fresh > 0 and share < 1:
            left = f", {human_seconds((self._drawn - self._began) / fresh * (self.total - self.done))} left"
        done = f"{self.done:,.0f}" if self.unit != "B" else human_bytes(self.done)
        amount = f"{done} of {self._amount(self.total)}"
        note = f" · {self.note}" if self.note else ""
        if self._live:
            full = round(share * _BAR)
            _line.draw(f"{word(self.title)} {'█' * full}{'░' * (_BAR - full)} {told(f'{amount}{left}{note}')}")
        else:
            say(f"{self.title}: {amount}{left}{note}")


class Wait:
    """On a terminal a line that says what is going on and for how long already, until it is over; elsewhere nothing."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._over = threading.Event()

    def __enter__(self) -> Wait:
        if _redraws():
            threading.Thread(target=self._go_on, args=(time.monotonic(),), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over()

    def over(self) -> None:
        """Take the line away."""
        with _line.pen:
            if not self._over.is_set():
                self._over.set()
                _line.erase()

    def _go_on(self, began: float) -> None:
        while not self._over.wait(SECONDS_BETWEEN_DRAWS):
            with _line.pen:
                if not _line.bars and not self._over.is_set():
                    _line.draw(f"{told(self.what)} · {human_seconds(time.monotonic() - began)}")


def follow(items: Iterable[T], title: str, total: int, unit: str = "") -> Iterator[T]:
    """Yield the items under a bar."""
    with Bar(title, total, unit) as bar:
        for item in items:
            yield item
            bar.advance()


def _redraws() -> bool:
    """Whether a line can be written again and again."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and not os.environ.get("CI")


def _columns() -> int:
    try:
        return (os.get_terminal_size(sys.stderr.fileno()).columns or 101) - 1  # 0: a terminal that does not say
    except OSError:
        return 100
