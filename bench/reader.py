"""Teach a model to read passages: to answer in few words, and to say nothing where they hold no answer.

`answerable.jsonl` holds questions on public documents in both languages, written one by one by language models that
were shown a passage: with the passage that answers each, or (traps) with one that sounds as if it did and does not. A
question is asked as the route `retrieve` would have it read: with its passage among the two found, and with none that
holds the answer, which is either hidden from the search or cut out of what was found, sentence by sentence. The answer
learned is the one written with the question, or nothing. Four documents of five are learned from (LoRA of rank 8 on
every linear layer, one epoch); the fifth are read before and after, with no check of the route behind the model. How
the whole route does, on questions that nobody here wrote, is measured by `answers.py` and `removed.py`.

    python bench/reader.py FOLDER               # teaches anew (two core-hours), writes recall/readers/, measures
    python bench/reader.py FOLDER --measure     # the one that ships
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answers import Hiding, area, drawn_from, interval, shown_of
from corpora import public
from paired import keep, place, stamp
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

from shuyuan.base.files import fingerprint, read_jsonl, whole_folder
from shuyuan.base.progress import Bar, say
from shuyuan.base.records import Answer, Example, Message, Passage
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.embedder import open_embedder
from shuyuan.load.model import open_model
from shuyuan.measure.text import contains, tokens
from shuyuan.measure.token_f1 import f1
from shuyuan.prepare.chat import Encoded, encode_example
from shuyuan.prepare.pack import Pack, Row, tokens_of
from shuyuan.read.language import language
from shuyuan.recall.citing import sentences
from shuyuan.recall.ground import Ground, cleaned
from shuyuan.recall.grounded import AT_ONCE, LEAST_FOUND
from shuyuan.recall.reader import READERS, reader_of
from shuyuan.recall.searching import Library
from shuyuan.train.adapter import WEIGHTS, adapter_weights, save_adapter, with_adapter
from shuyuan.train.laying import laid_out
from shuyuan.train.loop import Plan, fit
from shuyuan.train.peft_config import CONFIG
from shuyuan.train.supervised import Supervised

HERE = Path(__file__).parent
EMBEDDER = "multilingual-e5-small"
LEAST_LEFT = 40  # characters of a passage from which sentences were cut; with fewer left it is hidden instead
PARTS = 5  # of the documents, one is kept aside
NONE = ("hidden", "cut", "trap")  # kinds of prompts that hold no answer
RANK, SCALE, LEARNING_RATE, SEED = 8, 2.0, 3e-4, 0
GROUPS = 3  # passages a step, with all that is asked about each
LONGEST = 1024  # tokens of a prompt with its answer, and of a row
BATCH = 16
MOST_TOKENS = 48


@dataclass(frozen=True)
class Read:
    """A question with two passages before it; `kind`: whole, hidden, cut or trap. `about`: its passage.

    `answer`: what is right with that passage. `evidence` None: not as it was found.
    """

    about: Passage
    question: str
    answer: str
    kind: str
    passages: Sequence[Passage]
    evidence: float | None


def main() -> None:
    """Find, teach, keep, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where packages, vectors and the teaching are kept between runs")
    parser.add_argument("--model", default="qwen2.5-0.5b")
    parser.add_argument("--measure", action="store_true", help="only measure the adapter that ships")
    parser.add_argument("--n", type=int, default=0, help="prompts on other documents that are read (0: all)")
    given = parser.parse_args()
    libraries = public(given.folder)
    reads = [read for name in ("en", "zh") for read in found(name, libraries[name], given.folder)]
    bare = ModelAssistant("bare", open_model(given.model), max_new_tokens=MOST_TOKENS)
    if not given.measure:
        teach(bare, [read for read in reads if not aside(read.about)], given.folder / "reader" / given.model)
    new = [read for read in reads if aside(read.about)]
    learned = {"prompts": len(reads) - len(new)}
    new = drawn_from(new, given.n or len(new))
    figures = measured(bare, new)
    command = str(stamp()["command"]).replace(str(given.folder), "FOLDER")
    keep("reader", given.model, {**stamp(), "command": command, **learned, "held out": len(new), **figures}, drawn)


