"""Does it help to look up several wordings of a question, or the steps to its answer, that the model writes?

    python bench/wordings.py FOLDER

Single questions of SQuAD, and pairs of them from different articles asked in one breath ("…? And also: …?"), of which
both paragraphs must be found. FOLDER is that of `answers.py`. Intervals are 95 %, from 2,000 bootstrap draws.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from corpora import fetched, squad
from paired import keep, place, stamp

from shuyuan.base.progress import Bar
from shuyuan.base.records import Question
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.embedder import open_embedder
from shuyuan.load.model import open_model
from shuyuan.recall.choosing import fitted
from shuyuan.recall.ground import Ground
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.recall.searching import Library

MODEL, EMBEDDER = "qwen2.5-0.5b", "multilingual-e5-small"
WAYS = ("one", "several", "steps")
SHOWN, TOKENS = 4, 1400


def main() -> None:
    """Measure both kinds of question in all ways, keep it, draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=100, help="questions of each kind")
    given = parser.parse_args()
    corpus = squad(fetched(given.folder))
    folder = given.folder / "choosing" / corpus.name
    library = Library.build(folder, corpus.passages, open_embedder(EMBEDDER), given.folder / "answers", store="memory")
    inner = ModelAssistant("bare", open_model(MODEL))
    drawn_ = random.Random(1).sample(list(corpus.questions), 2 * given.n)
    gold = {question.id: corpus.gold[question.id] for question in drawn_}
    single = [(question.text, gold[question.id]) for question in drawn_[: given.n]]
    pairs = [_pair(one, other, gold) for one, other in zip(drawn_[: given.n], drawn_[given.n :], strict=True)]
    for kind, asked in (("single", single), ("pairs", pairs)):
        found: dict[str, np.ndarray] = {}
        rows: dict[str, Any] = {}
        for way in WAYS:
            assistant = GroundedAssistant("bench", inner, library, Ground(queries=way))
            began, held = time.process_time(), list[float]()
            with Bar(f"{kind}, {way}", len(asked)) as bar:
                for start in range(0, len(asked), 8):
                    part = asked[start : start + 8]
                    texts = assistant._rewritten([text for text, _ in part])
                    for (_, wanted), hits in zip(part, assistant._hits(texts), strict=True):
                        shown = {p.id for p in fitted(hits, SHOWN, TOKENS)}
                        held.append(len(shown & wanted) / len(wanted))
                    bar.advance(len(part))
            found[way] = np.array(held)
            seconds = (time.process_time() - began) / len(asked)
            rows[way] = {**_against(found[way], found["one"]), "cpu_seconds": round(seconds, 2)}
        figures = {"n": len(asked), "passages": len(corpus.passages), "model": MODEL, "ways": rows}
        keep("wordings", kind, {**stamp(), "command": "python bench/wordings.py FOLDER", **figures}, drawn)


def _pair(one: Question, other: Question, gold: Mapping[str, frozenset[str]]) -> tuple[str, frozenset[str]]:
    return f"{one.text} And also: {other.text}", gold[one.id] | gold[other.id]


def _against(held_N: np.ndarray, base_N: np.ndarray) -> dict[str, float]:
    rows = np.random.default_rng(0).integers(0, len(held_N), (2000, len(held_N)))
    low, high = np.quantile((held_N - base_N)[rows].mean(1), [0.025, 0.975])
    more = float((held_N - base_N).mean())
    return {"recall": round(float(held_N.mean()), 4), "more": round(more, 4), "low": float(low), "high": float(high)}


def drawn(record: Mapping[str, Any]) -> str:
    """The page."""
    parts = [
        "# Several wordings, or steps",
        (__doc__ or "").partition("\n\n")[2].partition("\n\n")[2].strip(),
        f"Recall of the right paragraphs among the {SHOWN} shown; CPU-seconds for looking up one question.",
    ]
    for kind, of in record.items():
        lines = ["| looked up | recall | more than one (95 %) | CPU-seconds |", "|---|---|---|---|"]
        for way, one in of["ways"].items():
            more = "" if way == "one" else f"{one['more']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})"
            lines.append(f"| {way} | {one['recall']:.3f} | {more} | {one['cpu_seconds']:.2f} |")
        title = f"{of['n']} questions, {of['passages']:,} passages, {of['model']}. {place(of)}"
        parts += [f"## {kind}", title, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
