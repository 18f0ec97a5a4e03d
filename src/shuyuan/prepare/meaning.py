"""Exam questions that the lessons ask in other words or in another language: told by where an embedder puts them.

What is a leak is decided so. Teaching a fact in some wordings and asking it in others is what the exam is for, and
people say which rows do so: they give them one `fact`. A lesson under another fact, or under none, that asks just what
an exam question asks is a leak, in whatever words. Under the same fact only a copy with a few words moved is one, and
nothing in the other language, where a translation cannot be told from an honest lesson. Two texts of one language that
differ in a number, a name in Latin letters or a “not” ask different things, however near they are; so do two texts of
two languages that differ in a number or a name.

What is as near as only leaks are is refused; what is nearer than most honest rows is shown as a suspicion. How often
this errs is measured in bench/leaks.py; the thresholds are for multilingual-e5-small. Between languages nothing is
refused among fewer than `ENOUGH` texts: the margin grows when there are few neighbours. Pairs that are near between
Chinese and English are read again by a language model, where one that knows both is at hand (`translation.py`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shuyuan.base.records import Example, Question
from shuyuan.prepare.forms import Forms, other_answers
from shuyuan.prepare.leak import Hit, sentences_asked
from shuyuan.prepare.likeness import Reads, likeness, other_names
from shuyuan.prepare.normal import normal, units
from shuyuan.prepare.translation import LABELS, Gains
from shuyuan.read.language import language

Vectors = NDArray[np.float32]
Words = NDArray[np.str_]
Found = tuple[int, int, float, str]  # row of the lessons, column of the questions, score, why

SAME_FACT = 0.993  # cosine of two texts of one language that are a copy with a few words moved
LOOKED_AT, LOOKED_AT_ACROSS = 0.95, 0.1  # cosine, and margin between two languages, from which on texts are read again
COVER, COVER_ACROSS = 0.1, 3.0  # weight of how well they cover each other beside these: the sum is the score
SAME, ACROSS = 1.02, 2.0  # score of what asks the same
SUSPECT, SUSPECT_ACROSS = 1.0, 1.5
TOLD_FROM = 1.4  # score between two languages from which on a language model is asked; then the score is
TOLD_COVER, GAIN, TOLD = 2.0, 1.2, -0.5  # margin + 2 × cover + 1.2 × gain - 0.5, on the same scale
MOST_TOLD = 1000  # pairs, the highest of them, since each takes the model a quarter of a second
FEWEST = 20  # texts of a language, below which its centre is not known and nothing is compared across
ENOUGH = 250  # texts of each language, below which a place looks less crowded than it is: then a pair is only shown
LONGEST = 300  # characters of a turn that is compared whole; of longer ones, the sentences that ask
_NEAR = slice(1, 4)  # the neighbours, without the nearest, that say how crowded a place is
_ROWS = 2048
_DENIALS = frozenset(
    {"不", "没", "非", "无", "未", "not", "no", "never", "without", "isn't", "doesn't", "don't", "cannot"}
)
_OTHER_WORDS, _OTHER_TONGUE = "other words", "another language"


@dataclass(frozen=True, slots=True)
class Said:
    """A text of a lesson that may ask what the exam asks."""

    example: Example
    text: str


def said(examples: Iterable[Example], most: int) -> tuple[list[Said], int]:
    """At most `most` different texts of the lessons to compare, and how many were left out."""
    found: dict[tuple[str, str], Said] = {}
    left_out = 0
    for example in examples:
        for message in example.turns:
            whole = message.role == "user" and len(message.content) <= LONGEST
            for text in [message.content] if whole else sentences_asked(message.content):
                key = (normal(text), example.fact)
                if key in found or not key[0]:
                    continue
                if len(found) >= most:
                    left_out += 1
                else:
                    found[key] = Said(example, text)
    return list(found.values()), left_out


def alike(
    lessons: Sequence[Said],
    learned_LD: Vectors,
    questions: Sequence[Question],
    asked_QD: Vectors,
    read: Reads,
    *,
    gains: Gains | None = None,
) -> list[Hit]:
    """The lessons that ask what a question asks. Vectors are of length one, L lessons, Q questions, D numbers each.

    In one language: by cosine. Between two: each language's vectors are first freed of their mean and main direction,
    which say little but the language; the margin is twice the cosine less how near each of the two has its next
    neighbours (Artetxe & Schwenk 2019, as a difference), since crowded places are near to everything. Pairs that this
    suspects are read token by token (`likeness.py`); how well they cover each other adds to the score. `gains`: what
    a model gains by the translation (`translation.py`).
    """
    best: dict[tuple[str, str], Hit] = {}
    tongues = np.array([language(one.text) for one in lessons]), np.array([q.language for q in questions])
    counted = Counter(np.concatenate(tongues).tolist())
    suspected = itertools.chain(_in_one_language(learned_LD, asked_QD, tongues), _across(learned_LD, asked_QD, tongues))
    forms = Forms([question.text for question in questions])
    for question in questions:
        forms.show(question.text, question.answers)
    for lesson in lessons:
        forms.show(lesson.text, lesson.example.replies)
    kept = [
        one
        for one in suspected
        if _may_ask_the_same(lessons[one[0]], questions[one[1]], *one[2:])
        and not forms.other_things(lessons[one[0]].text, questions[one[1]].text)
    ]
    texts = [(lessons[row].text, questions[column].text) for row, column, *_ in kept]
    scores = _scored([one[2:] for one in kept], texts, read, gains)
    for (row, column, _, why), score in zip(kept, scores, strict=True):
        example, question = lessons[row].example, questions[column]
        if why == _OTHER_WORDS:
            suspect, sure = SUSPECT, score >= SAME or _one_fact(example, question)
        else:
            crowd = min(counted[tongues[0][row]], counted[tongues[1][column]])
            suspect, sure = SUSPECT_ACROSS, score >= ACROSS and crowd >= ENOUGH
        key, known = (question.id, example.id), best.get((question.id, example.id))
        if (sure or score >= suspect) and (known is None or (known.sure, known.score) < (sure, score)):
            best[key] = Hit(question, example, f"it asks the same in {why} ({score:.3f})", sure, score)
    return list(best.values())


def _scored(
    near: Sequence[tuple[float, str]], texts: Sequence[tuple[str, str]], read: Reads, gains: Gains | None
) -> list[float]:
    """The score of each pair of texts: how near they are, how well they cover each other, and what a model gains."""
    cover = likeness(texts, read)
    scores = [
        value + (COVER if why == _OTHER_WORDS else COVER_ACROSS) * covered
        for (value, why), covered in zip(near, cover, strict=True)
    ]
    far = [at for at, (_, why) in enumerate(near) if gains and why == _OTHER_TONGUE and scores[at] >= TOLD_FROM]
    pairs = {at: {language(text): text for text in texts[at]} for at in sorted(far, key=lambda at: -scores[at])}
    pairs = {at: pair for at, pair in pairs.items() if pair.keys() == LABELS.keys()}
    doubtful = list(pairs)[:MOST_TOLD]
    if gains and doubtful:
        gained = gains([(pairs[at]["en"], pairs[at]["zh"]) for at in doubtful])
        for at, gain in zip(doubtful, gained, strict=True):
            scores[at] = near[at][0] + TOLD_COVER * cover[at] + GAIN * gain + TOLD
    return scores


def _one_fact(example: Example, question: Question) -> bool:
    return bool(question.fact) and example.fact == question.fact


def _may_ask_the_same(lesson: Said, question: Question, near: float, why: str) -> bool:
    """Whether names, numbers, denials and the answer are the same, and the two are a copy where their fact is."""
    if other_answers(lesson.example.replies, question.answers):
        return False
    if _one_fact(lesson.example, question) and (why == _OTHER_TONGUE or near < SAME_FACT):
        return False
    if why == _OTHER_TONGUE:
        return not other_names(lesson.text, question.text)
    return marks(lesson.text) == marks(question.text)


def marks(text: str) -> tuple[frozenset[str], bool]:
    """What tells two like questions apart: numbers and names in Latin letters, and whether something is denied."""
    words = units(text)
    chinese = any("\u4e00" <= word[0] <= "\u9fff" for word in words)
    names = (word for word in words if word.isascii() and (chinese or any(not letter.isalpha() for letter in word)))
    return frozenset(names), any(word in _DENIALS for word in words)


def _in_one_language(learned_LD: Vectors, asked_QD: Vectors, tongues: tuple[Words, Words]) -> Iterator[Found]:
    for start in range(0, len(learned_LD), _ROWS):
        part = slice(start, start + _ROWS)
        cosine_LQ = np.where(tongues[0][part, None] == tongues[1][None], learned_LD[part] @ asked_QD.T, -1.0)
        for row, column in np.argwhere(cosine_LQ >= LOOKED_AT):
            yield int(start + row), int(column), float(cosine_LQ[row, column]), _OTHER_WORDS


def _across(learned_LD: Vectors, asked_QD: Vectors, tongues: tuple[Words, Words]) -> Iterator[Found]:
    freed = {}
    for tongue in sorted({*tongues[0].tolist(), *tongues[1].tolist()}):
        rows, columns = np.flatnonzero(tongues[0] == tongue), np.flatnonzero(tongues[1] == tongue)
        if len(rows) + len(columns) >= FEWEST:
            both = _freed(np.concatenate([learned_LD[rows], asked_QD[columns]]))
            freed[tongue] = rows, both[: len(rows)], columns, both[len(rows) :]
    for one, other in itertools.permutations(freed, 2):
        rows, learned, columns, asked = *freed[one][:2], *freed[other][2:]
        if len(rows) and len(columns):
            cosine_LQ = learned @ asked.T
            margin_LQ = 2 * cosine_LQ - _crowding(cosine_LQ)[:, None] - _crowding(cosine_LQ.T)[None]
            for row, column in np.argwhere(margin_LQ >= LOOKED_AT_ACROSS):
                yield int(rows[row]), int(columns[column]), float(margin_LQ[row, column]), _OTHER_TONGUE


def _freed(vectors_ND: Vectors) -> Vectors:
    """The vectors of one language without their mean and their main direction, of length one."""
    around_ND = vectors_ND - vectors_ND.mean(0)
    main_D = np.linalg.svd(around_ND, full_matrices=False)[2][0]
    around_ND = around_ND - np.outer(around_ND @ main_D, main_D)
    return np.asarray(around_ND / np.maximum(np.linalg.norm(around_ND, axis=1, keepdims=True), 1e-9), np.float32)


def _crowding(cosine_NM: Vectors) -> Vectors:
    """For each row the mean of its second to fourth highest cosine; of what there is, where there are fewer."""
    nearest = -np.partition(-cosine_NM, min(_NEAR.stop, cosine_NM.shape[1]) - 1, axis=1)[:, : _NEAR.stop]
    nearest = -np.sort(-nearest, axis=1)
    near = nearest[:, _NEAR] if nearest.shape[1] > _NEAR.start else np.zeros((len(nearest), 1), np.float32)
    return np.asarray(near.mean(1), np.float32)
