"""Search settings for one library, chosen on a person's own questions and kept only when the evidence says so.

Questions are divided by fact. On one half every setting of a grid is tried; the best is compared with the default
there, paired, and must win with an interval that excludes 0. It must then not be worse on the other half.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint
from shuyuan.base.material import Material
from shuyuan.base.records import Question
from shuyuan.examine.relevance import relevant_passages
from shuyuan.examine.statistics import Comparison, compare
from shuyuan.prepare.normal import normal
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.searching import Library, Rankings

DEPTHS = (50, 10, 20, 100)
CONSTANTS = (60, 10)
WEIGHTS = (0.3, 0.0, 0.5, 0.7, 1.0)
SHOWN = 10  # places that nDCG and MRR look at
FEWEST = 10  # facts in either half: fewer say nothing
MEASURES = ("ndcg@10", "mrr@10", "recall@1", "recall@5", "recall@10")

Ranked = Sequence[str]
Questions = tuple[list[Question], Mapping[str, tuple[str, ...]]]
"""Questions, and by id the passages that hold the evidence."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found. `development`, `held_out`: best minus default in nDCG@10. `before`, `after`: on held-out.

    `chosen` is what the library searches with from now on: `best`, or the default where the evidence is too weak.
    """

    best: Fuse
    chosen: Fuse
    development: Comparison
    held_out: Comparison
    before: Mapping[str, float]
    after: Mapping[str, float]
    left_out: Mapping[str, int]


def tune(library: Library, material: Material, asked: Sequence[Question]) -> Tuned:
    """Choose the search settings of `library` by questions with evidence, and keep the choice with it.

    Questions that are in the exam, share a fact with it or have no evidence in the documents are left out and counted.
    Raises Fixable when fewer than ten facts would be left in either half.
    """
    used, relevant, left_out = with_evidence(material, asked)
    tuned = best_settings(library, used, relevant, left_out)
    if tuned.chosen != library.fuse:
        library.settle(tuned.chosen, material.passages())
    return tuned


def best_settings(
    library: Library,
    used: Sequence[Question],
    relevant: Mapping[str, Collection[str]],
    left_out: Mapping[str, int],
) -> Tuned:
    """What `tune` chooses by questions whose passages are known; the library stays as it is."""
    development, held_out = halves(used, left_out)
    lists = dict(zip([q.id for q in used], library.rankings([q.text for q in used], max(DEPTHS)), strict=True))

    def scores(fuse: Fuse, of: Sequence[Question]) -> np.ndarray:
        return np.array([ndcg(_ranked(fuse, lists[q.id]), relevant[q.id]) for q in of])

    default = Fuse()
    grid = [Fuse(depth=d, k=k, word_weight=w) for d, k, w in itertools.product(DEPTHS, CONSTANTS, WEIGHTS)]
    best = max(grid, key=lambda fuse: float(scores(fuse, development).mean()))  # of equals the first: the default
    seen, unseen = (
        compare(("best", scores(best, half)), ("default", scores(default, half)), [q.fact for q in half])
        for half in (development, held_out)
    )
    assert seen is not None
    assert unseen is not None
    better = seen.low is not None and seen.low > 0 and unseen.difference >= 0
    chosen = best if better else default
    before, after = (measured(fuse, held_out, lists, relevant) for fuse in (default, chosen))
    return Tuned(best, chosen, seen, unseen, before, after, left_out)


def halves(questions: Iterable[Question], left_out: Mapping[str, int]) -> tuple[list[Question], list[Question]]:
    """Development and held-out; all wordings of a fact on one side, always the same one.

    Raises Fixable when fewer than ten facts would be in either.
    """
    found: tuple[list[Question], list[Question]] = ([], [])
    for question in questions:
        found[int(fingerprint("tune", question.fact), 16) % 2].append(question)
    facts = [len({q.fact for q in half}) for half in found]
    if min(facts) < FEWEST:
        raise Fixable(
            f"{facts[0]} + {facts[1]} facts are too few to tune on; left out: {_counted(left_out)}",
            f"write questions with `source` and `evidence` on at least {2 * FEWEST} facts that the exam does not ask",
        )
    return found


@dataclass(frozen=True, slots=True)
class Gain:
    """One library beside another on the same questions: the difference in nDCG@10, and both ones' measures."""

    difference: Comparison
    before: Mapping[str, float]
    after: Mapping[str, float]
    left_out: Mapping[str, int]

    @property
    def proven(self) -> bool:
        """Whether the 95 % interval of the gain excludes 0."""
        return self.difference.low is not None and self.difference.low > 0


