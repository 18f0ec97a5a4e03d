"""Exam questions that stand in the lessons: found before anything is learned, and refused."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Example, Question

GRAM = 5
SIMILAR = 0.8  # Jaccard of character 5-grams
FEWEST_UNITS = 8  # shorter questions stand inside longer ones with another meaning: "什么是 LoRA" in "什么是 LoRA 的秩"
RUN_SHARE = 0.8
LONG_RUN_SHARE = 0.5
LONG_RUN = 13.0  # words, lm-eval's rule; a Han character counts as half a word
_MOST_SHOWN = 20
_BANDS = 32  # of 4 rows each: a pair at Jaccard .8 is missed once in ten million
_ROWS = 4
_UNIT = re.compile(r"[^\s\u2e80-\u9fff\uac00-\ud7af\U00020000-\U000323af]+|\S")
_SENTENCE_END = re.compile(r"[。！？!?；;\n]+|\.\s")


def check_leaks(examples: Sequence[Example], questions: Sequence[Question]) -> None:
    """Refuse lessons that give the exam away: a `Fixable` listing every hit with its two places.

    Only wording counts, in any turn of an example; answers may be the same, for that is what is taught. After
    `normal`, a question leaks into a message when
    - a sentence of the message, or all of it, equals the question;
    - they are near duplicates: Jaccard of character 5-grams ≥ 0.8;
    - the question has at least 8 units (words; Han characters) and a run of 80 % of them stands in the message,
      or a run of half of them that is as long as 13 words. 13 words alone, the usual rule for benchmarks, would
      miss nearly all questions, which are shorter; a smaller number would refuse honest paraphrases;
    - a learned question of at least 8 units stands whole in it and is at least half of it.
    """
    hits = [
        *_equal(examples, questions),
        *_runs(examples, questions),
        *_similar(examples, questions),
    ]
    seen: dict[tuple[str, str], Hit] = {}
    for hit in hits:
        seen.setdefault((hit.question.id, hit.example.id), hit)
    if not seen:
        return
    shown = [str(hit) for hit in list(seen.values())[:_MOST_SHOWN]]
    more = [f"… and {len(seen) - len(shown)} more"] if len(seen) > len(shown) else []
    leaked = len({question for question, _ in seen})
    raise Fixable(
        "\n  ".join([f"{leaked} of {len(questions)} exam questions stand in the lessons:", *shown, *more]),
        "word each pair differently, or put both rows on one side (column 'use': learn or exam)",
        next(iter(seen.values())).question.place,
    )


@dataclass(frozen=True, slots=True)
class Hit:
    """An exam question and the example that gives it away."""

    question: Question
    example: Example
    why: str

    def __str__(self) -> str:
        where = self.question.place or self.question.id, self.example.place or self.example.id
        return f"{where[0]} “{self.question.text}” and {where[1]}: {self.why}"


def normal(text: str) -> str:
    """What two spellings of one wording share: NFKC, no case, no punctuation; single spaces, none beside Han.

    `+ # % =` and other signs stay, for C++ is not C; so does a minus before a digit.
    """
    return _joined(units(text))


def units(text: str) -> list[str]:
    """The words of a text, each Han, kana or hangul character its own, without punctuation; signs as in `normal`."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return list(_UNIT.findall(_without_punctuation(text)))


def near_duplicates(texts: Sequence[str], similar: float = SIMILAR) -> list[tuple[int, int, float]]:
    """All pairs (i, j, Jaccard), i < j, of texts whose character 5-grams overlap by at least `similar`.

    Candidates come from MinHash-LSH (rensa; 128 permutations in 32 bands, fixed seed), each verified exactly, so the
    result has no false pairs, is the same on every run, and for `similar` ≥ 0.5 misses less than one pair in 100.
    """
    from rensa import RMinHash, RMinHashLSH

    grams = [_grams(normal(text)) for text in texts]
    index = RMinHashLSH(threshold=similar, num_perm=_BANDS * _ROWS, num_bands=_BANDS)
    sketches = []
    for key, gram in enumerate(grams):
        sketch = RMinHash(num_perm=_BANDS * _ROWS, seed=1)
        sketch.update(sorted(gram))
        index.insert(key, sketch)
        sketches.append(sketch)
    pairs = []
    for i, sketch in enumerate(sketches):
        for j in sorted(set(index.query(sketch))):
            if i < j and grams[i] and grams[j]:
                jaccard = len(grams[i] & grams[j]) / len(grams[i] | grams[j])
                if jaccard >= similar:
                    pairs.append((i, j, jaccard))
    return pairs


