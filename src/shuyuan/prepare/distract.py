"""Wrong answers that look right, for multiple choice, and swapped names, for questions that have no answer."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from shuyuan.base.files import fingerprint
from shuyuan.base.records import Passage
from shuyuan.prepare.gates import gives_away, weight
from shuyuan.prepare.leak import normal, units
from shuyuan.prepare.making import Item
from shuyuan.prepare.wording import asked

CHOICES = 4
_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?")
_HELD = 0.6  # of a stem's words beside a name in one passage: the passage may say something about it


def with_choices(items: Sequence[Item]) -> list[Item]:
    """The multiple-choice twins of the items for which the documents hold three wrong answers of the same sort.

    Of the same sort: a number with the same unit and size, a date of the same form, a name of the same script and
    length; for tables another entry of the same column. No choice is another's wording or part of it, none stands in
    the evidence. The right one stands equally often at each place.
    """
    pools: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for item in items:
        if not item.kind:
            pools[_sort(item)].setdefault(normal(item.answers[0]), item.answers[0])
    twins: list[Item] = []
    for item in items:
        if item.kind:
            continue
        wrong = _wrong(item, list(pools[_sort(item)].values()))
        if len(wrong) < CHOICES - 1:
            continue
        choices = wrong[: CHOICES - 1]
        choices.insert(len(twins) % CHOICES, item.answers[0])
        if not _stands_out(item, choices):
            twins.append(replace(item, kind="choice", choices=tuple(choices)))
    return twins


def _sort(item: Item) -> tuple[str, ...]:
    if item.made == "table":
        return ("table", item.document.source, item.attribute)
    if item.span is None:
        return ("other", item.fact)
    answer = item.answers[0]
    shape = re.sub(r"[A-Za-z]+", "a", re.sub(r"\d+", "0", answer))
    if item.span.kind == "number":
        return ("number", item.span.unit, str(len(answer.split(".")[0])), str("." in answer), item.language)
    if item.span.kind == "date":
        return ("date", shape, item.language)
    return (item.span.kind, "han" if weight(answer) > len(answer) else "latin", str("-" in answer), item.language)


def _wrong(item: Item, pool: Sequence[str]) -> list[str]:
    """Wrong answers, in an order that is drawn for each question but always the same."""
    right = normal(item.answers[0])
    evidence = f" {' '.join(units(item.evidence))} "
    ordered = sorted(pool, key=lambda word: hashlib.sha256(f"{item.text}\0{word}".encode()).digest())
    found: list[str] = []
    for word in ordered:
        plain = normal(word)
        alike = any(plain in other or other in plain for other in (right, *map(normal, found)))
        size = weight(word)
        if alike or f" {' '.join(units(word))} " in evidence or not 0.4 <= size / weight(item.answers[0]) <= 2.5:
            continue
        found.append(word)
    return found


def _stands_out(item: Item, choices: Sequence[str]) -> bool:
    """Whether the right choice can be told without the documents: the only number, or a word of the question."""
    right, *others = [item.answers[0], *(choice for choice in choices if choice != item.answers[0])]
    if all(bool(_NUMBER.search(right)) != bool(_NUMBER.search(other)) for other in others):
        return True
    asks = set(units(item.text))
    shared = [len(asks & set(units(choice))) for choice in (right, *others)]
    return shared[0] > max(shared[1:])


def swapped(items: Sequence[Item], passages: Sequence[Passage]) -> Iterator[Item]:
    """Questions without an answer: about a thing from elsewhere in the documents, of which they do not say this.

    In a table question the row is replaced by one of a table without that column; in a cloze a marked name by another.
    No passage may hold the new name beside the column's name, or beside most of the sentence's other words.
    """
    texts = [f" {' '.join(units(passage.searchable))} " for passage in passages]
    rows = [item for item in items if item.made == "table" and not item.kind]
    columns: dict[str, set[str]] = defaultdict(set)
    for item in rows:
        columns[normal(item.subject)].add(normal(item.attribute))
    for item in rows:
        others = sorted({o.subject for o in rows if o.language == item.language and o.subject != item.subject})
        others.sort(key=lambda name: hashlib.sha256(f"{item.text}\0{name}".encode()).digest())
        for name in others:
            told = _beside(name, units(item.attribute), texts)
            if normal(item.attribute) in columns[normal(name)] or told or normal(name) in normal(item.attribute):
                continue
            words = {"subject": name, "attribute": item.attribute, "place": _title(item)}
            text = asked("none", item.language, **words)
            if not gives_away(text, (name,)) or name == item.subject:
                continue
            yield replace(
                item, kind="unanswerable", text=text, answers=(), fact=f"none-{fingerprint(text)}", stem="", evidence=""
            )
            break


def _title(item: Item) -> str:
    return item.document.title


def _beside(name: str, words: Sequence[str], texts: Sequence[str]) -> bool:
    """Whether any passage holds the name and most of the words."""
    whole = f" {' '.join(units(name))} "
    needed = _HELD * len(set(words))
    return any(whole in text and sum(f" {word} " in text for word in set(words)) >= needed for text in texts)