def usable(material: Material, asked: Sequence[Question]) -> tuple[Questions, dict[str, int]]:
    """The questions that libraries can be compared on, as `tune` takes them; Fixable when their facts are under ten."""
    used, relevant, left_out = with_evidence(material, asked)
    if len({q.fact for q in used}) < FEWEST:
        raise Fixable(
            f"{len({q.fact for q in used})} facts are too few to measure on; left out: {_counted(left_out)}",
            f"write questions with `source` and `evidence` on at least {FEWEST} facts that the exam does not ask",
        )
    return (used, relevant), left_out


def gain(one: Library, other: Library, questions: Questions, left_out: Mapping[str, int]) -> Gain:
    """Whether `other` finds better than `one`, each with its own settings; nothing is chosen on these questions."""
    used, relevant = questions
    found = []
    for library in (one, other):
        of = library.rankings([q.text for q in used], library.fuse.depth)
        lists = dict(zip([q.id for q in used], of, strict=True))
        scores = np.array([ndcg(_ranked(library.fuse, lists[q.id]), relevant[q.id]) for q in used])
        found.append((scores, measured(library.fuse, used, lists, relevant)))
    (before, plain), (after, changed) = found
    difference = compare(("other", after), ("one", before), [q.fact for q in used])
    assert difference is not None
    return Gain(difference, plain, changed, left_out)


def ndcg(ranked: Ranked, wanted: Collection[str], k: int = SHOWN) -> float:
    """Normalised discounted cumulative gain of the first `k`: each relevant passage gains 1 / log2(1 + rank)."""
    gain = 1 / np.log2(np.arange(2, k + 2))
    found = sum(gain[rank] for rank, name in enumerate(ranked[:k]) if name in wanted)
    return float(found / gain[: min(k, len(wanted))].sum())


def with_evidence(
    material: Material, asked: Sequence[Question]
) -> tuple[list[Question], Mapping[str, tuple[str, ...]], dict[str, int]]:
    """The questions that are not in the exam, share no fact with it and whose evidence is in the documents.

    With the passages that hold it, by question, and why how many others are left out.
    """
    exam = material.questions()
    words, facts = {normal(q.text) for q in exam}, {q.fact for q in exam if q.fact}
    apart = [q for q in asked if normal(q.text) not in words and q.fact not in facts]
    relevant = relevant_passages(apart, material.documents(), material.passages())
    used = [replace(q, fact=q.fact or q.id) for q in apart if q.id in relevant]
    left = {"in the exam": len(asked) - len(apart), "without evidence in the documents": len(apart) - len(used)}
    return used, relevant, {why: count for why, count in left.items() if count}


def _ranked(fuse: Fuse, of: Rankings) -> Ranked:
    return [one.id for one in fuse.fuse(of.dense, of.words, of.foreign)[:SHOWN]]


def measured(
    fuse: Fuse, of: Sequence[Question], lists: Mapping[str, Rankings], relevant: Mapping[str, Collection[str]]
) -> dict[str, float]:
    """The means of `MEASURES` over questions whose rankings and relevant passages are known."""
    return measures([_ranked(fuse, lists[question.id]) for question in of], [relevant[q.id] for q in of])


def measures(ranked: Sequence[Ranked], relevant: Sequence[Collection[str]]) -> dict[str, float]:
    """The means of `MEASURES` over questions, by what was found for each, best first, and what should have been."""
    rows = []
    for found, wanted in zip(ranked, map(set, relevant), strict=True):
        first = next((rank for rank, name in enumerate(found[:SHOWN], 1) if name in wanted), None)
        recalls = [len(wanted.intersection(found[:k])) / min(k, len(wanted)) for k in (1, 5, 10)]
        rows.append([ndcg(found, wanted), 1 / first if first else 0.0, *recalls])
    means = np.mean(rows, axis=0)
    return {name: round(float(mean), 4) for name, mean in zip(MEASURES, means, strict=True)}


def _counted(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in left_out.items()) or "none"
