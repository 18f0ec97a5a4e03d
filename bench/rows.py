"""A table of a hundred thousand rows of training data through the server: uploaded, read, shown page by page.

python bench/rows.py [--rows 100000]

A real server and an empty workspace. The table is a CSV of questions and answers to learn from, half of them Chinese.
What is looked at: that every row is there once, how long the first page takes and how long the last, and memory.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paired import keep, place, stamp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from kill import start  # noqa: E402
from many import followed, memory  # noqa: E402
from serving import Served  # noqa: E402

from shuyuan.base.workspace import Workspace  # noqa: E402

HOUSE = "/api/workspaces/many"
PAGE = 1000  # rows


def main() -> None:
    """Run, check, and keep what came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        record = {**stamp(), **through(Path(at), given.rows)}
    print(page({"run": record}))
    assert record["shown"] == record["rows"]
    if not given.print:
        keep("rows", "run", record, page)


def table_of(rows: int) -> bytes:
    """The table as CSV. No two rows ask nearly the same: what is near is compared pair by pair when a table is read."""
    out = io.StringIO()
    written = csv.writer(out)
    written.writerow(["question", "answer", "use"])
    for number in range(rows):
        said = f"第 {number % 97} 架 🎉。" if number % 2 else f'Shelf {number % 97}, "the old one".'
        written.writerow([question_of(number), said, "learn"])
    return out.getvalue().encode()


def question_of(number: int) -> str:
    """The question of a row, made of words that hardly another one has."""
    drawn = random.Random(number)
    if number % 2:
        name, thing, place = ("".join(chr(drawn.randrange(0x4E00, 0x9000)) for _ in range(4)) for _ in range(3))
        return f"{name}在{thing}的{place}里放着什么？"
    words = ["".join(drawn.choices("abcdefghiklmnoprstuvwy", k=drawn.randrange(4, 9))) for _ in range(6)]
    return f"{' '.join(words).capitalize()}?"


def through(at: Path, rows: int) -> dict[str, Any]:
    """The figures of one server's life."""
    Workspace.create(at / "many")
    process, served = start(at / "many")
    table = table_of(rows)
    try:
        before, began = memory(process), time.monotonic()
        status, job = served.upload(f"{HOUSE}/documents?kind=questions", {"题 库.csv": table})
        uploaded = time.monotonic() - began
        assert status == 202, job
        peak = followed(served, job["id"], at / "many" / ".serve" / "serve.sqlite")
        added = time.monotonic() - began - uploaded
        seconds, shown = list[float](), set[str]()
        for skip in range(0, rows, PAGE):
            since = time.monotonic()
            body = rows_from(served, skip)
            seconds.append(time.monotonic() - since)
            assert body["total"] == rows
            shown |= {row["messages"][0]["content"] for row in body["data"]}
        after = memory(process)
    finally:
        process.terminate()
        process.wait()
    return {
        "rows": rows,
        "table_mb": len(table) / 1e6,
        "shown": len(shown),
        "upload_seconds": uploaded,
        "adding_seconds": added,
        "job_peak_mb": peak / 1e6,
        "first_page_seconds": seconds[0],
        "last_page_seconds": seconds[-1],
        "slowest_page_seconds": max(seconds),
        "server_mb_before": before / 1e6,
        "server_mb_after": after / 1e6,
    }


def rows_from(served: Served, skip: int) -> Any:
    """A page of the examples."""
    status, body, _ = served.send("GET", f"{HOUSE}/examples?limit={PAGE}&skip={skip}")
    assert status == 200, body
    return body


def page(record: Mapping[str, Any]) -> str:
    """The run as a page."""
    run = record["run"]
    return f"""# A table of {run["rows"]:,} rows through the server

{place(run)}

| what | |
|-|-|
| the table, CSV | {run["table_mb"]:.1f} MB |
| rows shown, each once | {run["shown"]:,} |
| uploading | {run["upload_seconds"]:.1f} s |
| reading it into the workspace | {run["adding_seconds"]:.0f} s |
| most memory of the job that reads | {run["job_peak_mb"]:.0f} MB |
| the first page of {PAGE:,} | {run["first_page_seconds"]:.2f} s |
| the last page | {run["last_page_seconds"]:.2f} s |
| the slowest page | {run["slowest_page_seconds"]:.2f} s |
| the server's memory before | {run["server_mb_before"]:.0f} MB |
| and after all pages | {run["server_mb_after"]:.0f} MB |
"""


if __name__ == "__main__":
    main()
