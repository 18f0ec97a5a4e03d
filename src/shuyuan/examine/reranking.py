"""Does ranking again help one library? Trained here on a person's own questions, and kept only when that is proven.

Questions are divided by fact. From two thirds of one half the reranker learns; on the last third the better one is
chosen, before or after training. On the other half, which nothing has seen, it must beat the ranking as it is with an
interval that excludes 0. A library without questions asks itself for its sections by their headings.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint
from shuyuan.base.marks import WHOLE
from shuyuan.base.material import Material
from shuyuan.base.progress import Bar
from shuyuan.base.records import Passage, Question
from shuyuan.examine.statistics import Comparison, compare
from shuyuan.examine.tuning import halves, measures, ndcg, with_evidence
from shuyuan.load.embedder import Embedder
from shuyuan.prepare.normal import normal
from shuyuan.recall.learning import Lesson, learn, teaching
from shuyuan.recall.reranking import FIRST, Reranker, Seen, begun
from shuyuan.recall.searching import Library

WAYS = ("tokens", "trained")  # before and after training
_MOST = 600  # questions that are measured on in either half: a bound on time
_TRIED = 2000  # passages that are asked for by their headings: a bound on time
_AT_HAND = 1000  # texts that are kept as they were read, to serve the next question
_TIMED = 20  # questions whose ranking is timed
TRIAL = "reranking"  # the folder in the cache where the library without headings is


@dataclass(frozen=True, slots=True)
class Reranked:
    """What was found. `chosen`: how the library ranks from now on, "" as before; `best`: the better of `WAYS`.

    `checked`: nDCG@10 on the third that chose, by way, "" as it is. `held_out`: `best` minus as it is, in nDCG@10, and
    `before`, `after` the measures of both there. `learned`: questions that were learned from; `by`: "questions", or
    "headings" where there were none. `milliseconds`: of processor time for a question, beside the search.
    """

    best: str
    chosen: str
    checked: Mapping[str, float]
    held_out: Comparison
    before: Mapping[str, float]
    after: Mapping[str, float]
    learned: int
    by: str
    milliseconds: float
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A question with the passages that search found for it, best first, and the ids of those that hold its answer."""

    question: Question
    passages: Sequence[Passage]
    relevant: Collection[str]

    @property
    def lesson(self) -> Lesson:
        """It, to learn from."""
        right = tuple(row for row, passage in enumerate(self.passages[:FIRST]) if passage.id in self.relevant)
        return Lesson(self.question.text, tuple(passage.searchable for passage in self.passages[:FIRST]), right)


