"""What a made question has to pass before a person sees it; every refusal has a counted reason."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from shuyuan.base.records import Kept, Passage
from shuyuan.prepare.blocks import plain
from shuyuan.prepare.making import LONGEST_ANSWER, Item
from shuyuan.prepare.normal import normal, units
from shuyuan.read.language import language

LONGEST = 300  # characters of a question
FEWEST, MOST = 8, 60  # units of a sentence that a blank is made in
COMMON = 0.05  # of the passages: an answer that stands in more of them is a common word
FEW_PASSAGES = 3  # that many may always hold the answer, however few passages there are
FOUND_IN = 10  # places of a search by words
Finds = Callable[[str, int], Sequence[str]]  # (words, how many) → ids of the passages found, best first

_LEANS = {
    "en": re.compile(
        r"(?:it|its|this|that|these|those|they|their|he|his|she|her|there|here|then|so|but|and|or|also|however|"
        r"otherwise|such|both|neither|either|one|another|each|what|which|where|who|all of|"
        r"the (?:former|latter|same|other|first|second))\b",
        re.IGNORECASE,
    ),
    "zh": re.compile(
        r"(?:它|这|那|其|该|此|他|她|两者|二者|后者|前者|因此|所以|但|然而|不过|否则|于是|而|也|并|同样|另外|此外|例如|比如|"
        r"如上|如下|上述|以下|下面|下列|然后|接着|随后|再|就|还|有的|另|前一|后一|上一|下一|反过来)"
    ),
}
_POINTS_BELOW = re.compile(r"[:：]$|\bfollowing\b|\binstead\b(?! of)|\b(?:above|below)\b|如下|下面|上面|上表|下表|见下")
_PAIRS = ("()", "（）", "[]", "“”", "「」", "《》", "『』", "{}")
_CODE = re.compile(r"https?://|[{}<>\\$=]{2,}|^\W*\$ |\|")
_LEFT_OVER = re.compile(r"\*\*|``|\*$|\* ")
_WORDY = re.compile(r"\w")


def gated(
    items: Sequence[Item], passages: Sequence[Passage], finds: Finds, known: Sequence[str] = ()
) -> tuple[list[Item], Kept]:
    """The items that pass every gate, in their order, and how many fell at which.

    `finds` searches the passages by words; `known` are questions that there are already. A gate that cannot tell
    refuses. In order: form (length, one language, whole brackets), answer (short, a span of its document, not given
    away by the question), standing alone (no “it”, no “following”), one source (no other sentence says the same),
    not a common word, found (a search for the question's words brings its own passage), and no second of its kind.
    """
    corpus = _Corpus(passages)
    titles = Counter(normal(item.answers[0]) for item in items if item.made == "heading")
    there = {normal(text) for text in known}
    kept: list[Item] = []
    dropped = Counter[str]()
    for item in items:
        why = refused(item) or corpus.refused(item, finds)
        if not why and item.made == "heading" and titles[normal(item.answers[0])] > 1:
            why = "another section has this name"
        words = normal(item.text)
        if not why and words in there:
            why = "asked already"
        if why:
            dropped[why] += 1
            continue
        there.add(words)
        kept.append(item)
    return kept, Kept(len(items), len(kept), dict(dropped), "made questions")


def refused(item: Item) -> str:
    """Why an item cannot be a question, by itself and its document, or nothing when it can."""
    answer, raw = item.answers[0], item.evidence
    if len(item.text) > LONGEST:
        return "too long"
    if item.language == "en" and language_of_words(item.text + answer) != "en":
        return "two languages in one question"
    if not _WORDY.search(answer) or weight(answer) > (LONGEST_ANSWER if item.made != "heading" else 2 * LONGEST_ANSWER):
        return "the answer is too long or empty"
    if re.search(r"[。！？；]|[.!?;] ", answer) or not _whole(answer):
        return "the answer is a piece of a sentence"
    if plain(item.document.text[item.start : item.end]) != answer:
        return "the answer is not a span of its document"
    if gives_away(item.text, item.answers) and item.kind != "two-passage":
        return "the question holds its answer"
    if not _whole(raw) or _CODE.search(raw.strip("|").replace("|", "") if item.made == "table" else raw):
        return "not a plain sentence"
    if item.made in ("cloze", "definition"):
        return _not_alone(item)
    if item.made == "heading" and _not_alone(item):
        return "leans on another sentence"
    return ""


def _not_alone(item: Item) -> str:
    raw = plain(item.evidence)
    size = len(units(raw))
    if not FEWEST <= size <= MOST:
        return "sentence too short or too long"
    leans = _LEANS.get(language(raw))
    if (leans and leans.match(raw)) or _POINTS_BELOW.search(raw):
        return "leans on another sentence"
    if _LEFT_OVER.search(plain(item.text)) or (raw[0].islower() and item.evidence[0] == raw[0]):
        return "not a plain sentence"  # marks that were not in pairs; the second half of a sentence
    if item.made == "cloze" and raw[-1] not in '。！？.!?”"）)':
        return "not a plain sentence"
    return ""


class _Corpus:
    """All passages' words, to see how common an answer is and whether a stem stands elsewhere too."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = {passage.id: passage for passage in passages}
        self._texts = {passage.id: f" {' '.join(units(passage.text))} " for passage in passages}
        self._by_source: dict[str, list[Passage]] = defaultdict(list)
        for passage in passages:
            self._by_source[passage.source].append(passage)

    def refused(self, item: Item, finds: Finds) -> str:
        """Why the other passages rule an item out, or nothing when they do not."""
        own = self.holders(item)
        if not own:
            return "its sentence is in no passage"
        if item.kind == "two-passage":
            return ""
        words = f" {' '.join(units(item.answers[0]))} "
        common = sum(words in text for text in self._texts.values())
        if item.made == "cloze" and common > max(FEW_PASSAGES, COMMON * len(self._texts)):
            return "the answer is a common word"
        if item.made in ("cloze", "definition", "heading") and self._twin(item):
            return "another sentence says the same"
        asked = item.text if item.made not in ("cloze", "heading") else item.stem
        if item.kind != "cross-language" and not own & set(finds(asked, FOUND_IN)):
            return "not found by its own words"
        return ""

    def holders(self, item: Item) -> set[str]:
        """The passages in which the answer's place stands."""
        return {p.id for p in self._by_source[item.document.source] if p.start <= item.start and item.end <= p.end}

    def _twin(self, item: Item) -> bool:
        """Whether the stem, or its longer part beside the blank, stands in a second place."""
        parts = [item.stem]
        if item.made == "cloze" and item.span:
            parts = [item.evidence[: item.span.start], item.evidence[item.span.end :]]
        longest = max((" ".join(units(plain(part))) for part in parts), key=len)
        places = sum(text.count(f" {longest} ") for text in self._texts.values())
        return not longest or places > len(self.holders(item))


def gives_away(text: str, answers: Sequence[str]) -> bool:
    """Whether a question's words hold one of its answers."""
    asked = f" {' '.join(units(text))} "
    return any(f" {' '.join(units(answer))} " in asked for answer in answers if units(answer))


def language_of_words(text: str) -> str:
    """The language of a question without what it quotes; `mixed` where Han stands in an English one."""
    own = re.sub(r"“[^”]*”", "", text)
    return "mixed" if re.search(r"[\u4e00-\u9fff]", text) else language(own)


def weight(text: str) -> int:
    """Length in characters, a Han character counted twice."""
    return sum(2 if "\u2e80" <= character <= "\u9fff" else 1 for character in text)


def _whole(text: str) -> bool:
    """Whether brackets, quotes and code marks are closed: a cut piece has half of a pair."""
    return all(text.count(pair[0]) == text.count(pair[1]) for pair in _PAIRS) and text.count("`") % 2 == 0
