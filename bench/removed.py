"""What the route `retrieve` does when the right answers are taken out of the documents: does it refuse, or invent?

The handbook's pages are written anew without every sentence (line, row of a table) that says the answer or is the
evidence of a fact, in either language, and the library is built anew from them, for a few facts at a time. That no
passage holds an answer any more is verified by looking for the words of each. Then the exam's questions about these
facts are asked in query mode, and once more of the library with all pages whole. Everything else is as a user has it:
default model, embedder, settings.

With the answers removed, refused is right and everything else is invented; with all pages whole, refused is a loss
where the answer would have been right. Only half of the facts is asked here; rules are worked on with the other
(`--development`, only shown). Intervals: 95 %, Wilson, for as many independent questions as the spread between facts
says there are.

python bench/removed.py FOLDER
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from answers import best_evidence, drawn_from, tuned_on
from paired import keep, place, stamp

from shuyuan.base.errors import Fixable
from shuyuan.base.files import write_json
from shuyuan.base.progress import Bar, say
from shuyuan.base.records import Answer, Passage, Question, ask
from shuyuan.examine.statistics import intervals
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.embedder import open_embedder
from shuyuan.load.model import open_model
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.text import contains, tokens
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.questions import exam_questions, read_questions
from shuyuan.read.reading import read_file, walk
from shuyuan.recall.citing import sentences
from shuyuan.recall.ground import Ground
from shuyuan.recall.grounded import LEAST_FOUND, GroundedAssistant
from shuyuan.recall.searching import Library

ROOT = Path(__file__).resolve().parent.parent
MODEL, EMBEDDER = "qwen2.5-0.5b", "multilingual-e5-small"
TOGETHER = 4  # facts whose answers are removed at the same time
BATCH = 16
STATES, LANGUAGES = ("whole", "removed"), ("en", "zh")
OUTCOMES = ("refused", "right", "another answer")


@dataclass(frozen=True)
class Fact:
    """What the exam asks in several wordings; `answers` and `evidence` of all of its rows, learned ones too."""

    name: str
    questions: Sequence[Question]
    answers: Sequence[tuple[str, ...]]
    evidence: Sequence[str]

    def told_in(self, text: str, words: tuple[str, ...]) -> bool:
        """Whether a sentence says an answer, or is the evidence or a part of it."""
        return self.answered_in(words) or any(text in proof or proof in text for proof in self.evidence)

    def answered_in(self, words: tuple[str, ...]) -> bool:
        """Whether a right answer stands there word for word."""
        return any(contains(words, answer) for answer in self.answers)


def main() -> None:
    """Cut, build, ask, count, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where vectors and answers are kept between runs")
    parser.add_argument("--facts", type=int, default=40, help="at most so many facts of the half")
    parser.add_argument("--evidence", type=float, help="as for `shuyuan ask`; left out: the default")
    parser.add_argument("--development", action="store_true", help="the half that may be looked at; nothing is kept")
    given = parser.parse_args()
    facts = drawn_from([fact for fact in facts_asked() if tuned_on(fact.name) == given.development], given.facts)
    rows = asked(facts, given)
    write_json(given.folder / f"removed-{'development' if given.development else 'final'}.json", rows)
    figures = {name: counted(rows, name) for name in LANGUAGES}
    if given.development:
        say(json.dumps(figures, indent=1))
        return
    command = stamp() | {"command": "python bench/removed.py FOLDER", "model": MODEL, "embedder": EMBEDDER}
    keep("removed", "handbook", {**command, "facts": len(facts), **figures}, drawn)


def facts_asked() -> list[Fact]:
    """The facts that the exam asks, with what the pages say of them."""
    rows, _ = read_questions(ROOT / "examples/handbook/questions.jsonl")
    answered = [row for row in rows if row.answers]
    names = dict.fromkeys(row.fact for row in answered if row.use == "exam")
    return [
        Fact(
            name,
            exam_questions([row for row in answered if row.fact == name and row.use == "exam"]),
            sorted({tokens(answer) for row in answered if row.fact == name for answer in row.answers}),
            sorted({row.evidence for row in answered if row.fact == name}),
        )
        for name in names
    ]


