"""What papers tell beyond the metrics of single answers, with intervals over facts, added to the sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from shuyuan import __version__
from shuyuan.base.records import Question, Score
from shuyuan.base.shelf import kebab_name
from shuyuan.examine.papers import Paper
from shuyuan.examine.results import Sheet
from shuyuan.examine.sitting import Sat
from shuyuan.examine.statistics import intervals


def with_conclusions(papers: Sequence[Paper], material: Sequence[Question], sat: Sat) -> Sat:
    """What was handed in, with the answers that follow from likelihoods."""
    more = {id: answer for paper in papers for id, answer in paper.concluded(material, sat.nats).items()}
    samples = {**sat.samples, **{id: (answer,) for id, answer in more.items()}}
    return Sat({**sat.answers, **more}, sat.nats, samples)


def with_figures(
    papers: Sequence[Paper],
    pools: Mapping[str, Sequence[Question]],
    sat: Mapping[str, Sat],
    sheets: Sequence[Sheet],
    seed: int,
) -> list[Sheet]:
    """The sheets with each paper's `figures` as scores and marks, under `paper/name`."""
    return [_with_figures(papers, pools, sat[sheet.name], sheet, seed) for sheet in sheets]


def _with_figures(
    papers: Sequence[Paper], pools: Mapping[str, Sequence[Question]], sat: Sat, sheet: Sheet, seed: int
) -> Sheet:
    scores, marks = dict(sheet.scores), dict(sheet.marks)
    for paper in papers:
        asked = pools[paper.pool]
        facts = {question.id: question.fact or question.id for question in asked}
        for name, values in paper.figures(asked, sat.answers, sat.nats).items():
            if not values:
                continue
            key = f"{kebab_name(type(paper))}/{name}"
            clusters = [facts.get(item, item) for item in values]
            bounded = all(value in (0.0, 1.0) for value in values.values()) and name not in paper.signed
            row = np.array([list(values.values())], dtype=float)
            (found,) = intervals(row, clusters, seed, bounded)
            signature = f"{name}|paper:v{paper.version}|by:fact|seed:{seed}|v:{__version__}"
            scores[key] = Score(key, found.value, found.n, found.low, found.high, signature)
            marks[key] = dict(values)
    return replace(sheet, scores=scores, marks=marks)
