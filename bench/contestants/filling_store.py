"""One store, filled and searched in a process of its own: `python filling_store.py JOB REPORT`.

The passages are made up: words of a Zipf vocabulary, half of them Chinese, and unit vectors around a thousand centres,
so that a passage has neighbours as real ones do. A question is a passage's own vector, moved, and six of its words.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from watching import read_job, report

from shuyuan.base.records import Passage
from shuyuan.base.shelf import choose
from shuyuan.store.contract import Index, Vectors

WIDTH, CENTRES, WORDS, IN_DOCUMENT, STEP = 384, 1_000, 40, 10, 10_000
HAN = np.array([chr(code) for code in range(0x4E00, 0x4E00 + 3_000)])


def main() -> None:
    """Fill, then search one after the other, then from many threads at once where the job asks for it."""
    job = read_job()
    folder = Path(job["scratch"]) / "index"
    index = choose("store", job["store"])().open(folder, WIDTH)
    exact, filling = filled(index, job["passages"], job["questions"])
    optimising = time.process_time()
    index.optimise()
    optimising = time.process_time() - optimising
    found = {
        "build_cpu_seconds": filling + optimising,
        "optimise_cpu_seconds": optimising,
        "disk_bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    }
    index = choose("store", job["store"])().open(folder, WIDTH)
    index.dense(exact[0][0], 10)  # what a first search reads into memory is not a search's time
    for kind in ("dense", "words"):
        found[kind] = searched(index, kind, exact)
    if job["threads"]:
        found["at_once"] = at_once(index, exact, job["threads"], job["seconds"])
    report([], ("lancedb",), **found)


def filled(index: Index, count: int, questions: int) -> tuple[list[tuple[Vectors, str, list[str]]], float]:
    """Put all passages: the CPU-seconds, and questions with vector, words and the ten nearest by exact search."""
    spent = 0.0
    asked: list[tuple[Vectors, str]] = []
    best: list[list[tuple[float, str]]] = [[] for _ in range(questions)]
    ask_every = max(1, count // questions)
    for start, passages, vectors in made(count):
        for row in range((-start) % ask_every, len(passages), ask_every):
            if len(asked) < questions:
                noise = np.random.default_rng(start + row).normal(size=WIDTH) * 0.03
                moved = vectors[row] + noise.astype(np.float32)
                asked.append((moved / np.linalg.norm(moved), " ".join(passages[row].text.split()[:6])))
        began = time.process_time()
        index.upsert(passages, vectors)
        spent += time.process_time() - began
    for _, passages, vectors in made(count):
        scores = vectors @ np.stack([vector for vector, _ in asked]).T
        for column, of in enumerate(best[: len(asked)]):
            top = np.argpartition(-scores[:, column], 10)[:10]
            best[column] = sorted([*of, *((float(scores[r, column]), passages[r].id) for r in top)], reverse=True)[:10]
    exact = [(vector, words, [name for _, name in of]) for (vector, words), of in zip(asked, best, strict=False)]
    return exact, spent


def made(count: int) -> Iterator[tuple[int, list[Passage], Vectors]]:
    """Passages and vectors, ten thousand at a time; the same ones every time."""
    centres = np.random.default_rng(0).normal(size=(CENTRES, WIDTH)).astype(np.float32)
    for start in range(0, count, STEP):
        rng = np.random.default_rng(1 + start)
        rows = min(STEP, count - start)
        vectors = centres[rng.integers(CENTRES, size=rows)] + rng.normal(size=(rows, WIDTH)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        words = np.minimum(rng.zipf(1.3, size=(rows, WORDS)), 200_000)
        han = HAN[rng.integers(len(HAN), size=(rows, WORDS // 2, 2))]
        passages = []
        for row in range(rows):
            chinese = ["".join(pair) for pair in han[row]]
            text = " ".join([*chinese, *(f"w{n}" for n in words[row, : WORDS // 2])])
            at = start + row
            passages.append(Passage(f"p{at:07}", f"d{at // IN_DOCUMENT:06}", "", 0, len(text), text))
        yield start, passages, vectors.astype(np.float32)


def searched(index: Index, kind: str, asked: list[tuple[Vectors, str, list[str]]]) -> dict:
    """Latency, processor time and, by meaning, how many of the ten nearest were found."""
    spent, hits = [], 0
    began = time.process_time()
    for vector, words, best in asked:
        at = time.perf_counter()
        found = index.dense(vector, 10) if kind == "dense" else index.words(words, 10)
        spent.append(time.perf_counter() - at)
        hits += len({name for name, _ in found} & set(best))
    milliseconds = 1000 * np.array(spent)
    measured = {
        "p50_ms": float(np.quantile(milliseconds, 0.5)),
        "p99_ms": float(np.quantile(milliseconds, 0.99)),
        "cpu_ms": 1000 * (time.process_time() - began) / len(asked),
    }
    return {**measured, "recall": hits / (10 * len(asked))} if kind == "dense" else measured


def at_once(index: Index, asked: list[tuple[Vectors, str, list[str]]], threads: int, seconds: float) -> dict:
    """Both searches from many threads for a while: how many, and every error by name."""
    until, done, errors = time.perf_counter() + seconds, [0] * threads, []

    def client(number: int) -> None:
        at = number
        while time.perf_counter() < until:
            vector, words, _ = asked[at % len(asked)]
            try:
                index.dense(vector, 10)
                index.words(words, 10)
                done[number] += 1
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
            at += threads

    workers = [threading.Thread(target=client, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"threads": threads, "seconds": seconds, "questions": sum(done), "errors": errors[:3], "failed": len(errors)}


if __name__ == "__main__":
    main()
