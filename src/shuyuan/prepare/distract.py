"""Wrong answers that look right, for multiple choice, and swapped names, for questions that have no answer."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from shuyuan.base.files import fingerprint
from shuyuan.base.records import Document, Passage
from shuyuan.prepare.blocks import blocks, table_rows
from shuyuan.prepare.gates import weight
from shuyuan.prepare.making import Item
from shuyuan.prepare.normal import normal, units
from shuyuan.prepare.spans import spans
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
    if item.span.kind == "number":
        whole, _, decimals = answer.partition(".")
        return ("number", item.span.unit, str(len(whole)), str(len(decimals)), item.language)
    if item.span.kind == "date":
        return ("date", re.sub(r"[A-Za-z]+", "a", re.sub(r"\d+", "0", answer)), item.language)
    return (item.span.kind, *map(str, _form(answer)), item.language)


def _wrong(item: Item, pool: Sequence[str]) -> list[str]:
    """Wrong answers, in an order that is drawn for each question but always the same."""
    right = normal(item.answers[0])
    evidence = f" {' '.join(units(item.evidence))} "
    found: list[str] = []
    for word in _shuffled(set(pool), item):
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
    """Questions without an answer: about another thing of the same sort, of which the documents do not say this.

    In a table question the row is replaced by one of another table that names its rows alike (both list packages) and
    lacks the column; in a cloze a marked name by another of the same form from the same document. No passage may hold
    the new name beside the column's name, or beside most of the sentence's other words.
    """
    texts = [f" {' '.join(units(passage.searchable))} " for passage in passages]
    given: set[str] = set()  # each thing is asked about once
    rows = [item for item in items if item.made == "table" and not item.kind]
    columns = _columns({item.document.source: item.document for item in rows}.values())
    for item in rows:
        alike = {o.subject for o in rows if (o.language, normal(o.head)) == (item.language, normal(item.head))}
        for name in _shuffled(alike - {item.subject}, item):
            unknown = normal(item.attribute) not in columns[normal(name)] and name not in given
            if unknown and not _beside(name, units(item.attribute), texts):
                given.add(name)
                words = {"subject": name, "attribute": item.attribute}
                yield _unanswerable(item, asked("none", item.language, **words))
                break
    names = [(item, span) for item in items if item.made == "cloze" for span in spans(item.evidence)]
    marked = [(item, span.text) for item, span in names if span.kind in ("term", "name") and span != item.span]
    for item, old in marked:
        if not any(_form(old)[:3]) and not (_form(old)[3] and old[:1].isupper()) and weight(old) == len(old):
            continue  # a plain word: what it stands for cannot be told from its form
        alike = {new for other, new in marked if other.document is item.document and _form(new) == _form(old)}
        for name in _shuffled(alike - {old}, item):
            rest = [word for word in units(item.stem) if word not in units(old)]
            fits = item.text.count(old) == 1 and name not in item.text and name not in given
            if fits and not _beside(name, rest, texts):
                given.add(name)
                yield _unanswerable(item, item.text.replace(old, name))
                break


def _columns(documents: Iterable[Document]) -> dict[str, set[str]]:
    """For the name of each row, the columns of every table in which it stands."""
    columns: dict[str, set[str]] = defaultdict(set)
    for document in documents:
        for block in blocks(document):
            if block.kind == "table":
                head, *rows = table_rows(document, block) or [[]]
                for row in rows:
                    columns[normal(row[0])].update(map(normal, head))
    return columns


def _unanswerable(item: Item, text: str) -> Item:
    return replace(
        item, kind="unanswerable", text=text, answers=(), fact=f"none-{fingerprint(text)}", stem="", evidence=""
    )


def _shuffled(words: set[str], item: Item) -> list[str]:
    return sorted(words, key=lambda word: hashlib.sha256(f"{item.text}\0{word}".encode()).digest())


def _form(name: str) -> tuple[object, ...]:
    """What two names must share to stand for one another: flags for flags, files for files, Han for Han."""
    return (name[:2] == "--", "." in name, "/" in name, " " in name, name[:1].isupper(), weight(name) > len(name))


def _beside(name: str, words: Sequence[str], texts: Sequence[str]) -> bool:
    """Whether any passage holds the name and most of the words."""
    whole = f" {' '.join(units(name))} "
    needed = _HELD * len(set(words))
    return any(whole in text and sum(f" {word} " in text for word in set(words)) >= needed for text in texts)
