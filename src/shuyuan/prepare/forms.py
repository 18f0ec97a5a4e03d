"""Questions of one form: what is made from a table says the same each time, but for what stands in one place.

“Which department is … in?” is asked of eighty people and answered in four ways. Two such questions are nearly one by
their words, by their meaning and often by their answer, and still each asks of somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from shuyuan.prepare.normal import WRITTEN_NUMBERS, is_han, units

SHARE = 0.6  # of a question's words, at least, that its form has
LONGEST = 6  # words or Han characters in the place that differs …
MOST_WORDS = 64  # … of a question of at most so many
FEWEST = 5  # things that stood in the place, before it is a form at all
_ANSWERS = 1 << 16  # that are remembered, too
_HAN_NUMERALS = frozenset("〇零一二三四五六七八九十百千万亿两")


def other_answers(replies: Sequence[str], answers: Sequence[str]) -> bool:
    """Whether none of the replies is one of the answers in other words, as far as can be seen; False without either.

    They are different when both hold numbers and none in common; or else, in one script, when neither holds all words
    of the other and less than half of their words are the same.
    """
    return bool(replies and answers) and all(_differ(_told(a), _told(b)) for a in replies for b in answers)


@dataclass(frozen=True, slots=True)
class _Told:
    """What an answer is told from others by."""

    words: frozenset[str]
    numbers: frozenset[str]
    han: bool


def _differ(one: _Told, other: _Told) -> bool:
    if one.numbers and other.numbers:
        return not one.numbers & other.numbers
    if one.han != other.han or one.words <= other.words or other.words <= one.words:
        return False
    return 2 * len(one.words & other.words) < len(one.words | other.words)


@lru_cache(_ANSWERS)
def _told(text: str) -> _Told:
    words = units(text)
    numbers = {word for word in words if any(letter.isdigit() for letter in word)}
    for at, word in enumerate(words):
        beside = {*words[max(0, at - 1) : at], *words[at + 1 : at + 2]}
        if word in WRITTEN_NUMBERS and not (word in _HAN_NUMERALS and beside & _HAN_NUMERALS):  # 三十 is neither
            numbers.add(WRITTEN_NUMBERS[word])
    return _Told(frozenset(words), frozenset(numbers), any(is_han(word) for word in words))


class _Form:
    """How many things stood in the place, up to `FEWEST`, and whether two were certainly answered differently.

    Of things no more is kept than a hash, for there is one of these for every place in every question.
    """

    __slots__ = "answers", "fillers", "tells"

    def __init__(self) -> None:
        self.fillers: tuple[int, ...] = ()
        self.answers: Sequence[str] = ()
        self.tells = False

    def add(self, filler: frozenset[str], answers: Sequence[str]) -> None:
        if len(self.fillers) < FEWEST and hash(filler) not in self.fillers:
            self.fillers += (hash(filler),)
        self.tells = self.tells or other_answers(answers, self.answers)
        self.answers = self.answers or answers


class Forms:
    """The forms of some questions, told from their answers and those of the other ones that are shown to it."""

    def __init__(self, questions: Iterable[str]) -> None:
        self._forms = {form: _Form() for question in questions for form, _ in _forms(question)}

    def show(self, question: str, answers: Sequence[str]) -> None:
        """A question and how it is answered."""
        for form, filler in _forms(question):
            if form in self._forms:
                self._forms[form].add(filler, answers)

    def other_things(self, one: str, other: str) -> bool:
        """Whether two questions have one form and something else in its place; the second is one of those at first.

        Something else is not the same with a word more: the rank, the rank of LoRA.
        """
        there = dict(_forms(other))
        return any(
            form in there and self._tells(form) and not (filler <= there[form] or there[form] <= filler)
            for form, filler in _forms(one)
        )

    def _tells(self, form: int) -> bool:
        known = self._forms.get(form)
        return known is not None and known.tells and len(known.fillers) >= FEWEST


def _forms(question: str) -> Iterator[tuple[int, frozenset[str]]]:
    """Every way to see a form in a question: a mark of the words around a place, and those in it."""
    words = units(question)
    longest = min(LONGEST, int((1 - SHARE) * len(words))) if len(words) <= MOST_WORDS else 0
    for start in range(len(words)):
        for end in range(start + 1, min(start + longest, len(words)) + 1):
            yield hash((start, *words[:start], *words[end:])), frozenset(words[start:end])
