"""Exam questions that stand in the lessons: found before anything is learned, and refused."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Example, Question
from shuyuan.prepare.forms import Forms, other_answers
from shuyuan.prepare.normal import is_han, joined, normal, units

GRAM = 5
SIMILAR = 0.8  # Jaccard of character 5-grams
FEWEST_UNITS = 8  # shorter questions stand inside longer ones with another meaning: "什么是 LoRA" in "什么是 LoRA 的秩"
RUN_SHARE = 0.8
LONG_RUN_SHARE = 0.5
LONG_RUN = 13.0  # words, lm-eval's rule; a Han character counts as half a word
_MOST_SHOWN = 20
_REMEMBERED = 1024  # messages
_BANDS = 32  # of 4 rows each: a pair at Jaccard .8 is missed once in ten million
_ROWS = 4
_ASKED = re.compile(r"(?:[^。！？!?；;\n.]|\.(?!\s))+[？?]")
_SAME_WORDS = "the same words"
_SENTENCE_END = re.compile(r"[。！？!?；;\n]+|\.\s")


def check_leaks(examples: Iterable[Example], questions: Sequence[Question]) -> None:
    """Refuse lessons that give the exam away by their words: a `Fixable` listing every hit of `leaks`."""
    refuse(leaks(examples, questions), len(questions))


def leaks(examples: Iterable[Example], questions: Sequence[Question]) -> list[Hit]:
    """The examples that give an exam question away by their words, each pair once.

    The examples are looked at one by one, so they may be more than memory holds; the exam's wordings are indexed.

    What counts is the question's wording, in any turn, a rejected ending's too; answers may be the same, for that is
    what is taught. After `normal`, which also makes traditional characters simplified, a question leaks into a message
    when
    - a sentence of the message, or all of it, equals the question;
    - they are near duplicates: Jaccard of character 5-grams ≥ 0.8;
    - the question has at least 8 units (words; Han characters) and a run of 80 % of them stands in the message,
      or a run of half of them that is as long as 13 words. 13 words alone, the usual rule for benchmarks, would
      miss nearly all questions, which are shorter; a smaller number would refuse honest paraphrases;
    - a learned question of at least 8 units stands whole in it and is at least half of it.
    A question of which the words are not quite the same asks another thing when it is answered otherwise, or when it is
    of one form with it (`forms.py`): of what is made from a table, most is the same.

    Besides, an answer that is to be learned may not say a question's evidence, that is such a run of it with a gold
    answer, unless example and question name the same `fact`: teaching a fact in some wordings and asking it in others
    is what facts are named for; a fact that only the exam knows has to stay in the documents.
    """
    hits: list[tuple[Hit, str]] = []
    forms = Forms([question.text for question in questions])
    for question in questions:
        forms.show(question.text, question.answers)
    exam = _Exam([question.text for question in questions])
    proofs = _Exam([question.evidence if question.answers else "" for question in questions])
    for example in examples if questions else ():
        for message in example.turns:
            asks = message.role == "user"
            found = list(exam.given_away(message.content, asks))
            if asks:
                forms.show(message.content, example.replies)
                found = [one for one in found if one[1] == _SAME_WORDS or not _asks_another(example, questions[one[0]])]
            if message.role == "assistant" and message.learned:
                found += [
                    (index, f"it teaches the evidence: {why}")
                    for index, why in proofs.quoted(message.content)
                    if not _same_fact(example, questions[index]) and _says_gold(message.content, questions[index])
                ]
            asked = message.content if asks else ""
            hits += [(Hit(questions[index], example, why), "" if why == _SAME_WORDS else asked) for index, why in found]
    seen: dict[tuple[str, str], Hit] = {}
    for hit, asked in hits:
        if not asked or not forms.other_things(asked, hit.question.text):
            seen.setdefault((hit.question.id, hit.example.id), hit)
    return list(seen.values())


def refuse(hits: Sequence[Hit], asked: int) -> None:
    """A `Fixable` that lists the hits that are sure, each with its two places; nothing when there are none."""
    hits = [hit for hit in hits if hit.sure]
    if not hits:
        return
    shown = [str(hit) for hit in hits[:_MOST_SHOWN]]
    more = [f"… and {len(hits) - len(shown)} more"] if len(hits) > len(shown) else []
    leaked = len({hit.question.id for hit in hits})
    raise Fixable(
        "\n  ".join([f"{leaked} of {asked} exam questions stand in the lessons:", *shown, *more]),
        "word each pair differently, or put both rows on one side (column 'use': learn or exam); where a lesson is "
        "meant to teach what the exam asks, give both rows the same 'fact'",
        hits[0].question.place,
    )


def _same_fact(example: Example, question: Question) -> bool:
    return bool(question.fact) and example.fact == question.fact


def _asks_another(example: Example, question: Question) -> bool:
    """Whether all that is said in it is another answer than the question's."""
    if any(_says_gold(message.content, question) for message in example.turns):
        return False
    return other_answers(example.replies, question.answers)


def _says_gold(text: str, question: Question) -> bool:
    said = f" {' '.join(units(text))} "
    return any(f" {' '.join(units(answer))} " in said for answer in question.answers)


@dataclass(frozen=True, slots=True)
class Hit:
    """An exam question and the example that gives it away. Not `sure`: a person has to look. `score` as in `why`."""

    question: Question
    example: Example
    why: str
    sure: bool = True
    score: float = 1.0

    def __str__(self) -> str:
        where = self.question.place or self.question.id, self.example.place or self.example.id
        return f"{where[0]} “{self.question.text}” and {where[1]}: {self.why}"


