"""The process that reads strangers' files: a path a line comes in, documents go out; ended at end of input.

Each answer is four bytes of length and that much JSON: `{"alive": true}`, a part `{"source", "document", "fault",
"skipped"}`, or `{"end": true}`; to who asks for a page, one `{"picture", "fault", "hint"}`. JSON, so that a process
that was taken over can send nothing but data.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from shuyuan.base.errors import Fixable
from shuyuan.read import limits
from shuyuan.read.reading import read_parts


def main() -> None:
    """Read the files that are named on standard input until it ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a parser prints must not look like an answer
    sys.stdout = sys.stderr
    limits.confine(lambda: _send(out, {"alive": True}))
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        limits.more_time()
        if "page" in asked:
            _send(out, _drawn(Path(asked["path"]), asked["page"]))
            continue
        short = _read(Path(asked["path"]), asked["source"], out)
        _send(out, {"end": True})
        if short:
            break  # memory was short once: a new process begins with all of it


def _read(path: Path, source: str, out: BinaryIO) -> bool:
    """Send the parts of one file; whether memory ran short."""
    short = False
    for part in read_parts(path, source):
        short = short or part.short
        _send(out, asdict(part))
    return short


def _drawn(path: Path, page: int) -> dict[str, Any]:
    from shuyuan.read.picture import page_picture

    try:
        return {"picture": base64.b64encode(page_picture(path, page)).decode(), "fault": "", "hint": ""}
    except Fixable as error:
        return {"picture": "", "fault": error.what, "hint": error.hint}
    except (MemoryError, OSError) as error:
        return {"picture": "", "fault": f"the page cannot be drawn: {error}", "hint": "open its text instead"}


def _send(out: BinaryIO, answer: dict[str, Any]) -> None:
    content = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    out.write(struct.pack(">I", len(content)) + content)
    out.flush()


if __name__ == "__main__":
    main()
