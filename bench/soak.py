"""Mixed traffic for a while: what the server holds, in memory, open files, threads and files on the disk, stays flat.

python bench/soak.py [--minutes 120] [--seed 1]

A real server on a tiny model with a library. At once: clients that chat, some of whom leave in the middle; one that
asks the library; one that uploads documents, has them read, and removes them; one that teaches, pauses, cancels and
lists jobs; one that keeps and deletes files in OpenAI's form. Every few seconds the server is looked at.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from paired import keep, place, stamp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from kill import start  # noqa: E402
from serving import Served, tiny_school  # noqa: E402

from shuyuan.serve.queue import ENDED  # noqa: E402
from shuyuan.teach.teaching import teach  # noqa: E402

HOUSE = "/api/workspaces/school"
CHATTING = 4  # clients
SECONDS_BETWEEN_LOOKS = 5.0
LEAVES = 0.2  # of the chats
PAUSE = 0.75  # seconds, for one key may ask 1,200 times a minute
DOCUMENT = "# 文书 {0} 号 🎉\n\n第 {0} 号文书存于藏书楼。\n\nRecord {0} is aired once a year. ＯＰＥＮ\n"


def main() -> None:
    """Run, check, and keep what came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        school = tiny_school(Path(at))
        teach(school, "retrieve", {"threshold": -1.0})
        school.material.close()
        record = {**stamp(), "minutes": given.minutes, "seed": given.seed, **soak(school.folder, given)}
    print(page({"run": record}))
    assert not [status for status in record["statuses"] if status not in ("200", "202", "204", "409", "left")]
    if not given.print:
        keep("soak", "run", record, page)


