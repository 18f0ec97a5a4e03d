"""Search on the handbook's own questions, whose evidence is known: vectors with and without their languages' means,
and follow-ups with and without their subject.

Follow-ups are made from pairs of questions on one page that share a rare word: in the second, "it" (它) stands for it.
Changes of subject are questions after one on another page; nothing of that page should come along.

    python bench/searching.py            # one library, about 900 questions; two CPU-minutes
    python bench/searching.py --quick    # the first 120 questions; writes no result
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import paired

from shuyuan.base.files import write_json, write_whole
from shuyuan.base.progress import say
from shuyuan.base.records import Message, Question
from shuyuan.examine.relevance import relevant_passages
from shuyuan.examine.tuning import MEASURES, measured
from shuyuan.load.embedder import open_embedder
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.questions import exam_questions, read_questions
from shuyuan.read.reading import read_file
from shuyuan.recall import centring
from shuyuan.recall.asking import queries
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.searching import Library, Rankings
from shuyuan.store.words import asked

HOME = paired.HERE.parent
DEPTH = 50
RARE = 0.05  # of the questions hold a word that one of them can be asked about by "it"


def main() -> None:
    """Search, write bench/results/searching.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    files = [*sorted((HOME / "docs").glob("*.md")), *sorted((HOME / "docs" / "zh").glob("*.md"))]
    documents = [read_file(file, file.relative_to(HOME).as_posix()) for file in files]
    passages = [passage for document in documents for passage in Chunk().chunk(document)]
    questions = exam_questions(read_questions(HOME / "examples" / "handbook" / "questions.jsonl")[0])
    relevant = relevant_passages(questions, documents, passages)
    questions = [replace(q, fact=q.fact or q.id) for q in questions if q.id in relevant][: 120 if given.quick else None]
    record: dict[str, Any] = {**paired.stamp(), "passages": len(passages), "questions": len(questions)}
    embedder = open_embedder("multilingual-e5-small")
    with tempfile.TemporaryDirectory(prefix="bench.") as scratch:
        for way, share in (("as embedded", 0.0), ("languages' means taken off", centring.SHARE)):
            centring.SHARE = share
            library = Library.build(Path(scratch) / way, passages, embedder, Path(scratch), store="sqlite")
            lists = ranked(library, {q.id: q.text for q in questions})
            if not share:
                lists = {name: replace(of, foreign=frozenset()) for name, of in lists.items()}
            for leg, fuse in (
                ("hybrid", Fuse()),
                ("by meaning", Fuse(word_weight=0)),
                ("by words", Fuse(word_weight=1)),
            ):
                record[f"{leg}, {way}"] = {"n": len(questions), **measured(fuse, questions, lists, relevant)}
        record |= followed(library, questions, relevant)
    if not given.quick:
        write_json(paired.RESULTS / "searching.json", record)
        write_whole(paired.RESULTS / "searching.md", drawn(record))
    say(drawn(record))


def ranked(library: Library, texts: Mapping[str, str]) -> dict[str, Rankings]:
    """The rankings of each text, by name."""
    return dict(zip(texts, library.rankings(list(texts.values()), DEPTH), strict=True))


def followed(library: Library, questions: Sequence[Question], relevant: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Follow-ups that lean on the question before, and questions that change the subject."""
    pairs = list(leaning(questions))
    seen: dict[str, Any] = {}
    ways = {
        "follow-up, whole question": lambda before, now, it: now.text,
        "follow-up with “it”, alone": lambda before, now, it: it,
        "follow-up with “it”, with its subject": lambda before, now, it: queries(talk(before.text, it))[0],
    }
    for way, text in ways.items():
        lists = ranked(library, {now.id: text(before, now, it) for before, now, it in pairs})
        seen[way] = {"n": len(pairs), **measured(Fuse(), [now for _, now, _ in pairs], lists, relevant)}
    other = [(questions[at - 7], q) for at, q in enumerate(questions) if questions[at - 7].source != q.source]
    texts = {now.id: queries(talk(before.text, now.text))[0] for before, now in other}
    moved = {now.id for _, now in other if texts[now.id] != now.text}
    for way, asked_now in (("alone", {n.id: n.text for _, n in other}), ("as a conversation is searched", texts)):
        lists = ranked(library, asked_now)
        row = measured(Fuse(), [now for _, now in other], lists, relevant)
        seen[f"after another subject, {way}"] = {"n": len(other), **row}
    return {**seen, "questions that were taken for follow-ups and are none": f"{len(moved)} of {len(other)}"}


def leaning(questions: Sequence[Question]) -> Any:
    """(question before, question, the question with “it” for a rare word that both hold)."""
    common = Counter(term for q in questions for term in set(asked(q.text)))
    by_page: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in questions:
        by_page[question.source, question.language].append(question)
    for (_, language), of in by_page.items():
        for before, now in zip(of, of[3:], strict=False):
            shared = set(asked(before.text)) & set(asked(now.text))
            shared = {
                t for t in shared if common[t] < RARE * len(questions) and len(t) > (1 if language == "zh" else 3)
            }
            if before.fact != now.fact and shared:
                word = min(shared, key=lambda term: (common[term], term))
                it = "它" if language == "zh" else "it"
                said = re.sub(rf"(?i)(?:\b(?:the|a|an) )?{re.escape(word)}", it, now.text)
                if said != now.text:
                    yield before, now, said


def talk(*turns: str) -> list[Message]:
    """A person's turns, each answered."""
    return [message for turn in turns for message in (Message("user", turn), Message("assistant", "…"))][:-1]


def drawn(record: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# Search on the handbook's questions", "", (__doc__ or "").partition("\n\n    ")[0], ""]
    lines += [paired.place(record), "", f"{record['passages']} passages, {record['questions']} questions.", ""]
    lines += [f"| | n | {' | '.join(MEASURES)} |", f"|-|-:|{'-:|' * len(MEASURES)}"]
    for name, row in record.items():
        if isinstance(row, dict) and "n" in row:
            lines.append(f"| {name} | {row['n']} | {' | '.join(f'{row[measure]:.3f}' for measure in MEASURES)} |")
    lines += ["", *(f"{name}: {row}." for name, row in record.items() if name.startswith("questions that")), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
