"""Does it help to rank again what search found, by reading question and passage together?

    python bench/reranking.py FOLDER handbook        # then reference-en, reference-zh, squad

The first 20 passages are ranked again: by tokens (late interaction with the embedder as it is; nothing is trained), and
after training. For the handbook the reranker learned from the questions on half of its facts, for Debian's reference
from half of the headings; each is asked on the other half. SQuAD is never trained on: there, the one that learned from
the handbook is asked. FOLDER is that of `answers.py`. Intervals are 95 %, paired, over facts.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from corpora import fetched, handbook, reference, squad
from paired import keep, place, stamp

from shuyuan.base.records import Question
from shuyuan.examine.reranking import Found, found_for, milliseconds, ranked_again
from shuyuan.examine.statistics import compare
from shuyuan.examine.tuning import MEASURES, halves, measures
from shuyuan.load.embedder import open_embedder
from shuyuan.recall.learning import learn, teaching
from shuyuan.recall.reranking import Reranker
from shuyuan.recall.searching import Library

EMBEDDER = "multilingual-e5-small"
PARTS = ("handbook", "reference-en", "reference-zh", "squad")
NAMES = {"": "as found", "tokens": "by tokens, untrained", "trained": "trained"}
TIMED = 20


def main() -> None:
    """Measure one part, keep it, draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--n", type=int, default=300, help="most questions that are asked")
    given = parser.parse_args()
    part, folder = given.part, fetched(given.folder)
    corpus = handbook() if part == "handbook" else squad(folder) if part == "squad" else reference(folder, part[-2:])
    embedder = open_embedder(EMBEDDER)
    at = folder / "reranking"
    library = Library.build(at / part, corpus.passages, embedder, folder / "answers", store="memory")
    asked = [question for question in corpus.questions if corpus.gold.get(question.id)]
    spent, learned, testing = 0.0, 0, asked
    if part == "squad":
        trained = Reranker.open("trained", embedder, at)
    else:
        learning, testing = halves(asked, {})
        lessons = teaching([one.lesson for one in found_for(library, learning, corpus.gold)])
        began = time.process_time()
        trained = learn(embedder, lessons)
        spent, learned = round(time.process_time() - began, 1), len(lessons)
        if part == "handbook":
            trained.keep(at)
    testing = random.Random(0).sample(testing, min(given.n, len(testing)))
    found = found_for(library, testing, corpus.gold)
    ranked = ranked_again(trained, found)
    languages = sorted({one.question.language for one in found})
    groups = ["all", *(languages if len(languages) > 1 else ())]
    rows = {group: _rows(ranked, found, group) for group in groups}
    times = {
        "": _search_milliseconds(library, testing[:TIMED]),
        "tokens": milliseconds(Reranker(embedder), found[:TIMED]),
        "trained": milliseconds(trained, found[:TIMED]),
    }
    figures = {"passages": len(corpus.passages), "learned": learned, "training_cpu_seconds": spent}
    command = f"python bench/reranking.py FOLDER {part} --n {given.n}"
    keep("reranking", part, {**stamp(), "command": command, **figures, "milliseconds": times, "rows": rows}, drawn)


def _rows(ranked: Mapping[str, Sequence[Sequence[str]]], found: Sequence[Found], group: str) -> dict[str, Any]:
    """By way: the measures over the questions in one language (or all), and how much more than as found."""
    of = [row for row, one in enumerate(found) if group in ("all", one.question.language)]
    wanted = [found[row].relevant for row in of]
    facts = [found[row].question.fact for row in of]
    each = {
        way: np.array([[*measures([lists[row]], [found[row].relevant]).values()] for row in of])
        for way, lists in ranked.items()
    }
    rows: dict[str, Any] = {"n": len(of), "facts": len(set(facts))}
    for way, lists in ranked.items():
        more = {}
        for column, name in enumerate(MEASURES):
            held = compare((way or "-", each[way][:, column]), ("as found", each[""][:, column]), facts)
            assert held is not None
            more[name] = [held.difference, held.low, held.high]
        rows[way] = {"measures": measures([lists[row] for row in of], wanted), "more": more if way else {}}
    return rows


def _search_milliseconds(library: Library, asked: Sequence[Question]) -> float:
    began = time.process_time()
    for question in asked:
        library.search(question.text, 10)
    return round(1000 * (time.process_time() - began) / len(asked), 1)


def drawn(record: Mapping[str, Any]) -> str:
    """The page."""
    parts = [
        "# Ranking again",
        (__doc__ or "").partition("\n\n")[2].partition("\n\n")[2].strip(),
        "Behind each figure, in brackets, is how much more it is than as found. The milliseconds are the processor's "
        "for one question: of the search, and of what ranking again adds to it.",
    ]
    for name, of in record.items():
        trained = f"{of['training_cpu_seconds']:.0f} CPU-seconds of training on {of['learned']} questions"
        title = f"{of['passages']:,} passages; {trained if of['learned'] else 'no training here'}. {place(of)}"
        lines = [f"| | n (facts) | ms | {' | '.join(MEASURES)} |", f"|-|-:|-:|{'-|' * len(MEASURES)}"]
        for group, rows in of["rows"].items():
            for way, called in NAMES.items():
                cells = [_cell(rows[way], measure) for measure in MEASURES]
                said = f"{called}{'' if group == 'all' else f', {group}'}"
                lines.append(
                    f"| {said} | {rows['n']} ({rows['facts']}) | {of['milliseconds'][way]:,.0f} | {' | '.join(cells)} |"
                )
        parts += [f"## {name}", title, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _cell(row: Mapping[str, Any], measure: str) -> str:
    said = f"{row['measures'][measure]:.3f}"
    if measure not in row["more"]:
        return said
    more, low, high = row["more"][measure]
    return f"{said} ({more:+.3f}: {low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
