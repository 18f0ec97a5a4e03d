"""Recall: of the items that have a label, how many were given it?"""

from __future__ import annotations

from shuyuan.measure.labels import LabelMetric, share
from shuyuan.measure.marking import Floats


class Recall(LabelMetric):
    """right / true, for each label; see `average` for how labels become one number."""

    @staticmethod
    def _of(right: Floats, said: Floats, true: Floats) -> Floats:
        return share(right, true)