def found(name: str, passages: Sequence[Passage], folder: Path) -> list[Read]:
    """What would be read for each question of one library, with and without its answer.

    Of what is learned from, questions about one passage have the same two passages before them, which are computed
    once, and a trap stands for another question without its answer: there are as many of these as of the others.
    """
    rows = [row for row in read_jsonl(HERE / "answerable.jsonl") if row["library"] == name]
    by_id, words = {one.id: one for one in passages}, {one.id: tokens(one.searchable) for one in passages}
    library = Library.build(folder / "answerable" / name, passages, open_embedder(EMBEDDER), folder, store="memory")
    answered = [row for row in rows if row["answer"]]
    told = {row["question"]: frozenset(key for key, of in words.items() if _holds(of, row)) for row in answered}
    texts = [row["question"] for row in rows]
    whole, without = (of.search_all(texts, LEAST_FOUND) for of in (library, Hiding(library, told)))
    whole_shown, without_shown = shown_of(library, texts, whole), shown_of(library, texts, without)
    traps = Counter(row["passage"] for row in rows if not row["answer"])
    begun: dict[str, Sequence[Passage]] = {}
    reads: list[Read] = []
    for number, (row, seen, missed) in enumerate(zip(rows, whole_shown, without_shown, strict=True)):
        about, best = by_id[row["passage"]], seen.passages[:AT_ONCE]
        read = partial(Read, about, row["question"], row["answer"])
        shown = best if about in best else [about, best[0]] if number % 3 else [best[0], about]
        if not aside(about):
            shown = begun.setdefault(about.id, shown)
        kind = "whole" if row["answer"] else "trap"
        reads.append(read(kind, shown, max(seen.held[:AT_ONCE]) if kind == "whole" and shown == best else None))
        if kind == "trap" or (not aside(about) and traps[about.id] > 0):
            traps[about.id] -= 1
            continue
        cut = [_cut(passage, row) for passage in shown]
        if number % 2 and all(len(one.text) >= LEAST_LEFT and not _holds(tokens(one.searchable), row) for one in cut):
            reads.append(read("cut", cut, None))
        else:
            reads.append(read("hidden", missed.passages[:AT_ONCE], max(missed.held[:AT_ONCE])))
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


def aside(passage: Passage) -> bool:
    """Whether its document is one that is not learned from."""
    return int(hashlib.sha1(passage.source.encode()).hexdigest(), 16) % PARTS == 0


def prompt(read: Read) -> str:
    """As the route writes it."""
    return Ground().prompt(read.question, read.passages, language(read.question))


def teach(bare: ModelAssistant, reads: Sequence[Read], folder: Path) -> None:
    """Learn to read, and put the adapter in its place, in bfloat16, which halves it; what is measured is this file.

    A batch is all there is about a few passages, so that what several questions are asked about is computed once.
    """
    model, pack = bare.model, Pack(row_tokens=LONGEST)
    groups = defaultdict[str, list[Encoded]](list)
    for read in reads:
        right = read.answer if read.kind == "whole" else ""
        example = Example("", (Message("user", prompt(read)), Message("assistant", right)), place=read.about.source)
        groups[read.about.id].append(encode_example(example, model.tokenizer))
    whole = [[one for one in group if len(one.ids) <= LONGEST] for group in groups.values()]
    order = np.random.default_rng(SEED).permutation(len(whole))

    def batch(step: int) -> tuple[Row, ...]:
        return pack.pack(one for at in order[step * GROUPS : (step + 1) * GROUPS] for one in whole[at])

    steps = -(-len(whole) // GROUPS)
    rows = [row for step in range(steps) for row in batch(step)]
    computed = sum(len(laid_out(row).ids) for row in rows)
    left_out = len(reads) - sum(map(len, rows))
    say(f"{len(reads)} prompts about {len(whole)} passages, {left_out} of them too long; {tokens_of(rows):,} tokens,")
    say(f"of which {computed:,} are computed, in {steps} steps")
    net = with_adapter(model.net, RANK, SCALE, SEED)
    weights = adapter_weights(net)
    folder.mkdir(parents=True, exist_ok=True)
    mark = fingerprint([[one.ids for one in group] for group in whole], GROUPS, RANK, SCALE, LEARNING_RATE, SEED)
    fit(net, weights, Supervised(), Plan("reader", steps, batch, LEARNING_RATE, folder, mark, checkpoint_every=10))
    save_adapter(net, folder / "weights", model.name)
    learned = load_file(folder / "weights" / WEIGHTS)
    with whole_folder(READERS / model.name) as there:
        halved = {name: weight.to(torch.bfloat16) for name, weight in learned.items()}
        save_file(halved, there / WEIGHTS, metadata={"format": "pt"})
        shutil.copyfile(folder / "weights" / CONFIG, there / CONFIG)


def measured(bare: ModelAssistant, reads: Sequence[Read]) -> dict[str, Any]:
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
                    **_marks(answer, read.answer),
                }
                for read, answer in zip(reads, answers, strict=True)
                if language(read.question) == tongue
            ]
            whole = [row for row in rows if row["kind"] == "whole"]
            of = {what: interval(np.array([row[what] for row in whole], float)) for what in ("right", "token F1")}
            of["n"] = len(whole)
            for kind in NONE if name == "reader" else ():
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
            "| questions | read by | n | holds the right answer | token F1 | "
            + " | ".join(f"area, {kind} (n)" for kind in NONE)
            + " |",
            "|-|-|-|-|-|-|-|-|",
        ]
        for tongue in ("en", "zh"):
            for who in ("bare", "reader"):
                row = of[who][tongue]
                areas = [f"{_shown(row[kind]['area'])} ({row[kind]['n']})" if kind in row else "–" for kind in NONE]
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
