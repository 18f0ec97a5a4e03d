"""Teach a model to read passages: to answer in few words, and to say nothing where they hold no answer.

`answerable.jsonl` holds questions written by hand on public documents in both languages, with the passage that answers
each. Every question is asked twice, as the route `retrieve` would have it read: with that passage among the two found,
and with none that holds the answer, which is either hidden from the search or cut out of what was found, sentence by
sentence. The answer learned is the one written with the question, or nothing. Four documents of five are learned from
(LoRA of rank 8 on every linear layer, one epoch); the fifth are read before and after, with no check of the route
behind the model. How the whole route does, on questions that nobody here wrote, is measured by `answers.py` and
`removed.py`.

    python bench/reader.py FOLDER               # teaches anew (half an hour), writes recall/readers/, measures
    python bench/reader.py FOLDER --measure     # the one that ships
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answers import Hiding, area, interval, shown_of
from corpora import public
from paired import keep, place, stamp
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

from shuyuan.base.files import read_jsonl, whole_folder, write_whole
from shuyuan.base.guards import Guards
from shuyuan.base.progress import Bar
from shuyuan.base.records import Answer, Example, Lessons, Message, Passage, Run
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.embedder import open_embedder
from shuyuan.load.model import open_model
from shuyuan.measure.text import contains, tokens
from shuyuan.measure.token_f1 import f1
from shuyuan.read.language import language
from shuyuan.recall.citing import sentences
from shuyuan.recall.ground import Ground, cleaned
from shuyuan.recall.grounded import AT_ONCE, LEAST_FOUND
from shuyuan.recall.reader import READERS, reader_of
from shuyuan.recall.searching import Library
from shuyuan.teach.lora import Lora

HERE = Path(__file__).parent
EMBEDDER = "multilingual-e5-small"
LEAST_LEFT = 40  # characters of a passage from which sentences were cut; with fewer left it is hidden instead
PARTS = 5  # of the documents, one is kept aside
LORA = Lora(rank=8, alpha=16.0, learning_rate=3e-4, epochs=1, batch=8)
BATCH = 16
MOST_TOKENS = 48


@dataclass(frozen=True)
class Read:
    """A question with two passages before it; `kind`: whole, hidden or cut. `evidence` None: not as it was found."""

    source: str
    question: str
    kind: str
    passages: Sequence[Passage]
    evidence: float | None


def main() -> None:
    """Find, teach, keep, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where packages, vectors and the teaching are kept between runs")
    parser.add_argument("--model", default="qwen2.5-0.5b")
    parser.add_argument("--measure", action="store_true", help="only measure the adapter that ships")
    given = parser.parse_args()
    libraries = public(given.folder)
    reads = [read for name in ("en", "zh") for read in found(name, libraries[name], given.folder)]
    golds = {row["question"]: row["answer"] for row in read_jsonl(HERE / "answerable.jsonl")}
    bare = ModelAssistant("bare", open_model(given.model), max_new_tokens=MOST_TOKENS)
    if not given.measure:
        teach(bare, [read for read in reads if not aside(read)], golds, given.folder / "reader" / given.model)
    new = [read for read in reads if aside(read)]
    figures = measured(bare, new, golds)
    learned = {
        "prompts": len(reads) - len(new),
        "held out": len(new),
        "settings": LORA.model_dump(exclude_defaults=True),
    }
    command = str(stamp()["command"]).replace(str(given.folder), "FOLDER")
    keep("reader", given.model, {**stamp(), "command": command, **learned, **figures}, drawn)


def found(name: str, passages: Sequence[Passage], folder: Path) -> list[Read]:
    """What would be read for each question of one library, with and without its answer."""
    rows = [row for row in read_jsonl(HERE / "answerable.jsonl") if row["library"] == name]
    by_id, words = {one.id: one for one in passages}, {one.id: tokens(one.searchable) for one in passages}
    library = Library.build(folder / "answerable" / name, passages, open_embedder(EMBEDDER), folder, store="memory")
    told = {row["question"]: frozenset(key for key, of in words.items() if _holds(of, row)) for row in rows}
    texts = [row["question"] for row in rows]
    whole, without = (of.search_all(texts, LEAST_FOUND) for of in (library, Hiding(library, told)))
    whole_shown, without_shown = shown_of(library, texts, whole), shown_of(library, texts, without)
    reads: list[Read] = []
    for number, row in enumerate(rows):
        gold, text = by_id[row["passage"]], row["question"]
        best = whole_shown[number].passages[:AT_ONCE]
        shown = best if gold in best else [gold, best[0]] if number % 3 else [best[0], gold]
        reads.append(
            Read(row["source"], text, "whole", shown, max(whole_shown[number].held[:AT_ONCE]) if gold in best else None)
        )
        cut = [_cut(passage, row) for passage in shown]
        if number % 2 and all(len(one.text) >= LEAST_LEFT and not _holds(tokens(one.searchable), row) for one in cut):
            reads.append(Read(row["source"], text, "cut", cut, None))
        else:
            missed = without_shown[number]
            reads.append(Read(row["source"], text, "hidden", missed.passages[:AT_ONCE], max(missed.held[:AT_ONCE])))
    return reads


def _holds(words: Sequence[str], row: Any) -> bool:
    return contains(words, tokens(row["answer"]))


def _cut(passage: Passage, row: Any) -> Passage:
    """The passage without the sentences that hold the answer."""
    left, at = "", 0
    for start, end in sentences(passage.text):
        if _holds(tokens(passage.text[start:end]), row):
            left, at = left + passage.text[at:start], end
    return replace(passage, text=left + passage.text[at:])


