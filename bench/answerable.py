"""Learn what in a model's states says that the passages before a question hold its answer (`load/answerable.py`).

`answerable.jsonl` holds questions written by hand on public documents in both languages, with the passage that answers
each. Every question is read twice, as the route `retrieve` would have the model read it: with that passage among the
two found, and with none that holds the answer, which is either hidden from the search or cut out of what was found,
sentence by sentence. The state at the end of the prompt is kept, and a logistic regression finds the direction. What
is printed is measured on documents that it was not learned from (8 parts); how it does on questions that nobody here
wrote, or with the handbook, is measured by `answers.py` and `removed.py`.

    python bench/answerable.py FOLDER                     # learns anew, writes load/answerable.safetensors
    python bench/answerable.py FOLDER --model smollm2-135m
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from answers import Hiding, area, best_evidence
from corpora import public
from paired import keep, place, stamp
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from torch import Tensor

from shuyuan.base.files import fingerprint, read_jsonl
from shuyuan.base.progress import Bar, say
from shuyuan.base.records import Message, Passage
from shuyuan.load.answerable import FILE, level
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.batching import Ask
from shuyuan.load.embedder import open_embedder
from shuyuan.load.generate import going
from shuyuan.load.model import open_model
from shuyuan.measure.text import contains, tokens
from shuyuan.read.language import language
from shuyuan.recall.choosing import fitted
from shuyuan.recall.citing import sentences
from shuyuan.recall.ground import Ground
from shuyuan.recall.grounded import AT_ONCE, LEAST_FOUND
from shuyuan.recall.searching import Library

HERE = Path(__file__).parent
EMBEDDER = "multilingual-e5-small"
LEAST_LEFT = 40  # characters of a passage from which sentences were cut; with fewer left it is hidden instead
PARTS, STRENGTH = 8, 3e-3
BATCH = 32


@dataclass(frozen=True)
class Read:
    """A question with two passages before it; `kind`: whole, hidden or cut. `evidence` None: not as it was found."""

    source: str
    question: str
    kind: str
    passages: Sequence[Passage]
    evidence: float | None


def main() -> None:
    """Find, read, learn, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where packages and vectors are kept between runs")
    parser.add_argument("--model", default="qwen2.5-0.5b")
    parser.add_argument("--languages", nargs="+", default=["en", "zh"], help="of the documents")
    given = parser.parse_args()
    libraries = public(given.folder)
    reads = [read for name in given.languages for read in found(name, libraries[name], given.folder)]
    file = (
        given.folder
        / "answerable"
        / f"{given.model}-{fingerprint([replace(read, evidence=0) for read in reads])}.safetensors"
    )
    if not file.exists():
        save_file({"states": states(reads, ModelAssistant("bare", open_model(given.model)))}, file)
    figures = learned(reads, load_file(file)["states"], given.model)
    command = str(stamp()["command"]).replace(str(given.folder), "FOLDER")
    keep("answerable", given.model, {**stamp(), "command": command, **figures}, drawn)


def found(name: str, passages: Sequence[Passage], folder: Path) -> list[Read]:
    """What would be read for each question of one library, with and without its answer."""
    rows = [row for row in read_jsonl(HERE / "answerable.jsonl") if row["library"] == name]
    by_id, words = {one.id: one for one in passages}, {one.id: tokens(one.searchable) for one in passages}
    library = Library.build(folder / "answerable" / name, passages, open_embedder(EMBEDDER), folder, store="memory")
    told = {row["question"]: frozenset(key for key, of in words.items() if _holds(of, row)) for row in rows}
    texts = [row["question"] for row in rows]
    whole, without = (of.search_all(texts, LEAST_FOUND) for of in (library, Hiding(library, told)))
    held, missed = best_evidence(library, texts, whole), best_evidence(library, texts, without)
    reads: list[Read] = []
    for number, row in enumerate(rows):
        gold, text = by_id[row["passage"]], row["question"]
        best = _shown(whole[number])
        shown = best if gold in best else [gold, best[0]] if number % 3 else [best[0], gold]
        reads.append(Read(row["source"], text, "whole", shown, held[number] if gold in best else None))
        cut = [_cut(passage, row) for passage in shown]
        if number % 2 and all(len(one.text) >= LEAST_LEFT and not _holds(tokens(one.searchable), row) for one in cut):
            reads.append(Read(row["source"], text, "cut", cut, None))
        else:
            reads.append(Read(row["source"], text, "hidden", _shown(without[number]), missed[number]))
    return reads


def _shown(hits: Sequence[Any]) -> list[Passage]:
    ground = Ground()
    return list(fitted(hits, ground.passages, ground.prompt_tokens, ground.diversity)[:AT_ONCE])


def _holds(words: Sequence[str], row: Any) -> bool:
    return contains(words, tokens(row["answer"]))


