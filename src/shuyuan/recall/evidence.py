"""Do the passages found hold what a question asks for? Its tokens against theirs, one by one.

A cosine of whole texts says that a passage is on the topic. Whether it speaks of all that the question names shows only
token by token: each token of the question looks for the one in the passage that is most like it in its place (late
interaction; Khattab & Zaharia, 2020). What finds nothing like it is what the passage does not tell. A model that
learned to read passages knows more (`reader.py`): the two are weighed together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Read = tuple[Sequence[int], NDArray[np.float16]]  # a text's tokens, and their states [layers, tokens, width]

WINDOW, STEP = 48, 16  # tokens of a passage that are looked at together: what is asked stands in one place, mostly
_WORST = 0.4  # share of the question that finds least …
_OF_WORST, _OF_SAME = 0.5, 0.3  # … and its weight; that of tokens that are the very same. All are of equal use nearby
PER_EVIDENCE = 4.0  # log-odds that one more of it is worth beside the reader's own; LOG.md
PER_NEARNESS = 6.0  # … and one more of nearness (`threshold.py`)
SURE = 0.5  # log-odds that are enough beside the least evidence and nearness; LOG.md
HOPELESS = 0.1  # so far below the least evidence, or the least nearness, nobody needs to read what was found; LOG.md
_PLACE = 0.05  # of evidence, that e times as far down in the list costs: .05 to .1 are about equal (LOG.md)


def enough(evidence: float, least: float, nearer: float = 0.0, answerable: float | None = None) -> bool:
    """Whether what was found holds an answer: by its evidence, and by `Answer.answerable` of the model that read it.

    `least` is the evidence that is enough by itself, and beside log-odds of `SURE`; at 0 anything is. `nearer`: by how
    much the question is nearer than the threshold of its library.
    """
    if not least or answerable is None:
        return not least or evidence >= least
    return answerable + PER_EVIDENCE * (evidence - least) + PER_NEARNESS * nearer >= SURE


def hopeless(evidence: float, least: float) -> bool:
    """Whether nobody needs to read what was found."""
    return least > 0 and evidence < least - HOPELESS


def evidence(question: Read, passages: Sequence[Read]) -> list[float]:
    """How much each passage holds of a question, and how far it is before the others: the larger, the likelier.

    Tokens count by how few of the passages hold them. Nothing asked: 0.
    """
    tokens = question[0]
    if not tokens:
        return [0.0] * len(passages)
    holding = Counter(token for ids, _ in passages for token in set(ids))
    weights_Q = np.log([(len(passages) + 1) / (holding[token] + 0.5) for token in tokens]) + 1e-3
    held = [_held(question, weights_Q / weights_Q.sum(), passage) for passage in passages]
    others = [(sum(held) - one) / (len(held) - 1) if len(held) > 1 else one for one in held]
    return [2 * one - rest for one, rest in zip(held, others, strict=True)]


def placed(held: Sequence[float], places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
    """What orders passages: their evidence, less a little for each place (from 0) further down that search found them.

    Nothing is trained for that, and it puts more right passages first than search alone: bench/results/reranking.md.
    """
    return np.asarray(np.array(held) - _PLACE * np.log1p(np.array(places)))


def _held(question: Read, weights_Q: NDArray[np.float64], passage: Read) -> float:
    """What one passage holds of a question. Q tokens of the question, P of the passage, L layers."""
    if not len(passage[0]):
        return 0.0
    like_LQP = question[1].astype(np.float32) @ passage[1].astype(np.float32).transpose(0, 2, 1)
    same_QP = np.asarray(question[0])[:, None] == np.asarray(passage[0])[None]
    starts = range(0, max(1, len(passage[0]) - WINDOW // 2), STEP)

    def in_one_place(found_QP: NDArray[np.float32] | NDArray[np.bool_]) -> float:
        return max(float(weights_Q @ found_QP[:, start : start + WINDOW].max(1)) for start in starts)

    best_Q = like_LQP[-1].max(1)
    order = np.argsort(best_Q)
    worst = order[: max(1, int((np.cumsum(weights_Q[order]) <= _WORST).sum()))]
    least = float(weights_Q[worst] @ best_Q[worst] / weights_Q[worst].sum())
    return sum(in_one_place(like_QP) for like_QP in like_LQP) + _OF_WORST * least + _OF_SAME * in_one_place(same_QP)