def aside(read: Read) -> bool:
    """Whether its document is one that is not learned from."""
    return int(hashlib.sha1(read.source.encode()).hexdigest(), 16) % PARTS == 0


def prompt(read: Read) -> str:
    """As the route writes it."""
    return Ground().prompt(read.question, read.passages, language(read.question))


def teach(bare: ModelAssistant, reads: Sequence[Read], golds: dict[str, str], folder: Path) -> None:
    """Learn to read, and put the adapter in its place, in bfloat16, which halves it; what is measured is this file."""
    examples = [
        Example(
            str(row),
            (Message("user", prompt(read)), Message("assistant", golds[read.question] if read.kind == "whole" else "")),
            place=read.source,
        )
        for row, read in enumerate(reads)
    ]
    run = Run("reader", folder, folder / "cache", guards=Guards(hold_out=0.0, forget_limit=0.0))
    LORA.teach(bare, Lessons(examples=examples), run)
    weights = load_file(folder / "weights" / "adapter_model.safetensors")
    with whole_folder(READERS / bare.model.name) as there:
        save_file(
            {name: weight.to(torch.bfloat16) for name, weight in weights.items()},
            there / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        config = (folder / "weights" / "adapter_config.json").read_text(encoding="utf-8")
        write_whole(there / "adapter_config.json", config)


def measured(bare: ModelAssistant, reads: Sequence[Read], golds: dict[str, str]) -> dict[str, Any]:
    """What the bare model and the reader say to the same prompts, and how well they know what is not there."""
    reader = reader_of(bare)
    assert reader is not bare, "there is no reader for this model"
    said = {name: read_by(who, reads) for name, who in (("bare", bare), ("reader", reader))}
    figures: dict[str, Any] = {name: {} for name in said}
    for name, answers in said.items():
        for tongue in ("en", "zh"):
            rows = [
                {
                    "kind": read.kind,
                    "signals": {"answerable": answer.answerable},
                    **_marks(answer, golds[read.question]),
                }
                for read, answer in zip(reads, answers, strict=True)
                if language(read.question) == tongue
            ]
            whole = [row for row in rows if row["kind"] == "whole"]
            of = {what: interval(np.array([row[what] for row in whole], float)) for what in ("right", "token F1")}
            of["n"] = len(whole)
            for kind in ("hidden", "cut") if name == "reader" else ():
                no = [row for row in rows if row["kind"] == kind]
                of[kind] = {"n": len(no), "area": area(whole, no, "answerable")}
            figures[name][tongue] = of
    told = [a.answerable or 0.0 for read, a in zip(reads, said["reader"], strict=True) if read.kind == "whole"]
    figures["answered_quantiles"] = {str(q): round(float(np.quantile(told, q)), 3) for q in (0.01, 0.02, 0.05, 0.1)}
    both = [
        (a.answerable, read.evidence, read.kind == "whole")
        for read, a in zip(reads, said["reader"], strict=True)
        if read.evidence is not None
    ]
    signs = np.array([of[:2] for of in both])
    together = LogisticRegression(C=10.0).fit(signs, [of[2] for of in both])
    figures["per_evidence"] = round(float(together.coef_[0][1] / together.coef_[0][0]), 2)
    return figures


def read_by(who: ModelAssistant, reads: Sequence[Read]) -> list[Answer]:
    """The answers to all prompts."""
    answers: list[Answer] = []
    with Bar("reading", len(reads)) as bar:
        for start in range(0, len(reads), BATCH):
            part = reads[start : start + BATCH]
            answers += who.answer([[Message("user", prompt(read))] for read in part])
            bar.advance(len(part))
    return answers


def _marks(answer: Answer, gold: str) -> dict[str, float]:
    said = tokens(cleaned(answer.text))
    return {"right": float(contains(said, tokens(gold))), "token F1": f1(said, tokens(gold))}


def drawn(record: Any) -> str:
    """The record for a reader."""
    lines = [
        "# A model that learned to read passages",
        "",
        (__doc__ or "").partition("\n\n")[2].rpartition("\n\n")[0],
        "",
    ]
    for model, of in record.items():
        lines += [
            f"## {model}",
            "",
            place(of),
            "",
            f"{of['prompts']} prompts learned from, {of['held out']} on other documents.",
            "",
        ]
        lines += [
            "| questions | read by | n | holds the right answer | token F1 | area, hidden (n) | area, cut (n) |",
            "|-|-|-|-|-|-|-|",
        ]
        for tongue in ("en", "zh"):
            for who in ("bare", "reader"):
                row = of[who][tongue]
                areas = [
                    f"{_shown(row[kind]['area'])} ({row[kind]['n']})" if kind in row else "–"
                    for kind in ("hidden", "cut")
                ]
                cells = [_shown(row["right"]), _shown(row["token F1"]), *areas]
                lines.append(f"| {tongue} | {who} | {row['n']} | {' | '.join(cells)} |")
        below = ", ".join(f"{float(q):.0%} below {value}" for q, value in of["answered_quantiles"].items())
        lines += [
            "",
            "The area under the curve is that with which the reader, by how far it is from saying nothing, tells "
            "prompts that hold an answer from those that do not.",
            "",
            f"Log-odds of what is answered, reader: {below}. One of evidence is worth {of['per_evidence']} of them.",
            "",
        ]
    return "\n".join(lines)


def _shown(of: dict[str, float]) -> str:
    return f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f})"


if __name__ == "__main__":
    main()