def pages(without: Sequence[Fact], folder: Path) -> tuple[list[Passage], float]:
    """The handbook's passages when no sentence tells one of these facts, and the share of sentences that is gone."""
    passages: list[Passage] = []
    gone = there = 0
    for file in walk(ROOT / "docs").files:
        name = file.relative_to(ROOT).as_posix()
        text = file.read_text(encoding="utf-8")
        left, at = "", 0
        for start, end in sentences(text):
            there += 1
            words = tokens(text[start:end])
            if any(fact.told_in(text[start:end], words) for fact in without):
                left, at, gone = left + text[at:start], end, gone + 1
        cut = folder / name
        cut.parent.mkdir(parents=True, exist_ok=True)
        cut.write_text(left + text[at:], encoding="utf-8")
        passages += Chunk().chunk(read_file(cut, name))
    for passage in passages:
        words = tokens(passage.searchable)
        for fact in without:
            if fact.answered_in(words):
                raise Fixable(f"an answer about {fact.name} is left in {passage.source}: {passage.text}", "cut it too")
    return passages, gone / there


def asked(facts: Sequence[Fact], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Each question's answer from the whole library, and from one without what answers it."""
    embedder, inner = open_embedder(EMBEDDER), ModelAssistant("bare", open_model(MODEL))
    rows: list[dict[str, Any]] = []
    groups = [facts[start : start + TOGETHER] for start in range(0, len(facts), TOGETHER)]
    with Bar("asking", 2 * sum(len(fact.questions) for fact in facts)) as bar:
        for state, group in [("whole", facts), *(("removed", group) for group in groups)]:
            with tempfile.TemporaryDirectory() as scratch:
                passages, gone = pages([] if state == "whole" else group, Path(scratch))
            library = Library.build(given.folder / "removed", passages, embedder, given.folder, store="memory")
            assistant = GroundedAssistant("retrieve", inner, library, Ground(evidence=given.evidence))
            questions = [question for fact in group for question in fact.questions]
            for start in range(0, len(questions), BATCH):
                part = questions[start : start + BATCH]
                texts = [question.text for question in part]
                answers = assistant.answer([ask(text) for text in texts])
                held = best_evidence(library, texts, library.search_all(texts, LEAST_FOUND))
                rows += [_row(state, gone, *of) for of in zip(part, answers, held, strict=True)]
                bar.advance(len(part))
    return rows


def _row(state: str, gone: float, question: Question, answer: Answer, evidence: float) -> dict[str, Any]:
    return {
        "state": state,
        "gone": gone,
        "language": question.language,
        "fact": question.fact,
        "question": question.text,
        "answers": question.answers,
        "evidence": evidence,
        "answerable": answer.answerable,
        "refused": answer.refused,
        "right": Accuracy().measure(answer, question) == 1.0,
        "text": answer.text,
        "cited": [citation.quote for citation in answer.citations],
    }


def counted(rows: Sequence[Mapping[str, Any]], language: str) -> dict[str, Any]:
    """Shares of one language's questions, with their intervals."""
    figures: dict[str, Any] = {}
    for state in STATES:
        of = [row for row in rows if (row["state"], row["language"]) == (state, language)]
        gone = round(float(np.mean([row["gone"] for row in of])), 4)
        figures[state] = {"n": len(of), "sentences_gone": gone, **_shares(of)}
    return figures


def _shares(of: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    refused = [row["refused"] for row in of]
    right = [row["right"] and not row["refused"] for row in of]
    wrong = [not row["right"] and not row["refused"] for row in of]
    shares = intervals(np.array([refused, right, wrong], float), [row["fact"] for row in of])
    return {
        name: {"value": round(one.value, 3), "low": round(one.low or 0, 3), "high": round(one.high or 0, 3)}
        for name, one in zip(OUTCOMES, shares, strict=True)
    }


def drawn(record: Mapping[str, Any]) -> str:
    """The record for a reader."""
    of = record["handbook"]

    def cell(figure: Mapping[str, float]) -> str:
        return f"{figure['value']:.1%} ({figure['low']:.1%} to {figure['high']:.1%})"

    lines = ["# When the right answers are taken out of the documents", "", place(of), ""]
    lines += [(__doc__ or "").partition("\n\n")[2].rpartition("\n\n")[0], ""]
    lines += [f"{of['facts']} facts, {MODEL}, {EMBEDDER}, query mode.", ""]
    lines += [f"| questions | documents | n | sentences gone | {' | '.join(OUTCOMES)} |", "|-|-|-|-|-|-|-|"]
    for language in LANGUAGES:
        for state in STATES:
            one = of[language][state]
            shares = " | ".join(cell(one[name]) for name in OUTCOMES)
            lines.append(f"| {language} | {state} | {one['n']} | {one['sentences_gone']:.1%} | {shares} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
