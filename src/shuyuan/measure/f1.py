"""F1: the harmonic mean of precision and recall over declared labels."""

from __future__ import annotations

from shuyuan.measure.labels import LabelMetric, share
from shuyuan.measure.marking import Floats


class F1(LabelMetric):
    """2·right / (said + true), for each label; see `average` for how labels become one number."""

    @staticmethod
    def _of(right: Floats, said: Floats, true: Floats) -> Floats:
        return share(2 * right, said + true)