def soak(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The figures of one server's life."""
    process, served = start(folder)
    statuses, until, looks = Counter[str](), time.monotonic() + 60 * given.minutes, list[dict[str, float]]()
    done = Counter[str]()

    def forever(what: str, work: Callable[[random.Random, Counter[str]], None], number: int) -> None:
        chance = random.Random(f"{given.seed} {what} {number}")
        while time.monotonic() < until:
            work(chance, statuses)
            done[what] += 1

    client = Client(served)
    work: list[tuple[str, Callable[[random.Random, Counter[str]], None]]] = [("chats", client.chat)] * CHATTING
    work += [
        ("questions to the library", client.ask),
        ("documents added and removed", client.document),
        ("teachings ordered", client.teaching),
        ("files kept and deleted", client.file),
    ]
    threads = [threading.Thread(target=forever, args=(*each, number)) for number, each in enumerate(work)]
    seen = psutil.Process(process.pid)
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        looks.append(look(seen, folder))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    time.sleep(3)  # what was left in the middle ends
    looks.append(look(seen, folder))
    process.terminate()
    ended = process.wait()
    return {"ended": ended, "done": dict(done), "statuses": dict(sorted(statuses.items())), "looks": looks}


def look(seen: psutil.Process, folder: Path) -> dict[str, float]:
    """What the server holds now."""
    return {
        "mb": seen.memory_info().rss / 1e6,
        "open_files": seen.num_fds(),
        "threads": seen.num_threads(),
        "half_files": sum(is_half(path) for path in folder.rglob("*")),
    }


def is_half(path: Path) -> bool:
    """Whether a file is one that is being written, and will have another name."""
    return path.name.startswith(".") and path.name != ".serve" and path.suffix != ".lock"


class Client:
    """What the clients do, once each; every answer's status is counted, and `left` where nobody stayed for it."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def chat(self, chance: random.Random, statuses: Counter[str]) -> None:
        """A streamed chat, in one of three forms; some leave in the middle."""
        path = chance.choice(("/v1/chat/completions", "/v1/messages", "/api/chat"))
        turns = [{"role": "user", "content": f"第 {chance.randrange(10**6)} 号 🎉?"}]
        asked: dict[str, Any] = {"model": "bare", "messages": turns, "stream": True}
        asked |= {"options": {"num_predict": 24}} if path == "/api/chat" else {"max_tokens": 24}
        connection = HTTPConnection("127.0.0.1", self._served.port, timeout=120)
        connection.request("POST", path, json.dumps(asked), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if chance.random() < LEAVES:
            response.read(20)
            statuses["left"] += 1
        else:
            response.read()
            statuses[str(response.status)] += 1
        connection.close()
        time.sleep(PAUSE)

    def ask(self, chance: random.Random, statuses: Counter[str]) -> None:
        """A question to the library, and the list of what was asked."""
        asked = {"question": f"When is record {chance.randrange(50)} aired?", "assistant": "retrieve"}
        self._send(statuses, "POST", f"{HOUSE}/ask", {**asked, "stream": chance.random() < 0.5})
        self._send(statuses, "GET", f"{HOUSE}/asked")
        time.sleep(PAUSE)

    def document(self, chance: random.Random, statuses: Counter[str]) -> None:
        """Documents are uploaded, read, listed and removed."""
        number = chance.randrange(10**9)
        names = [f"{number}/文 {part}.md" for part in range(3)]
        files = {name: DOCUMENT.format(number).encode() for name in names}
        status, job = self._served.upload(f"{HOUSE}/documents", files)
        statuses[str(status)] += 1
        self._followed(job["id"])
        self._send(statuses, "GET", f"{HOUSE}/documents?limit=10")
        for name in names:
            source = quote(f"uploads/{name}")
            self._send(statuses, "GET", f"{HOUSE}/document?source={source}")
            self._send(statuses, "DELETE", f"{HOUSE}/documents?source={source}")

    def teaching(self, chance: random.Random, statuses: Counter[str]) -> None:
        """A teaching that ends by itself, or is cancelled; its events are read."""
        settings = {"rank": 4, "epochs": chance.choice((1, 4)), "longest": 128}
        order = {"route": "lora", "settings": settings, "name": "soaked", "again": True, "seed": chance.randrange(99)}
        job = self._send(statuses, "POST", f"{HOUSE}/jobs/teach", order)
        if chance.random() < 0.3:
            self._send(statuses, "POST", f"{HOUSE}/jobs/{job['id']}/cancel")
        self._followed(job["id"])
        self._send(statuses, "GET", f"{HOUSE}/jobs/{job['id']}/events")
        self._send(statuses, "GET", f"{HOUSE}/jobs?limit=20&kind=teach")

    def file(self, chance: random.Random, statuses: Counter[str]) -> None:
        """A file of training data is kept, read back and deleted."""
        row = {"messages": [{"role": "user", "content": "书"}, {"role": "assistant", "content": str(chance.random())}]}
        content = (json.dumps(row, ensure_ascii=False) + "\n").encode() * 200
        status, kept = self._served.upload("/v1/files", {"a.jsonl": content}, "file", purpose="fine-tune")
        statuses[str(status)] += 1
        self._send(statuses, "GET", f"/v1/files/{kept['id']}/content")
        self._send(statuses, "DELETE", f"/v1/files/{kept['id']}")
        time.sleep(1)

    def _followed(self, job: str) -> None:
        """Until a job has ended."""
        while self._served.send("GET", f"{HOUSE}/jobs/{job}")[1]["status"] not in ENDED:
            time.sleep(PAUSE)

    def _send(self, statuses: Counter[str], method: str, path: str, given: Any = None) -> Any:
        status, body, _ = self._served.send(method, path, given)
        statuses[str(status)] += 1
        return body


def page(record: Mapping[str, Any]) -> str:
    """The run as a page: a row for each tenth of the time, and the end, when all is still."""
    run = record["run"]
    looks = run["looks"]
    shown = [looks[min(len(looks) - 1, tenth * len(looks) // 10)] for tenth in range(11)]
    times = [*(f"{run['minutes'] * tenth / 10:.1f} min" for tenth in range(10)), "the end"]
    rows = "\n".join(
        f"| {after} | {one['mb']:,.0f} | {one['open_files']:.0f} | {one['threads']:.0f} | {one['half_files']:.0f} |"
        for after, one in zip(times, shown, strict=True)
    )
    done = "; ".join(f"{count:,} {what}" for what, count in run["done"].items())
    statuses = ", ".join(f"{count:,} × {status}" for status, count in run["statuses"].items())
    return f"""# Mixed traffic for {run["minutes"]:g} minutes

{place(run)}

{done}. Answers: {statuses}.

| after | memory, MB | open files | threads | files not yet whole |
|-|-|-|-|-|
{rows}
"""


if __name__ == "__main__":
    main()
