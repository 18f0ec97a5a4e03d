"""Which sentences of the passages support an answer? Exact character spans, found by the answer's own words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shuyuan.base.records import Citation, Passage
from shuyuan.measure.text import contains, norm_v1, tokens
from shuyuan.read.language import language
from shuyuan.store.contract import normal
from shuyuan.store.words import terms

_BREAK = re.compile(r"(?<=[。！？])[”」』）]*\s*|(?<=[.!?])[\"')\]]*\s+|\s*\n\s*")
_MOST = 3  # sentences cited for one answer
_WORTH = 0.25  # share of the answer that a further sentence must add
_STEM = 6  # letters of an English word that are compared, without its ending: train, trains, trained, training
_ENDING = re.compile(r"(?<=...)(?:ing|ed|es|s|e)$")
_ENGLISH_STOP = """
a an and are as at be been by can do does for from had has have how if in into is it its may no not of on or so that the
their then there these this to was were what when where which who why will with yes you your
"""
_STOP = frozenset(_ENGLISH_STOP.split())
_BARE = frozenset({"yes", "no", "是", "是的", "不是", "否", "对", "不对", "可以", "不可以", "能", "不能", "会", "不会"})
_LATIN = re.compile(r"[A-Za-z0-9]\S*", re.ASCII)
_CODE = re.compile(r"\b\w*(?:\d|[A-Z]{2}|[a-z][A-Z])\w*", re.ASCII)
_NAME = re.compile(r"\b(?=[a-z.-]*\d)(?=[\d.-]*[a-z])[a-z\d]+(?:[.-][a-z\d]+)*", re.ASCII)  # qwen2.5-0.5b, bf16
_NUMBER = re.compile(r"\d+(?:\.\d+)*(?:e[+-]?\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ENGLISH_COUNTS = "two three four five six seven eight nine ten"
# From two on: "one" and "一" mostly count nothing.
_WRITTEN = {word: str(value) for value, word in enumerate(_ENGLISH_COUNTS.split(), 2)} | {
    sign: str(value) for value, sign in enumerate("二三四五六七八九十", 2)
}


@dataclass(frozen=True, slots=True)
class Support:
    """What speaks for an answer. `share`: of the answer's key terms, those that the cited sentences hold, 0 to 1."""

    share: float
    citations: tuple[Citation, ...]


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence or line of a text, without the blanks around it."""
    start = 0
    for end, following in [*(match.span() for match in _BREAK.finditer(text)), (len(text), len(text))]:
        stop = following if text[end:following].strip() else end  # closing quotes belong to the sentence
        part = text[start:stop]
        if part.strip():
            yield start + len(part) - len(part.lstrip()), start + len(part.rstrip())
        start = following


def key_terms(text: str) -> frozenset[str]:
    """The terms that carry a text's meaning: words without stop words, cut to their stem; pairs of CJK characters.

    Small numbers written out count as digits too: `five` and `五` are `5`.
    """
    found = terms(text)
    pairs = {term for term in found if len(term) == 2 and not term.isascii()}
    words = {
        _ENDING.sub("", term)[:_STEM] if term.isalpha() else term
        for term in found
        if term.isascii() and term not in _STOP
    }
    digits = {_WRITTEN[term] for term in found if term in _WRITTEN}
    return frozenset(pairs | words | digits) or frozenset(found)


def support(question: str, answer: str, passages: Sequence[Passage]) -> Support:
    """The sentences, best first, that hold what `answer` adds to `question`.

    A sentence that holds the whole answer word for word counts fully; others by the key terms they share with it. Of
    equal ones, the one nearer to the question is cited, then the one in the better passage. There is no support from a
    passage that lacks a name with digits which the question asks about (`qwen2.5-0.5b`), nor for an answer with a
    number that the cited passages lack.
    """
    names = _NAME.findall(_plain(question))
    passages = [passage for passage in passages if all(name in _plain(passage.searchable) for name in names)]
    wanted, asked = _wanted(question, answer, passages), key_terms(question)
    whole = tokens(answer)
    found = []
    for rank, passage in enumerate(passages):
        for start, end in sentences(passage.text):
            text = passage.text[start:end]
            held = key_terms(text)
            covers = wanted if contains(tokens(text), whole) else wanted & held
            found.append((len(covers), len(asked & held), -rank, -start, covers, _citation(passage, start, end)))
    found.sort(key=lambda one: one[:4], reverse=True)
    cited: list[Citation] = []
    covered: frozenset[str] = frozenset()
    for _, _, _, _, covers, citation in found:
        if len(covers - covered) >= max(1.0, _WORTH * len(wanted)) and len(cited) < _MOST:
            cited.append(citation)
            covered |= covers
    texts = [passage.searchable for passage in passages if passage.id in {one.passage_id for one in cited}]
    if not cited or not _numbers(answer) <= _numbers("\n".join([question, *texts])):
        return Support(0.0, ())
    return Support(len(covered) / len(wanted), tuple(cited))


def _wanted(question: str, answer: str, passages: Sequence[Passage]) -> frozenset[str]:
    """The key terms that the passages must hold for the answer to stand.

    They are what the answer adds to the question; all of it when it only picks a part of the question (this or that?),
    and nothing when it just repeats the question. A bare yes or no is held against the question's own terms. Of an
    answer in another language than the passages, only what is not translated counts: codes, numbers, Latin names.
    """
    asked, spoken = key_terms(question), language(answer)
    if norm_v1(answer) in _BARE:
        return asked
    if all(language(passage.text) != spoken for passage in passages):
        answer = " ".join((_CODE if spoken == "en" else _LATIN).findall(answer))
    said = key_terms(answer)
    picks = len(said) <= len(asked) / 2
    return said - asked or (said if picks else frozenset())


def _numbers(text: str) -> set[str]:
    written = {_WRITTEN[term] for term in terms(text) if term in _WRITTEN}
    return written.union(_NUMBER.findall(_THOUSANDS.sub("", _plain(text))))


def _plain(text: str) -> str:
    return normal(text).casefold()


def _citation(passage: Passage, start: int, end: int) -> Citation:
    at = passage.start
    return Citation(passage.source, at + start, at + end, passage.text[start:end], passage.page, passage.id)
