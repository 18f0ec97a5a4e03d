"""How near is near enough? Learned for each library: questions on other topics against questions on its own.

Cosines of one embedder bunch together (multilingual E5: all above .7) and differ by language and by corpus, so no fixed
number tells "not in this library" apart. Only far questions are refused here: near misses need the answer checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

import numpy as np

from shuyuan.base.records import Passage
from shuyuan.read.language import language
from shuyuan.recall.citing import sentences

_SAMPLE = 64  # passages whose heading or first sentence stands in for a question on the library's own topics
_REFUSED_OTHER = 0.75  # share of questions on other topics that should be below the threshold …
_LOST_OWN = 0.02  # … as long as no more of the library's own are
_REFUSED_UNSEEN = 0.5  # the same share for a language the library holds no text in: cosines across languages are lower


def calibrate(nearest: Callable[[Sequence[str]], Sequence[float]], passages: Sequence[Passage]) -> dict[str, float]:
    """Language → the cosine below which a question is taken to be off topic.

    `nearest` gives for each text the cosine of the nearest passage. The threshold is the smaller of two quantiles, so a
    library whose topics include a probe's does not refuse its own questions.
    """
    own = _by_language(_own(passages))
    thresholds = {}
    for name, probes in _by_language(_probes()).items():
        limit = float(np.quantile(nearest(probes), _REFUSED_OTHER if name in own else _REFUSED_UNSEEN))
        if name in own:
            limit = min(limit, float(np.quantile(nearest(own[name]), _LOST_OWN)))
        thresholds[name] = round(limit, 4)
    return thresholds


def _own(passages: Sequence[Passage]) -> list[str]:
    step = max(1, len(passages) // _SAMPLE)
    texts: list[str] = []
    for passage in passages[::step][:_SAMPLE]:
        first = next((passage.text[start:end] for start, end in sentences(passage.text)), "")
        texts.append(passage.headings[-1] if passage.headings and len(texts) % 2 else first)
    return [text for text in texts if text]


def _probes() -> list[str]:
    text = resources.files(__package__).joinpath("off_topic.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _by_language(texts: Sequence[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for text in texts:
        grouped.setdefault(language(text), []).append(text)
    return grouped
