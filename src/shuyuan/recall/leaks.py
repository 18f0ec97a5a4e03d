"""The whole leak check of a workspace: by words always, by meaning where the embedder is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shuyuan.base.files import fingerprint, read_json, write_json
from shuyuan.base.progress import say
from shuyuan.base.records import Example, Question
from shuyuan.base.workspace import Workspace
from shuyuan.load.catalogue import entries
from shuyuan.load.pulling import present
from shuyuan.prepare.leak import Hit, leaks, refuse
from shuyuan.prepare.meaning import alike, said
from shuyuan.prepare.translation import LABELS, Gains, Tells, Told, gains
from shuyuan.read.language import language
from shuyuan.recall.centring import reader
from shuyuan.recall.embedding import embed_passages

if TYPE_CHECKING:
    from shuyuan.load.model import Model

MOST = 20_000  # texts of the lessons that are compared by meaning
_RULES = 5  # raised when what counts as a leak by meaning changes
_FILE = "leaks.json"
_KEPT = 10_000  # pairs of texts whose translation a language model was asked about


@dataclass(frozen=True, slots=True)
class Checked:
    """What a leak check found, and how far it looked: `compared` lesson texts by meaning, `why_not` all of them."""

    hits: tuple[Hit, ...]
    questions: int
    examples: int
    compared: int
    why_not: str = ""


def refuse_leaks(workspace: Workspace, examples: Sequence[Example]) -> None:
    """Refuse lessons that give the workspace's exam away, by words or by meaning: a `Fixable` that lists every hit."""
    found = find_leaks(workspace, examples, once=True)
    refuse(found.hits, found.questions)


def find_leaks(
    workspace: Workspace, examples: Sequence[Example], questions: Sequence[Question] | None = None, once: bool = False
) -> Checked:
    """Compare lessons with exam questions: those given, or the workspace's.

    Where words alone give some away, these are all that is found. `once`: what held no leak by meaning before is not
    compared so again.
    """
    questions = workspace.material.questions() if questions is None else questions
    hits, counts = leaks(examples, questions), (len(questions), len(examples))
    if hits or not questions or not len(examples):
        return Checked(tuple(hits), *counts, 0, "leaks by words come first" if hits else "")
    embedder = workspace.choices.embedder
    if not present(embedder):
        known = embedder in entries()
        why = f"the embedder {embedder} is not here" if known else "how near is near is not known for your own embedder"
        say(f"leaks in other words were not looked for: {why}{f' (shuyuan pull {embedder})' if known else ''}")
        return Checked((), *counts, 0, why)
    lessons, left_out = said(examples, MOST)
    why = f"{left_out:,} further texts were compared by words only" if left_out else ""
    facts = [one.example.fact for one in lessons], [question.fact for question in questions]
    answers = [one.example.replies for one in lessons], [question.answers for question in questions]
    texts = [one.text for one in lessons], [question.text for question in questions]
    file = workspace.folder / "cache" / _FILE
    translators = [name for name, entry in entries().items() if entry.translates]
    second = next(filter(present, translators), "")
    if not second and {language(text) for of in texts for text in of} >= LABELS.keys():
        alone = f"translations were told by the embedder alone, which finds fewer: shuyuan pull {translators[0]}"
        say(alone)
        why = "; ".join(filter(None, (why, alone)))
    looked_at = fingerprint(_RULES, embedder, second, texts, facts, answers)
    kept = read_json(file) if file.exists() else {}
    if not (once and kept.get("clean") == looked_at):
        from shuyuan.load.embedder import open_embedder

        opened, gained = open_embedder(embedder), dict[str, float](kept.get("gains", {}))
        learned, asked = (embed_passages(opened, of, file.parent) for of in texts)
        gain = remembering(second, gained) if second else None
        hits = alike(lessons, learned, questions, asked, reader(opened), gains=gain)
        clean = kept.get("clean") if any(hit.sure for hit in hits) else looked_at
        write_json(file, {"clean": clean, "gains": dict(list(gained.items())[-_KEPT:])})
    return Checked(tuple(hits), *counts, len(lessons), why)


def remembering(name: str, known: dict[str, float]) -> Gains:
    """What a language model gains by each pair, put into `known` under a hash, and not asked again where it stands."""
    tells = teller(name)

    def gain(pairs: Sequence[tuple[str, str]]) -> list[float]:
        keys = [fingerprint(_RULES, name, pair) for pair in pairs]
        new = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
        known.update(zip(new, gains(list(new.values()), tells) if new else (), strict=True))
        return [known[key] for key in keys]

    return gain


def teller(name: str) -> Tells:
    """What a language model makes of a text after another; the model is opened when it is asked for the first time."""
    opened: list[Model] = []

    def tell(texts: Sequence[tuple[str, str]]) -> list[Told]:
        from shuyuan.load.model import open_model
        from shuyuan.load.telling import told

        if not opened:
            say(f"{name} reads again what is near between two languages")
            opened.append(open_model(name))
        return told(opened[0], texts)

    return tell
