"""Many streaming clients at once on a small machine: our server, and llama.cpp's own, in turn.

python bench/load.py --peers FOLDER [--clients 64] [--seconds 120] [--model smollm2-135m]

Each client asks, reads its stream to the end and asks again; the chats are those of `chats.jsonl`. Counted are answers,
errors, streams that broke off, tokens a second, the wait for the first piece, and the server's memory. Both servers
hold the same weights in the same number format (a GGUF copy for llama.cpp) and use the same number of threads. Ours is
asked by OpenAI's chat API; llama.cpp gets the tokens of the same chats at its own `/completion`, for the copy holds no
vocabulary.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from gguf_copy import write_gguf
from paired import keep, place, stamp

from shuyuan.base.records import Message
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import open_model

HERE = Path(__file__).resolve().parent
ANSWER = 48  # tokens an answer may have
CONTEXT = 512  # tokens of each slot of llama.cpp: the longest chat and its answer


def main() -> None:
    """Both servers in turn, then the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    chats = [json.loads(line)["messages"][:-1] for line in (HERE / "chats.jsonl").read_text("utf-8").splitlines()]
    record: dict[str, Any] = {**stamp(), "clients": given.clients, "seconds": given.seconds, "threads": given.threads}
    record["answer_tokens"] = ANSWER
    with tempfile.TemporaryDirectory() as at:
        with ours(Path(at), given) as (url, process):
            record["shuyuan"] = load(url, process, [chat_of(chat) for chat in chats], given)
        python = given.peers and given.peers / "llamacpp" / "bin" / "python"
        if python and python.exists():
            with llamacpp(Path(at), python, given) as (url, process):
                record["llama.cpp"] = load(url, process, tokens_of(chats, given.model), given)
        else:
            print("llama.cpp is left out: it needs its environment in --peers", file=sys.stderr)
    if given.print:
        print(page({given.model: record}))
    else:
        keep("load", given.model, record, page)


@contextmanager
def ours(at: Path, given: argparse.Namespace) -> Iterator[tuple[str, psutil.Process]]:
    """`shuyuan serve` on a fresh workspace."""
    Workspace.create(at / "house", Choices(model=given.model))
    words = [sys.executable, "-m", "shuyuan.cli.main", "serve", "-w", str(at / "house"), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "SHUYUAN_LANG": "en"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "http://" in line)
        url = line.split("OpenAI clients: ")[1].strip()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def llamacpp(at: Path, python: Path, given: argparse.Namespace) -> Iterator[tuple[str, psutil.Process]]:
    """llama.cpp's server on a copy of the same weights."""
    model = open_model(given.model)
    stored = "F32" if str(model.net.dtype) == "torch.float32" else "BF16"
    file = write_gguf(model.net, model.tokenizer, at / "model.gguf", stored)
    del model
    words = [str(python), str(HERE / "contestants" / "llamacpp_server.py"), str(file), str(given.clients), str(CONTEXT)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "PYTHONPATH": ""}
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def chat_of(messages: Any) -> dict[str, Any]:
    """A request to our server."""
    asked = {"model": "bare", "messages": messages, "max_tokens": ANSWER, "stream": True, "temperature": 0}
    return {"path": "/chat/completions", "body": {**asked, "stream_options": {"include_usage": True}}}


def tokens_of(chats: Any, name: str) -> list[dict[str, Any]]:
    """The same chats as requests to llama.cpp."""
    assistant = ModelAssistant("bare", open_model(name))
    prompts = [assistant.prompt([Message(turn["role"], turn["content"]) for turn in chat]) for chat in chats]
    how = {"n_predict": ANSWER, "temperature": 0.0, "samplers": ["temperature"], "stream": True}
    return [{"path": "/completion", "body": {"prompt": prompt, **how}} for prompt in prompts]


