"""Any two assistants of one exam, compared on the questions that both answered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.examine.results import MAIN, Exam
from shuyuan.examine.statistics import Comparison, compare, holm


def pairs(exam: Exam, names: Sequence[str], score: str = MAIN) -> tuple[Comparison, ...]:
    """Every pair of `names` on one score (`paper/metric`), in the order given, p corrected by Holm over the pairs.

    Raises Fixable for a name or score that the exam does not have, and for fewer than two different names.
    """
    sheets = {sheet.name: sheet for sheet in exam.sheets}
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in sheets:
            raise Fixable(f"'{name}' did not sit the exam '{exam.name}'", near_miss(name, sheets))
        if score not in sheets[name].marks:
            raise Fixable(f"the exam '{exam.name}' has no score '{score}'", near_miss(score, sheets[name].marks))
    if len(names) < 2:
        raise Fixable("a comparison needs two assistants", f"there are: {', '.join(sheets)}")
    asked = [*exam.questions, *exam.general]
    clusters = [question.fact or question.id for question in asked]
    rows = {name: np.array([sheets[name].marks[score].get(q.id, np.nan) for q in asked]) for name in names}
    found = [compare((a, rows[a]), (b, rows[b]), clusters) for a, b in itertools.combinations(names, 2)]
    known = [comparison for comparison in found if comparison is not None]
    corrected = holm([comparison.p for comparison in known])
    return tuple(replace(one, p_holm=p) for one, p in zip(known, corrected, strict=True))
