"""Which sentences of the passages support an answer? Exact character spans, found by the answer's own words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from shuyuan.base.records import Citation, Passage
from shuyuan.measure.text import contains, norm_v1, tokens
from shuyuan.prepare.normal import WRITTEN_NUMBERS
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
_NAME = re.compile(  # qwen2.5-0.5b, bf16, but not 129th
    r"\b(?=[a-z.-]*\d)(?=[\d.-]*[a-z])(?!\d+(?:st|nd|rd|th)\b)[a-z\d]+(?:[.-][a-z\d]+)*", re.ASCII
)
_NUMBER = re.compile(r"\d+(?:\.\d+)*(?:e[+-]?\d+)?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Support:
    """What speaks for an answer. `share`: of the answer's key terms, those that the cited sentences hold, 0 to 1.

    `unsupported` holds start and end of the answer's own sentences that the passages do not hold.
    """

    share: float
    citations: tuple[Citation, ...]
    unsupported: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence of a passage as a citation, with what it holds. `rank` is its passage's."""

    citation: Citation
    tokens: tuple[str, ...]
    terms: frozenset[str]
    rank: int


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
    digits = {WRITTEN_NUMBERS[term] for term in found if term in WRITTEN_NUMBERS}
    return frozenset(pairs | words | digits) or frozenset(found)


def support(question: str, answer: str, passages: Sequence[Passage], least: float = 0.5) -> Support:
    """The sentences of the passages that hold what `answer` adds to `question`, for each sentence of the answer.

    A sentence that holds the whole of it word for word counts fully; others by the key terms they share with it. Of
    equal ones, the one nearer to the question is cited, then the one in the better passage. There is no support from a
    passage that lacks a name with digits which the question asks about (`qwen2.5-0.5b`), nor for a sentence with a
    number that the cited passages lack. A sentence of which less than the share `least` is held is unsupported; one
    that only repeats the question neither has support nor lacks it, unless it is all there is.
    """
    names = _NAME.findall(_plain(question))
    passages = [passage for passage in passages if all(name in _plain(passage.searchable) for name in names)]
    held = [
        _Sentence(_citation(passage, start, end), tokens(text := passage.text[start:end]), key_terms(text), rank)
        for rank, passage in enumerate(passages)
        for start, end in sentences(passage.text)
    ]
    asked = key_terms(question)
    cited: dict[Citation, list[Span]] = {}
    unsupported: list[Span] = []
    covered = wanted = 0
    for start, end in sentences(answer):
        said = answer[start:end]
        terms_wanted = _wanted(question, said, passages)
        terms_covered, proof = _proof(said, terms_wanted, asked, held)
        if not _numbers(said) <= _numbers("\n".join([question, *_texts(proof, passages)])):
            terms_covered, proof = frozenset(), []
        covered, wanted = covered + len(terms_covered), wanted + len(terms_wanted)
        if proof and len(terms_covered) >= least * len(terms_wanted):
            for citation in proof:
                cited.setdefault(citation, []).append((start, end))
        elif terms_wanted:
            unsupported.append((start, end))
    if not cited:
        return Support(0.0, (), tuple(sentences(answer)))
    citations = tuple(replace(citation, supports=tuple(spans)) for citation, spans in cited.items())
    return Support(covered / wanted, citations, tuple(unsupported))


def _proof(
    said: str, wanted: frozenset[str], asked: frozenset[str], held: Sequence[_Sentence]
) -> tuple[frozenset[str], list[Citation]]:
    """What the best sentences hold of `wanted`, and those sentences: at most `_MOST`, each adding something."""
    whole = tokens(said)
    found = [(wanted if contains(one.tokens, whole) else wanted & one.terms, one) for one in held]
    found.sort(key=lambda pair: (-len(pair[0]), -len(asked & pair[1].terms), pair[1].rank, pair[1].citation.start))
    cited: list[Citation] = []
    covered: frozenset[str] = frozenset()
    for covers, one in found:
        if len(covers - covered) >= max(1.0, _WORTH * len(wanted)) and len(cited) < _MOST:
            cited.append(one.citation)
            covered |= covers
    return covered, cited


def _texts(cited: Sequence[Citation], passages: Sequence[Passage]) -> list[str]:
    ids = {citation.passage_id for citation in cited}
    return [passage.searchable for passage in passages if passage.id in ids]


def _wanted(question: str, answer: str, passages: Sequence[Passage]) -> frozenset[str]:
    """The key terms that the passages must hold for the answer to stand.

    They are what the answer adds to the question; all of it when it only picks a part of the question (this or that?),
    and nothing when it just repeats the question. A bare yes or no is held against the question's own terms. Of an
    answer in another language than the passages, only what is not translated counts: codes, numbers, Latin names, and
    what any passage holds as it is (a command, a column).
    """
    asked, said, spoken = key_terms(question), key_terms(answer), language(answer)
    if norm_v1(answer) in _BARE:
        return asked
    if all(language(passage.text) != spoken for passage in passages):
        kept = key_terms(" ".join((_CODE if spoken == "en" else _LATIN).findall(answer)))
        said &= kept.union(*(key_terms(passage.searchable) for passage in passages))
    picks = len(said) <= len(asked) / 2
    return said - asked or (said if picks else frozenset())


def _numbers(text: str) -> set[str]:
    written = {WRITTEN_NUMBERS[term] for term in terms(text) if term in WRITTEN_NUMBERS}
    return written.union(_NUMBER.findall(_THOUSANDS.sub("", _plain(text))))


def _plain(text: str) -> str:
    return normal(text).casefold()


def _citation(passage: Passage, start: int, end: int) -> Citation:
    at = passage.start
    return Citation(passage.source, at + start, at + end, passage.text[start:end], passage.page, passage.id)
