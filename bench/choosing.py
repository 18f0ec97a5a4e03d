"""Which of the passages found are shown: is the right one among them, with and without repeats and diversity?

    python bench/choosing.py FOLDER

SQuAD's paragraphs, this project's pages in two languages, and both again with a copy of every passage under another
name, half of the copies word for word, half with every twelfth word left out. FOLDER is that of `answers.py`. Intervals
are 95 %, from 2,000 bootstrap draws of questions.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from corpora import Corpus, fetched, handbook, squad
from paired import keep, place, stamp

from shuyuan.base.files import fingerprint
from shuyuan.base.progress import Bar
from shuyuan.base.records import Passage
from shuyuan.load.embedder import open_embedder
from shuyuan.recall.choosing import SAME, fitted
from shuyuan.recall.searching import Library

EMBEDDER = "multilingual-e5-small"
FOUND, SHOWN, TOKENS = 10, (2, 4), 1400
NEVER = 2.0  # a likeness that no two passages have: repeats are kept
WAYS: Mapping[str, tuple[float, float]] = {
    "as found": (0.0, NEVER),
    "no repeats": (0.0, SAME),
    "no repeats, diversity .1": (0.1, SAME),
    "no repeats, diversity .3": (0.3, SAME),
    "no repeats, diversity .5": (0.5, SAME),
}


def main() -> None:
    """Measure every set, keep it, draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=1000, help="most questions of a set")
    given = parser.parse_args()
    embedder = open_embedder(EMBEDDER)
    for corpus in _corpora(fetched(given.folder)):
        library = Library.build(
            given.folder / "choosing" / corpus.name, corpus.passages, embedder, given.folder / "answers", store="memory"
        )
        asked = [question for question in corpus.questions if corpus.gold.get(question.id)]
        random.Random(0).shuffle(asked)
        asked = asked[: given.n]
        right: dict[str, list[bool]] = {f"{way}, {k}": [] for way in WAYS for k in SHOWN}
        with Bar(f"searching {corpus.name}", len(asked)) as bar:
            for start in range(0, len(asked), 50):
                part = asked[start : start + 50]
                for question, hits in zip(part, library.search_all([q.text for q in part], FOUND), strict=True):
                    for way, (diversity, same) in WAYS.items():
                        for k in SHOWN:
                            shown = {p.id for p in fitted(hits, k, TOKENS, diversity, same)}
                            right[f"{way}, {k}"].append(bool(shown & corpus.gold[question.id]))
                bar.advance(len(part))
        base = {k: np.array(right[f"as found, {k}"], float) for k in SHOWN}
        rows = {way: {str(k): _against(np.array(right[f"{way}, {k}"], float), base[k]) for k in SHOWN} for way in WAYS}
        figures = {"n": len(asked), "passages": len(corpus.passages), "ways": rows}
        keep("choosing", corpus.name, {**stamp(), "command": "python bench/choosing.py FOLDER", **figures}, drawn)


def _corpora(folder: Path) -> Iterator[Corpus]:
    for whole in (squad(folder), *_handbooks()):
        yield whole
        yield _copied(whole)


def _handbooks() -> Iterator[Corpus]:
    whole = handbook()
    for language in ("en", "zh"):
        asked = [q for q in whole.questions if q.answers and q.language == language]
        yield Corpus(f"handbook-{language}", whole.passages, asked, whole.gold)


def _copied(corpus: Corpus) -> Corpus:
    """The corpus with a copy of each passage; a copy of the right one is right as well."""
    copies, of = list[Passage](), dict[str, str]()
    for number, passage in enumerate(corpus.passages):
        words = passage.text.split(" ")
        text = passage.text if number % 2 else " ".join(w for at, w in enumerate(words) if at % 12 != 5)
        name, document = fingerprint("copy", passage.id), f"copy-{passage.document_id}"
        copies.append(replace(passage, id=name, document_id=document, text=text, end=passage.start + len(text)))
        of[passage.id] = name
    gold = {name: frozenset({*ids, *(of[one] for one in ids)}) for name, ids in corpus.gold.items()}
    return Corpus(f"{corpus.name} with copies", [*corpus.passages, *copies], corpus.questions, gold)


def _against(right_N: np.ndarray, base_N: np.ndarray) -> dict[str, float]:
    """The share, and its difference from the base with its interval."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(right_N), (2000, len(right_N)))
    low, high = np.quantile((right_N - base_N)[rows].mean(1), [0.025, 0.975])
    return {
        "share": round(float(right_N.mean()), 4),
        "more": round(float((right_N - base_N).mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }


def drawn(record: Mapping[str, Any]) -> str:
    """The page."""
    parts: Sequence[str] = [
        "# Which passages are shown",
        (__doc__ or "").partition("\n\n")[2].partition("\n\n")[2].strip(),
        "The share of questions for which a right passage is among the two or four shown, and in brackets the "
        "difference from the passages as they were found.",
    ]
    for name, of in record.items():
        rows = [
            f"## {name}",
            f"{of['n']:,} questions, {of['passages']:,} passages. {place(of)}",
            "| | 2 | 4 |\n|---|---|---|",
        ]
        lines = []
        for way, by_k in of["ways"].items():
            cells = [
                f"{one['share']:.3f}"
                + (f" ({one['more']:+.3f}: {one['low']:+.3f} to {one['high']:+.3f})" if way != "as found" else "")
                for one in by_k.values()
            ]
            lines.append(f"| {way} | {' | '.join(cells)} |")
        parts = [*parts, *rows[:2], "\n".join([rows[2], *lines])]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