def _equal(examples: Sequence[Example], questions: Sequence[Question]) -> list[Hit]:
    asked: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        asked[normal(question.text)].append(question)
    hits = []
    for example in examples:
        wordings = {normal(part) for m in example.messages for part in (m.content, *_SENTENCE_END.split(m.content))}
        hits += [
            Hit(question, example, "the same words")
            for wording in sorted(wordings & asked.keys() - {""})
            for question in asked[wording]
        ]
    return hits


def _runs(examples: Sequence[Example], questions: Sequence[Question]) -> list[Hit]:
    """Questions of which a long run stands in a message, and questions that enclose a learned one."""
    asked = [units(question.text) for question in questions]
    said = [(example, message.role, units(message.content)) for example in examples for message in example.messages]
    hits = [
        Hit(questions[i], said[j][0], f"both say “{shared}”")
        for i, j, shared in _standing_in(
            [(words, _run_length(words)) for words in asked], [words for _, _, words in said]
        )
    ]
    whole = [(words, len(words) if role == "user" else 0) for _, role, words in said]
    for j, i, shared in _standing_in(whole, asked):
        if len(said[j][2]) >= LONG_RUN_SHARE * len(asked[i]):
            hits.append(Hit(questions[i], said[j][0], f"it asks all of “{shared}”"))
    return hits


def _standing_in(patterns: Sequence[tuple[list[str], int]], texts: Sequence[list[str]]) -> list[tuple[int, int, str]]:
    """(pattern, text, shared words) wherever a run of the stated length of a pattern stands in a text, by index.

    Patterns under `FEWEST_UNITS` and runs of no length are passed over. Each text is walked once for each run length.
    """
    wanted: dict[int, dict[tuple[str, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (words, run) in enumerate(patterns):
        if run and len(words) >= FEWEST_UNITS:
            for at in range(len(words) - run + 1):
                wanted[run][tuple(words[at : at + run])].append(index)
    found = []
    for j, words in enumerate(texts):
        for run, grams in wanted.items():
            for at in range(len(words) - run + 1):
                gram = tuple(words[at : at + run])
                found += [(i, j, _joined(gram)) for i in grams.get(gram, ())]
    return found


def _run_length(words: Sequence[str]) -> int:
    """How many units in a row give this question away."""
    share = math.ceil(RUN_SHARE * len(words))
    length_words = sum(0.5 if _is_han(word) else 1.0 for word in words)
    long = max(math.ceil(LONG_RUN_SHARE * len(words)), math.ceil(LONG_RUN * len(words) / length_words))
    return min(share, long)


def _similar(examples: Sequence[Example], questions: Sequence[Question]) -> list[Hit]:
    said: dict[str, Example] = {}
    for example in examples:
        for message in example.messages:
            said.setdefault(message.content, example)
    sources = list(said.values())
    first = len(questions)
    return [
        Hit(questions[i], sources[j - first], f"nearly the same words (Jaccard {jaccard:.2f})")
        for i, j, jaccard in near_duplicates([question.text for question in questions] + list(said))
        if i < first <= j
    ]


def _without_punctuation(text: str) -> str:
    def keep(index: int, character: str) -> bool:
        category = unicodedata.category(character)
        if character == "-":
            return text[index + 1 : index + 2].isdigit() and not text[index - 1 : index].isalnum()
        if character == ".":
            return text[index + 1 : index + 2].isdigit() and text[index - 1 : index].isdigit()
        return character in "#%" or (category[0] not in "PZC" and category != "Sk")

    return "".join(character if keep(index, character) else " " for index, character in enumerate(text))


def _joined(words: Sequence[str]) -> str:
    text = ""
    for word in words:
        text += word if not text or _is_han(word) or _is_han(text[-1]) else f" {word}"
    return text


def _is_han(word: str) -> bool:
    return "\u2e80" <= word[0] <= "\u9fff" or "\uac00" <= word[0] <= "\ud7af" or word[0] >= "\U00020000"


def _grams(text: str) -> set[str]:
    return {text[at : at + GRAM] for at in range(max(1, len(text) - GRAM + 1))} if text else set()