def _cut(passage: Passage, row: Any) -> Passage:
    """The passage without the sentences that hold the answer."""
    left, at = "", 0
    for start, end in sentences(passage.text):
        if _holds(tokens(passage.text[start:end]), row):
            left, at = left + passage.text[at:start], end
    return replace(passage, text=left + passage.text[at:])


def states(reads: Sequence[Read], reader: ModelAssistant) -> Tensor:
    """The model's states [N, D] after each prompt; one token is said and thrown away."""
    done: list[Tensor | None] = []
    with Bar("reading", len(reads)) as bar:
        for start in range(0, len(reads), BATCH):
            part = reads[start : start + BATCH]
            prompts = [Ground().prompt(one.question, one.passages, language(one.question)) for one in part]
            asks = [Ask(reader.prompt([Message("user", text)]), 1, reader.model.end_tokens) for text in prompts]
            with going(reader.model, asks) as rows:
                done += [row.wait().state for row in rows]
            bar.advance(len(part))
    return torch.stack([state for state in done if state is not None])


def learned(reads: Sequence[Read], given_ND: Tensor, model: str) -> dict[str, Any]:
    """The direction into the file, and how well it tells on documents it was not learned from."""
    states_ND = level(given_ND).numpy()
    answered_N = np.array([read.kind == "whole" for read in reads])
    groups = [read.source for read in reads]
    told_N = np.zeros(len(reads))
    for known, new in GroupKFold(PARTS).split(states_ND, answered_N, groups):
        weight_D, bias = _direction(states_ND[known], answered_N[known])
        told_N[new] = states_ND[new] @ weight_D + bias
    weight_D, bias = _direction(states_ND, answered_N)
    kept = load_file(FILE) if FILE.exists() else {}
    kept |= {f"{model}/weight": torch.tensor(weight_D).float(), f"{model}/bias": torch.tensor(bias).float()}
    save_file(dict(sorted(kept.items())), FILE)
    say(f"{len(reads)} prompts; {FILE.name} is written")
    seen = [(told, read.evidence, read.kind == "whole") for told, read in zip(told_N, reads, strict=True)]
    both_M2, yes_M = zip(*(([told, held], yes) for told, held, yes in seen if held is not None), strict=True)
    together = LogisticRegression(C=10.0).fit(np.array(both_M2), np.array(yes_M)).coef_[0]
    rows = [
        {"kind": read.kind, "language": language(read.question), "signals": {"state": told, "evidence": read.evidence}}
        for read, told in zip(reads, told_N, strict=True)
    ]
    areas = {}
    for kind in ("hidden", "cut"):
        for tongue in ("en", "zh"):
            of = [row for row in rows if row["language"] == tongue]
            yes, no = ([row for row in of if row["kind"] == wanted] for wanted in ("whole", kind))
            areas[f"{tongue}, {kind}"] = {"n": [len(yes), len(no)], "state": area(yes, no, "state")}
            if kind == "hidden":
                areas[f"{tongue}, {kind}"]["evidence"] = area(
                    [row for row in yes if row["signals"]["evidence"] is not None], no, "evidence"
                )
    quantiles = {str(q): round(float(np.quantile(told_N[answered_N], q)), 3) for q in (0.01, 0.02, 0.05, 0.1)}
    worth = round(float(together[1] / together[0]), 2)
    return {"n": len(reads), "areas": areas, "answered_quantiles": quantiles, "per_evidence": worth}


def _direction(states_ND: np.ndarray, answered_N: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias on the states as they are; learned on numbers of equal spread."""
    mean_D, spread_D = states_ND.mean(0), states_ND.std(0) + 1e-3
    found = LogisticRegression(C=STRENGTH, max_iter=1000).fit((states_ND - mean_D) / spread_D, answered_N)
    weight_D = found.coef_[0] / spread_D
    return weight_D, float(found.intercept_[0] - mean_D @ weight_D)


def drawn(record: Any) -> str:
    """The record for a reader."""
    lines = ["# Does what was read hold an answer?", "", (__doc__ or "").partition("\n\n")[2].rpartition("\n\n")[0], ""]
    for model, of in record.items():
        lines += [f"## {model}", "", place(of), "", f"{of['n']} prompts.", ""]
        lines += ["| questions, answer | n with, without | area, state | area, evidence |", "|-|-|-|-|"]
        for name, row in of["areas"].items():
            cells = [
                f"{row[s]['value']:.3f} ({row[s]['low']:.3f} to {row[s]['high']:.3f})" if s in row else "–"
                for s in ("state", "evidence")
            ]
            lines.append(f"| {name} | {row['n'][0]}, {row['n'][1]} | {' | '.join(cells)} |")
        below = ", ".join(f"{float(q):.0%} below {value}" for q, value in of["answered_quantiles"].items())
        lines += [
            "",
            f"Log-odds of what is answered: {below}. One of evidence is worth {of['per_evidence']} of them.",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
