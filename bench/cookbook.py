"""The flow of OpenAI's notebook "How to fine-tune chat models", against our server, with a real model on the CPU.

The official client uploads two files, orders a job by a hosted model's name, follows it, reads its events, checkpoints
and table, and asks the tuned model. Taught are facts of the handbook (`examples/handbook/questions.jsonl`) in the
wordings that are there to learn from; asked are the same facts in other wordings, before and after, in both languages.
An answer is right when it holds one of the reference's answers, upper and lower case and width aside.

    python bench/cookbook.py [--model qwen2.5-0.5b] [--facts 24]
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any
from unicodedata import normalize

import openai
from openai import OpenAI
from paired import keep, place, stamp

from shuyuan.base.files import read_jsonl
from shuyuan.base.workspace import Choices, Workspace

QUESTIONS = Path(__file__).resolve().parent.parent / "examples" / "handbook" / "questions.jsonl"
HOSTED = "gpt-4o-mini"  # what a hosted user's code already says


def main() -> None:
    """Serve, tune through the client, ask, and keep what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-0.5b")
    parser.add_argument("--facts", type=int, default=24)
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    learned, held_out, asked = questions(given.facts)
    with tempfile.TemporaryDirectory() as at:
        Workspace.create(Path(at) / "house", Choices(model=given.model))
        with served(Path(at) / "house") as client:
            found = flow(client, learned, held_out, asked)
    record = {**stamp(), "facts": given.facts, **found}
    if given.print:
        print(page({given.model: record}))
    else:
        keep("cookbook", given.model, record, page)


def questions(facts: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """For so many facts: the wordings to learn but the last of each language, that last one, and those of the exam."""
    rows = sorted(read_jsonl(QUESTIONS), key=lambda row: (row["fact"], row["use"], row["language"]))
    learned, held_out, asked = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    whole = [list(of) for _, of in groupby(rows, key=lambda row: row["fact"])]
    for of in [of for of in whole if len(of) == 6 + 4][:facts]:
        for language in ("en", "zh"):
            mine = [row for row in of if row["language"] == language]
            lessons = [row for row in mine if row["use"] == "learn"]
            learned += lessons[:-1]
            held_out.append(lessons[-1])
            asked += [row for row in mine if row["use"] == "exam"]
    return learned, held_out, asked


@contextmanager
def served(folder: Path) -> Iterator[OpenAI]:
    """The official client in front of a server of ours."""
    with addressed(folder) as url:
        yield OpenAI(base_url=url, api_key="none needed")


@contextmanager
def addressed(folder: Path) -> Iterator[str]:
    """`shuyuan serve` as a process of its own: the address for OpenAI's clients."""
    words = [sys.executable, "-m", "shuyuan.cli.main", "serve", "-w", str(folder), "--port", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "SHUYUAN_LANG": "en"})
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "OpenAI clients: " in line)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield line.split("OpenAI clients: ")[1].strip()
    finally:
        process.terminate()
        process.wait()


def flow(client: OpenAI, learned: Sequence[Any], held_out: Sequence[Any], asked: Sequence[Any]) -> dict[str, Any]:
    """The notebook's steps, and the same questions before and after."""
    before = right(client, HOSTED, asked)
    training = client.files.create(file=("training.jsonl", chats(learned)), purpose="fine-tune")
    validation = client.files.create(file=("validation.jsonl", chats(held_out)), purpose="fine-tune")
    began = time.monotonic()
    job = client.fine_tuning.jobs.create(
        training_file=training.id, validation_file=validation.id, model=HOSTED, suffix="handbook", seed=0
    )
    while job.status not in {"succeeded", "failed", "cancelled"}:
        time.sleep(2)
        job = client.fine_tuning.jobs.retrieve(job.id)
    minutes = (time.monotonic() - began) / 60
    assert job.status == "succeeded", job.error
    tuned, files = job.fine_tuned_model, job.result_files
    assert tuned
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    table = client.files.content(files[0]).text.splitlines()
    looks = [line.split(",") for line in table[1:] if line.split(",")[2]]
    after = right(client, tuned, asked)
    found = {
        "lessons": len(learned),
        "validation": len(held_out),
        "asked": {language: sum(row["language"] == language for row in asked) for language in ("en", "zh")},
        "status": job.status,
        "model": tuned,
        "minutes": round(minutes, 1),
        "trained_tokens": job.trained_tokens,
        "events": len(events),
        "checkpoints": len(list(client.fine_tuning.jobs.checkpoints.list(job.id))),
        "steps": len(table) - 1,
        "validation_loss": [float(looks[0][2]), float(looks[-1][2])],
        "right_before": before,
        "right_after": after,
    }
    assert client.models.delete(tuned).deleted
    try:
        client.models.retrieve(tuned)
    except openai.NotFoundError:
        return found
    raise AssertionError("a model that was deleted is still there")


def chats(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """OpenAI's file of examples."""
    turns = [
        [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["reply"]}] for row in rows
    ]
    return "".join(json.dumps({"messages": one}, ensure_ascii=False) + "\n" for one in turns).encode()


def right(client: OpenAI, model: str, asked: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many questions of each language the model answers with what the reference says."""
    counts = {"en": 0, "zh": 0}
    for row in asked:
        messages: Any = [{"role": "user", "content": row["question"]}]
        answer = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=96)
        said, wanted = answer.choices[0].message.content or "", row["answer"]
        wanted = [wanted] if isinstance(wanted, str) else wanted
        counts[row["language"]] += any(plain(one) in plain(said) for one in wanted)
    return counts


def plain(text: str) -> str:
    """One width, one case."""
    return normalize("NFKC", text).casefold()


def page(whole: Mapping[str, Any]) -> str:
    """The runs as a page."""
    lines = ["# The cookbook's flow", "", (__doc__ or "").partition("\n\n")[2].partition("\n\n    python")[0], ""]
    for model, run in whole.items():
        asked, before, after = run["asked"], run["right_before"], run["right_after"]
        loss = run["validation_loss"]
        lines += [
            f"## {model}",
            "",
            place(run),
            "",
            f"{run['facts']} facts, {run['lessons']} lessons, {run['validation']} for validation.",
            "",
            "| what | |",
            "|-|-|",
            f"| job | {run['status']} after {run['minutes']} minutes, {run['steps']} steps |",
            f"| tokens learned | {run['trained_tokens']:,} |",
            f"| model | `{run['model']}` |",
            f"| events, checkpoints | {run['events']}, {run['checkpoints']} |",
            f"| validation loss, first and last | {loss[0]:.2f}, {loss[1]:.2f} |",
            f"| right in other wordings, English | {before['en']} → **{after['en']}** of {asked['en']} |",
            f"| right in other wordings, Chinese | {before['zh']} → **{after['zh']}** of {asked['zh']} |",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