def load(url: str, process: psutil.Process, asked: Any, given: argparse.Namespace) -> dict[str, Any]:
    """All clients at once for the time that was given; those that stream at its end are read to theirs."""
    one_answer(url, asked[0])  # the model is opened with the first
    answers: list[dict[str, Any]] = []
    until, memory = time.monotonic() + given.seconds, list[int]()
    used = sum(process.cpu_times()[:2])
    began = time.monotonic()

    def client(number: int) -> None:
        turn = number
        while time.monotonic() < until:
            answers.append(one_answer(url, asked[turn % len(asked)]))
            turn += given.clients + 1
            if answers[-1]["status"] == 429:
                time.sleep(1)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(given.clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.append(process.memory_info().rss)
        time.sleep(1)
    spent, cpu = time.monotonic() - began, sum(process.cpu_times()[:2]) - used
    whole = [answer for answer in answers if answer["whole"]]
    tokens = sum(answer["tokens"] for answer in whole)
    third = memory[len(memory) // 3 :]
    first = np.quantile([answer["first"] for answer in whole], [0.5, 0.95]) if whole else [0, 0]
    statuses: dict[str, int] = {}
    for answer in answers:
        statuses[str(answer["status"])] = statuses.get(str(answer["status"]), 0) + 1
    return {
        "answers": len(whole),
        "statuses": statuses,
        "broke_off": sum(answer["status"] == 200 and not answer["whole"] for answer in answers),
        "tokens": tokens,
        "tokens_a_second": round(tokens / spent, 1),
        "tokens_a_cpu_second": round(tokens / cpu, 1),
        "first_piece_seconds": {"median": round(float(first[0]), 2), "p95": round(float(first[1]), 2)},
        "memory_mb": {"begin": third[0] // 1_000_000, "end": third[-1] // 1_000_000, "peak": max(memory) // 1_000_000},
    }


def one_answer(url: str, asked: dict[str, Any]) -> dict[str, Any]:
    """One stream, read to its end."""
    parts, began = urlsplit(url), time.monotonic()
    answer: dict[str, Any] = {"status": 0, "whole": False, "tokens": 0, "first": 0.0}
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=600)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", parts.path + asked["path"], json.dumps(asked["body"]), headers)
        response = connection.getresponse()
        answer["status"] = response.status
        while response.status == 200 and not answer["whole"] and (line := response.readline()):
            if line.startswith(b"data: [DONE]"):
                answer["whole"] = True
            elif line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                choices = chunk.get("choices", ())
                said = chunk.get("content") or any(choice["delta"].get("content") for choice in choices)
                if said and not answer["first"]:
                    answer["first"] = time.monotonic() - began
                if chunk.get("usage"):
                    answer["tokens"] = chunk["usage"]["completion_tokens"]
                if chunk.get("stop"):  # llama.cpp's last line
                    answer |= {"tokens": chunk["tokens_predicted"], "whole": True}
    except OSError as error:
        answer["status"] = answer["status"] or type(error).__name__
    finally:
        connection.close()
    return answer


def page(record: Mapping[str, Any]) -> str:
    """The runs as a page."""
    blocks = ["# Many clients at once"]
    for model, run in record.items():
        rows = []
        for name in ("shuyuan", "llama.cpp"):
            if name in run:
                of = run[name]
                memory, first = of["memory_mb"], of["first_piece_seconds"]
                other = {status: count for status, count in of["statuses"].items() if status != "200"}
                rows.append(
                    f"| {name} | {of['answers']:,} | {other or 'none'} | {of['broke_off']} | {of['tokens_a_second']} | "
                    f"{of['tokens_a_cpu_second']} | {first['median']} / {first['p95']} | "
                    f"{memory['begin']:,} → {memory['end']:,} |"
                )
        table = "\n".join(rows)
        blocks.append(f"""## {model}

{place(run)}

{run["clients"]} streaming clients for {run["seconds"]:g} s, answers of at most {run["answer_tokens"]} tokens,
{run["threads"]} threads.

| server | answers | others | broke off | tokens/s | tokens a CPU-second | first piece, s (median / p95) | MB |
|-|-|-|-|-|-|-|-|
{table}""")
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    main()
