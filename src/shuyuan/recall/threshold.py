"""How near is near enough? Learned for each library: everyday questions against questions on its own topics.

Nearness joins two signs that fail differently: how near the nearest passage is in meaning, and how many of the
question's own key terms the best passage holds. Only far questions are refused by it: a near miss, on the right topic
but not written down, needs the answer checked (`citing.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

import numpy as np

from shuyuan.base.records import Passage
from shuyuan.read.language import language
from shuyuan.recall.citing import key_terms, sentences

COVERAGE = 0.4  # weight of the terms beside the cosine; .3 to .5 are equal, bench/results/answers.md
LOOKED_AT = 4  # passages whose terms count
_SAMPLE = 64  # passages whose heading or first sentence stands in for a question on the library's own topics
_OTHER = 0.95  # share of everyday questions that lie below the threshold …
_OWN = 0.03  # … and of the library's own, if the two can be told apart
_TOWARDS_OWN = 0.25  # where between these two it lies; own ones are quotations, so real questions lie lower than they
_REACHED = 0.55  # of the middle own one's nearness: nearly all real questions reach that, whatever else lies as near
_UNSEEN = 0.5  # the share of everyday questions below it for a language that the library holds no text in


def nearness(question: str, cosine: float, passages: Sequence[Passage]) -> float:
    """The cosine of the nearest passage + 0.4 × the share of the question's key terms that one passage holds.

    `passages` are those found, best first; the first four are looked at.
    """
    asked = key_terms(question)
    held = max((len(asked & key_terms(passage.searchable)) for passage in passages[:LOOKED_AT]), default=0)
    return cosine + COVERAGE * held / max(1, len(asked))


def calibrate(near: Callable[[Sequence[str]], Sequence[float]], passages: Sequence[Passage]) -> dict[str, float]:
    """Language → the nearness below which a question is taken to be off topic.

    `near` gives the nearness of each text. The threshold lies a quarter of the way from the everyday questions to the
    library's own; where everyday questions are near, because its topics are everyday ones, its own alone decide.
    """
    own = _by_language(_own(passages))
    thresholds = {}
    for name, probes in _by_language(_probes()).items():
        others = near(probes)
        if name in own:
            ours = near(own[name])
            high, low, middle = np.quantile(others, _OTHER), np.quantile(ours, _OWN), np.median(ours)
            limit = float(min(high + _TOWARDS_OWN * max(0.0, low - high), _REACHED * middle))
        else:
            limit = float(np.quantile(others, _UNSEEN))
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
