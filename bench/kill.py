"""kill -9 of the server and of running jobs, at random moments: nothing acknowledged is lost, every job ends right.

python bench/kill.py [--kills 20] [--seed 1]

A real server on a tiny model, jobs that teach LoRA (72 steps, a checkpoint at 50). Every kill draws the server or the
worker that runs, and the moment. In the end all orders that were acknowledged have to be done, each with the very
weights of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paired import keep, place, stamp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from serving import Served, tiny_school  # noqa: E402

from shuyuan.base.files import sha256_of  # noqa: E402
from shuyuan.teach.teaching import teach  # noqa: E402

SETTINGS = {"rank": 4, "epochs": 12, "longest": 128}
LONGEST_WAIT = 6.0  # seconds between two kills
JOBS = 5


def main() -> None:
    """Run, check, and keep what came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        school = tiny_school(Path(at))
        teach(school, "lora", SETTINGS, name="straight")
        record = {**stamp(), "seed": given.seed, **disturb(school.folder, given.kills, random.Random(given.seed))}
    print(record)
    assert record["lost"] == record["other_weights"] == 0
    if not given.print:
        keep("kill", "run", record, page)


def disturb(folder: Path, kills: int, draw: random.Random) -> dict[str, Any]:
    """Order jobs, kill, and wait for the end."""
    process, served = start(folder)
    counts, orders = {"server": 0, "worker": 0}, dict[str, str]()
    database = folder / ".serve" / "serve.sqlite"
    while sum(counts.values()) < kills:
        if len(orders) < JOBS and len(orders) <= sum(counts.values()):
            order = {"route": "lora", "name": f"n{len(orders)}", "settings": SETTINGS}
            status, job, _ = served.send("POST", f"/api/workspaces/{folder.name}/jobs/teach", order)
            assert status == 202, job
            orders[job["id"]] = order["name"]
        time.sleep(draw.uniform(0.2, LONGEST_WAIT))
        pid = running(database)
        if pid and draw.random() < 0.5:
            os.kill(pid, signal.SIGKILL)
            counts["worker"] += 1
        else:
            process.kill()
            process.wait()
            counts["server"] += 1
            process, served = start(folder)
    resumed = 0
    until = time.monotonic() + 900
    while time.monotonic() < until:
        jobs = {job["id"]: job for job in served.send("GET", f"/api/workspaces/{folder.name}/jobs")[1]["data"]}
        for job in jobs.values():
            if job["status"] == "failed":  # killed five times in a row before it came any further
                served.send("POST", f"/api/workspaces/{folder.name}/jobs/{job['id']}/resume")
                resumed += 1
        if all(job["status"] == "done" for job in jobs.values()):
            break
        time.sleep(0.5)
    process.terminate()
    process.wait()
    made = {
        name: folder / "runs" / name / "weights" / "adapter_model.safetensors"
        for name in (*orders.values(), "straight")
    }
    weights = {name: sha256_of(file) for name, file in made.items()}
    with sqlite3.connect(database) as db:
        intact = db.execute("pragma integrity_check").fetchone()[0]
    return {
        "kills": counts,
        "acknowledged": len(orders),
        "done": sum(jobs[job]["status"] == "done" for job in orders if job in jobs),
        "lost": sum(job not in jobs for job in orders),
        "given_up_and_resumed": resumed,
        "other_weights": sum(mark != weights["straight"] for mark in weights.values()),
        "database": intact,
    }


def start(folder: Path) -> tuple[subprocess.Popen[str], Served]:
    """A server as its own process."""
    words = [sys.executable, "-m", "shuyuan.cli.main", "serve", "-w", str(folder), "--port", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "http://127.0.0.1:" in line:
            served = Served.__new__(Served)
            served.port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
            return process, served
    raise AssertionError("the server did not start")


def running(database: Path) -> int:
    """The process of the job that runs, or 0."""
    with sqlite3.connect(database, timeout=30) as db:
        row = db.execute("select pid from jobs where status = 'running' and pid > 0").fetchone()
    return int(row[0]) if row else 0


def page(record: Mapping[str, Any]) -> str:
    """The run as a page."""
    run = record["run"]
    return f"""# kill -9 at random moments

{place(run)}

| what | how often |
|-|-|
| the server killed | {run["kills"]["server"]} |
| a running job's process killed | {run["kills"]["worker"]} |
| jobs acknowledged | {run["acknowledged"]} |
| jobs done in the end | {run["done"]} |
| jobs lost | {run["lost"]} |
| jobs given up after five deaths without progress, then resumed by hand | {run["given_up_and_resumed"]} |
| jobs with other weights than an undisturbed run's | {run["other_weights"]} |

The database afterwards: {run["database"]}.
"""


if __name__ == "__main__":
    main()
