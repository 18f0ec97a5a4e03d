"""Precision: of the answers that named a label, how many were right?"""

from __future__ import annotations

from shuyuan.measure.labels import LabelMetric, share
from shuyuan.measure.marking import Floats


class Precision(LabelMetric):
    """right / said, for each label; see `average` for how labels become one number."""

    @staticmethod
    def _of(right: Floats, said: Floats, true: Floats) -> Floats:
        return share(right, said)