def rerank(
    library: Library, embedder: Embedder, material: Material, asked: Sequence[Question], cache: Path
) -> Reranked:
    """Train a reranker for `library` and have it used if that is proven to help; else it ranks as it finds.

    Questions are left out as `tune` does. None at all: sections are asked for by their headings, in a trial without
    them, which is built in `cache` and removed. Raises Fixable where fewer than ten facts are in either half.
    """
    folder = cache / TRIAL
    if asked:
        questions, relevant, left_out = with_evidence(material, asked)
        development, held_out = halves(questions, left_out)
        searched = library
    else:
        passages, questions, relevant = by_heading(material)
        if not questions:
            raise Fixable("no section here has a heading of its own to be asked for by", "give a file of questions")
        left_out, (development, held_out) = {}, halves(questions, {})
        searched = Library.build(folder / "library", passages, embedder, folder, store="memory", fuse=library.fuse)
    try:
        learning, check = _thirds(development)
        found = [found_for(searched.seen_by(WHOLE), _some(of), relevant) for of in (learning, check, held_out)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lessons = teaching([one.lesson for one in found[0]])
    trained = learn(embedder, lessons)
    checked = {way: _mean(ranked, found[1]) for way, ranked in ranked_again(trained, found[1]).items()}
    best = max(WAYS, key=lambda way: checked[way])  # of equals the first, which costs less
    ranked = ranked_again(trained, found[2])
    facts = [one.question.fact for one in found[2]]
    held = compare((best, _gains(ranked[best], found[2])), ("as found", _gains(ranked[""], found[2])), facts)
    assert held is not None
    better = checked[best] > checked[""] and held.low is not None and held.low > 0
    reranker = trained if best == "trained" else Reranker(embedder)
    library.rank_again(reranker if better else None)
    before, after = (measures(ranked[way], [one.relevant for one in found[2]]) for way in ("", best))
    spent = milliseconds(reranker, found[2][:_TIMED])
    by = "questions" if asked else "headings"
    return Reranked(best, best if better else "", checked, held, before, after, len(lessons), by, spent, left_out)


def found_for(library: Library, questions: Sequence[Question], relevant: Mapping[str, Collection[str]]) -> list[Found]:
    """What the library finds for each question before anything is ranked again."""
    found = []
    for question, of in zip(questions, library.rankings([q.text for q in questions], library.fuse.depth), strict=True):
        ids = [one.id for one in library.fuse.fuse(of.dense, of.words, of.foreign)[:FIRST]]
        found.append(Found(question, library.passages(ids), relevant[question.id]))
    return found


def ranked_again(reranker: Reranker, found: Sequence[Found]) -> dict[str, list[list[str]]]:
    """For each way, "" as it is, the ids of what was found for each question, best first."""
    ranked: dict[str, list[list[str]]] = {way: [] for way in ("", *WAYS)}
    seen: dict[str, Seen] = {}
    with Bar("ranking again", len(found), "questions") as bar:
        for one in found:
            texts = [passage.searchable for passage in one.passages]
            new = [text for text in dict.fromkeys(texts) if text not in seen]
            seen |= dict(zip(new, reranker.read(new, "passage"), strict=True))
            (asked,) = reranker.read([one.question.text], "query")
            passages = [seen[text] for text in texts]
            places = np.arange(len(texts))
            scores = (-places, begun(asked, passages, places), reranker.scores(asked, passages))
            for way, of in zip(ranked, scores, strict=True):
                ranked[way].append([one.passages[row].id for row in np.argsort(-of, kind="stable")])
            for text in list(seen)[: max(0, len(seen) - _AT_HAND)]:
                del seen[text]
            bar.advance()
    return ranked


def milliseconds(reranker: Reranker, found: Sequence[Found]) -> float:
    """The processor's time for ranking what was found for a question, on average."""
    start = time.process_time()
    for one in found:
        reranker.ranked(one.question.text, [passage.searchable for passage in one.passages])
    return round(1000 * (time.process_time() - start) / max(1, len(found)), 1)


def by_heading(material: Material) -> tuple[list[Passage], list[Question], Mapping[str, tuple[str, ...]]]:
    """Passages without title and headings, these as questions, and by question the passages of its section.

    A heading that stands over two sections, or is asked in the exam, is none. Of a large library, some documents.
    """
    by_document: dict[str, list[Passage]] = {}
    for passage in material.passages():
        by_document.setdefault(passage.document_id, []).append(passage)
    names, taken = sorted(by_document, key=lambda name: fingerprint("reranking", name)), list[Passage]()
    for name in names:
        if not taken or len(taken) + len(by_document[name]) <= _TRIED:
            taken += by_document[name]
    sections: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for passage in taken:
        if passage.headings:
            place = (passage.document_id, *passage.headings)
            sections.setdefault(passage.headings[-1], {}).setdefault(place, []).append(passage.id)
    exam = {normal(question.text) for question in material.questions()}
    once = {title: of for title, of in sections.items() if len(of) == 1 and normal(title) not in exam}
    own = {title: tuple(name for names in of.values() for name in names) for title, of in once.items()}
    questions = [Question(fingerprint(title), title, (), "", fact=title) for title in own]
    return [_bare(p) for p in taken], questions, {q.id: own[q.text] for q in questions}


def _bare(passage: Passage) -> Passage:
    lines = [line for line in passage.text.splitlines() if line.strip("#= ").strip() not in passage.headings]
    return replace(passage, source="", headings=(), text="\n".join(lines).strip() or passage.text)


def _thirds(questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """Two to learn from and one to choose on, by fact."""
    chosen = {q.fact for q in questions if int(fingerprint("check", q.fact), 16) % 3 == 0}
    return [q for q in questions if q.fact not in chosen], [q for q in questions if q.fact in chosen]


def _some(questions: Sequence[Question]) -> list[Question]:
    return random.Random(0).sample(questions, _MOST) if len(questions) > _MOST else list(questions)


def _gains(ranked: Sequence[Sequence[str]], found: Sequence[Found]) -> np.ndarray:
    return np.array([ndcg(of, one.relevant) for of, one in zip(ranked, found, strict=True)])


def _mean(ranked: Sequence[Sequence[str]], found: Sequence[Found]) -> float:
    return round(float(_gains(ranked, found).mean()), 4)