def sentences_asked(text: str) -> list[str]:
    """The sentences of a text that end in a question mark."""
    return [asked[0].strip() for asked in _ASKED.finditer(text)]


def near_duplicates(
    texts: Sequence[str], similar: float = SIMILAR, counts: Callable[[int, int], bool] = lambda i, j: True
) -> list[tuple[int, int, float]]:
    """All pairs (i, j, Jaccard), i < j, of texts whose character 5-grams overlap by at least `similar`.

    `counts`: whether a pair is looked at. Where many texts are near each other, that decides how long it takes.
    Candidates come from MinHash-LSH (rensa; 128 permutations in 32 bands, fixed seed), each verified exactly, so the
    result has no false pairs, is the same on every run, and for `similar` ≥ 0.5 misses less than one pair in 100.
    """
    grams = [_grams(normal(text)) for text in texts]
    index = _lsh(similar)
    sketches = []
    for key, gram in enumerate(grams):
        sketches.append(_sketch(gram))
        index.insert(key, sketches[-1])
    pairs = []
    for i, sketch in enumerate(sketches):
        for j in sorted(set(index.query(sketch))):
            if i < j and grams[i] and grams[j] and counts(i, j):
                jaccard = len(grams[i] & grams[j]) / len(grams[i] | grams[j])
                if jaccard >= similar:
                    pairs.append((i, j, jaccard))
    return pairs


def _lsh(similar: float) -> Any:
    from rensa import RMinHashLSH

    return RMinHashLSH(threshold=similar, num_perm=_BANDS * _ROWS, num_bands=_BANDS)


def _sketch(grams: set[str]) -> Any:
    from rensa import RMinHash

    sketch = RMinHash(num_perm=_BANDS * _ROWS, seed=1)
    sketch.update(sorted(grams))
    return sketch


class _Exam:
    """The exam's wordings, indexed for the ways in which a message can give one of them away."""

    def __init__(self, wordings: Sequence[str]) -> None:
        self._units = [units(text) for text in wordings]
        self._equal: dict[str, list[int]] = defaultdict(list)
        self._runs: dict[int, dict[tuple[str, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
        self._starts: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        self._grams = [_grams(joined(words)) for words in self._units]
        self._sketches = _lsh(SIMILAR)
        for index, words in enumerate(self._units):
            self._equal[joined(words)].append(index)
            self._sketches.insert(index, _sketch(self._grams[index]))
            for at in range(len(words) - FEWEST_UNITS + 1):
                self._starts[tuple(words[at : at + FEWEST_UNITS])].append((index, at))
            run = _run_length(words) if words else 0
            for at in range(len(words) - run + 1 if len(words) >= FEWEST_UNITS else 0):
                self._runs[run][tuple(words[at : at + run])].append(index)
        sizes = [len(grams) for grams in self._grams] or [0]
        self._fewest, self._most = SIMILAR * min(sizes), max(sizes) / SIMILAR  # Jaccard is at most the sizes' ratio
        self.given_away = lru_cache(_REMEMBERED)(self._given_away)  # a system prompt stands in every row

    def _given_away(self, text: str, asks: bool) -> tuple[tuple[int, str], ...]:
        """(index of the question, why) for each question that a message gives away; the plainest reason first."""
        words = units(text)
        return tuple(
            (index, why)
            for way in (self._same(text), self._run(words), self._whole(words) if asks else (), self._near(words))
            for index, why in way
        )

    def quoted(self, text: str) -> Iterator[tuple[int, str]]:
        """(index of the wording, why) for each of which a message holds the greatest part in a row."""
        yield from self._run(units(text))

    def _same(self, text: str) -> Iterator[tuple[int, str]]:
        for wording in sorted({normal(part) for part in (text, *_SENTENCE_END.split(text))} - {""}):
            yield from ((index, _SAME_WORDS) for index in self._equal.get(wording, ()))

    def _run(self, words: Sequence[str]) -> Iterator[tuple[int, str]]:
        for run, grams in self._runs.items():
            for at in range(len(words) - run + 1):
                gram = tuple(words[at : at + run])
                yield from ((index, f"both say “{joined(gram)}”") for index in grams.get(gram, ()))

    def _whole(self, words: Sequence[str]) -> Iterator[tuple[int, str]]:
        for index, at in self._starts.get(tuple(words[:FEWEST_UNITS]), ()):
            asked = self._units[index]
            if list(words) == asked[at : at + len(words)] and len(words) >= LONG_RUN_SHARE * len(asked):
                yield index, f"it asks all of “{joined(words)}”"

    def _near(self, words: Sequence[str]) -> Iterator[tuple[int, str]]:
        grams = _grams(joined(words))
        if not grams or not self._fewest <= len(grams) <= self._most:
            return
        for index in sorted(set(self._sketches.query(_sketch(grams)))):
            other = self._grams[index]
            jaccard = len(grams & other) / len(grams | other)
            if jaccard >= SIMILAR:
                yield index, f"nearly the same words (Jaccard {jaccard:.2f})"


def _run_length(words: Sequence[str]) -> int:
    """How many units in a row give this question away."""
    share = math.ceil(RUN_SHARE * len(words))
    length_words = sum(0.5 if is_han(word) else 1.0 for word in words)
    long = max(math.ceil(LONG_RUN_SHARE * len(words)), math.ceil(LONG_RUN * len(words) / length_words))
    return min(share, long)


def _grams(text: str) -> set[str]:
    return {text[at : at + GRAM] for at in range(max(1, len(text) - GRAM + 1))} if text else set()
