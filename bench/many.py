"""Ten thousand small documents through the server: uploaded, read, listed page by page, removed.

python bench/many.py [--documents 10000]

A real server and an empty workspace; half of the documents are Chinese. What is looked at: that every document is
there once, how long the first uploads take and how long the last, and the memory of the server and of its jobs.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paired import keep, place, stamp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from kill import running, start  # noqa: E402
from serving import Served  # noqa: E402

from shuyuan.base.workspace import Workspace  # noqa: E402

AT_ONCE = 500
HOUSE = "/api/workspaces/many"


def main() -> None:
    """Run, check, and keep what came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        record = {**stamp(), **through(Path(at), given.documents)}
    print(json.dumps(record, ensure_ascii=False))
    assert record["listed"] == record["documents"]
    if not given.print:
        keep("many", "run", record, page)


def text_of(number: int) -> bytes:
    """A document of two paragraphs, unlike every other."""
    if number % 2:
        said = f"# 文书 {number} 号 🎉\n\n第 {number} 号文书存于藏书楼第 {number % 97} 架。\n\n每年正月初八晾晒一次。\n"
    else:
        said = f"# Record {number}\n\nRecord {number} lies on shelf {number % 97}.\n\nIt is aired once a year.\n"
    return said.encode()


def through(at: Path, documents: int) -> dict[str, Any]:
    """The figures of one server's life."""
    Workspace.create(at / "many")
    process, served = start(at / "many")
    try:
        began, rounds, jobs_bytes = time.monotonic(), list[float](), 0
        before = memory(process)
        for first in range(0, documents, AT_ONCE):
            since = time.monotonic()
            numbers = range(first, min(documents, first + AT_ONCE))
            files = {f"{number % 100:02}/文 {number}.md": text_of(number) for number in numbers}
            status, job = served.upload(f"{HOUSE}/documents", files)
            assert status == 202, job
            jobs_bytes = max(jobs_bytes, followed(served, job["id"], at / "many" / ".serve" / "serve.sqlite"))
            rounds.append(time.monotonic() - since)
        added = time.monotonic() - began
        since = time.monotonic()
        sources = listed(served)
        pages = time.monotonic() - since
        assert len(set(sources)) == len(sources)
        status, found, _ = served.send("GET", f"{HOUSE}/documents?find={quote('文 77.')}")
        assert [one["source"] for one in found["data"]] == ["uploads/77/文 77.md"], found
        status, body, _ = served.send("GET", f"{HOUSE}/document?source={quote(sources[-1])}")
        assert status == 200, body
        status, _, _ = served.send("DELETE", f"{HOUSE}/documents?source={quote(sources[-1])}")
        assert status == 204
        assert len(listed(served)) == documents - 1
        after = memory(process)
    finally:
        process.terminate()
        process.wait()
    with sqlite3.connect(at / "many" / "material.sqlite") as db:
        intact = db.execute("pragma integrity_check").fetchone()[0]
    return {
        "documents": documents,
        "listed": len(sources),
        "seconds": added,
        "first_round_seconds": rounds[0],
        "last_round_seconds": rounds[-1],
        "listing_seconds": pages,
        "server_mb_before": before / 1e6,
        "server_mb_after": after / 1e6,
        "job_peak_mb": jobs_bytes / 1e6,
        "database": intact,
    }


def listed(served: Served) -> list[str]:
    """Every source, a thousand a page."""
    sources, more = list[str](), True
    while more:
        after = quote(sources[-1]) if sources else ""
        status, body, _ = served.send("GET", f"{HOUSE}/documents?limit=1000&after={after}")
        assert status == 200, body
        sources += [one["source"] for one in body["data"]]
        more = body["has_more"]
    return sources


def followed(served: Served, job: str, database: Path) -> int:
    """Wait for a job to end well; the most memory that was seen of its process, in bytes."""
    most = 0
    while True:
        _, found, _ = served.send("GET", f"{HOUSE}/jobs/{job}")
        if found["status"] == "done":
            return most
        assert found["status"] in ("queued", "running"), found
        if pid := running(database):
            most = max(most, peak(pid))
        time.sleep(0.1)


def memory(process: subprocess.Popen[str]) -> int:
    """What a process holds in memory now, in bytes."""
    return _told(process.pid, "VmRSS")


def peak(pid: int) -> int:
    """The most that a process has held, in bytes; 0 when it has ended."""
    try:
        return _told(pid, "VmHWM")
    except (OSError, StopIteration):
        return 0


def _told(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1024


def page(record: Mapping[str, Any]) -> str:
    """The run as a page."""
    run = record["run"]
    return f"""# {run["documents"]:,} small documents through the server

{place(run)}

| what | |
|-|-|
| documents listed, each once | {run["listed"]:,} |
| uploading and reading all of them, {AT_ONCE} at a time | {run["seconds"]:.0f} s |
| the first {AT_ONCE} | {run["first_round_seconds"]:.1f} s |
| the last {AT_ONCE} | {run["last_round_seconds"]:.1f} s |
| listing all, 1,000 a page | {run["listing_seconds"]:.1f} s |
| the server's memory before | {run["server_mb_before"]:.0f} MB |
| the server's memory after | {run["server_mb_after"]:.0f} MB |
| most memory of a job that reads | {run["job_peak_mb"]:.0f} MB |

The database afterwards: {run["database"]}.
"""


if __name__ == "__main__":
    main()
