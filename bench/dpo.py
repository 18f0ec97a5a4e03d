"""DPO with LoRA on one processor: ours against TRL, on the same tokens, from the same adapter.

The pairs are made of `chats.jsonl`: a chat with its own last answer, and with another chat's in its place. Everyone
gets them as the same token ids, eight a step in the same order, and starts from one adapter file (rank 16, alpha 32,
every linear layer of the blocks). Beta, learning rates, betas and clipping are equal. Each pair is met once, so
everyone reads it with the reference, too; over several epochs TRL does so each time, and we once.

    python bench/dpo.py --peers FOLDER --model smollm2-135m       # bench/README.md says what is in FOLDER
    python bench/dpo.py --quick                                  # two steps, once; writes no result
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paired
import torch
from lora import ALPHA, BATCH, LEARNING_RATE, RANK, ROW_TOKENS
from paired import OURS, Contestant

from shuyuan.base.files import read_jsonl
from shuyuan.base.records import Example, Message
from shuyuan.load.model import Model, open_model
from shuyuan.prepare.chat import encode_example
from shuyuan.train.adapter import save_adapter, with_adapter
from shuyuan.train.loop import CLIP_NORM
from shuyuan.train.optimiser import BETAS
from shuyuan.train.schedule import warmup_cosine

BETA = 0.1
CONTESTANTS = (
    Contestant(OURS, OURS, "shuyuan_dpo.py", {"dtype": "bfloat16"}),
    Contestant(
        "TRL, bf16, no checkpointing",
        "trl",
        "trl_dpo.py",
        {"dtype": "bfloat16", "bf16": True, "gradient_checkpointing": False},
    ),
    Contestant("shuyuan, fp32", OURS, "shuyuan_dpo.py", {"dtype": "float32"}),
    Contestant("TRL, defaults, fp32", "trl", "trl_dpo.py", {"dtype": "float32", "bf16": False}),
)
NOTES = f"""DPO with beta {BETA} and LoRA of rank {RANK} on every linear layer of the blocks, {BATCH} pairs a step, the
same token ids, order and starting adapter for everyone; each pair is met once, the reference's reading included. Tokens
are those of both endings with what comes before them, counted once; CPU-seconds are user and system time over all steps
but the first. Ratios with a 95 % bootstrap interval over the repetitions.
"""


def main() -> None:
    """Prepare the job, run the contestants in turn, write bench/results/dpo.{json,md}."""
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="bench.") as scratch:
        job = prepared(given.model, Path(scratch) / "adapter", given.steps, given.seed)
        record = {**paired.stamp(), "threads": given.threads}

        def kept(reports: dict[str, list[dict[str, Any]]]) -> None:
            paired.show_or_keep("dpo", given, {**record, **judged(reports)}, drawn)

        paired.run_in_turn(paired.present(CONTESTANTS, given.peers), job, given, kept)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder of the other projects' environments (bench/README.md)")
    parser.add_argument("--model", default="smollm2-135m", help="name in the catalogue, or a folder")
    parser.add_argument("--steps", type=int, default=4, help="steps of a run; the first is not counted")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="show the result; do not keep it in bench/results")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the pairs and of the starting adapter")
    parser.add_argument("--quick", action="store_true", help="two steps, once; writes no result")
    given = parser.parse_args()
    if given.quick:
        given.repetitions, given.steps = 1, 2
    return given


def prepared(name: str, adapter: Path, steps: int, seed: int) -> dict[str, Any]:
    """The job that every contestant gets."""
    model = open_model(name, dtype=torch.bfloat16)
    save_adapter(with_adapter(model.net, RANK, ALPHA / RANK, seed), adapter, model.name)
    made = pairs(model)
    order = torch.randperm(len(made), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = [made[i] for i in order][: steps * BATCH]
    batches = [chosen[at : at + BATCH] for at in range(0, len(chosen), BATCH)]
    assert len(batches) == steps, f"{len(made)} pairs are too few for {steps} steps of {BATCH}"
    return {
        "model": str(model.folder),
        "adapter": str(adapter),
        "batch": BATCH,
        "row_tokens": ROW_TOKENS,
        "beta": BETA,
        "learning_rate": LEARNING_RATE,
        "rates": [LEARNING_RATE * warmup_cosine(step, steps) for step in range(steps)],
        "betas": BETAS,
        "clip": CLIP_NORM,
        "steps": batches,
    }


def pairs(model: Model) -> list[dict[str, list[int]]]:
    """Each chat's last answer against the last answer of the chat after it; the tokens end with the answers."""
    chats = [[Message(turn["role"], turn["content"]) for turn in row["messages"]] for row in read_jsonl(CHATS)]
    made = []
    for chat, other in zip(chats, chats[1:] + chats[:1], strict=True):
        before = [Message(turn.role, turn.content, learned=False) for turn in chat[:-1]]
        sides = [encode_example(Example("", (*before, last)), model.tokenizer) for last in (chat[-1], other[-1])]
        start = sides[0].learned.index(True)
        better, worse = (list(s.ids[start : start + sum(s.learned)]) for s in sides)
        made.append({"prompt": list(sides[0].ids[:start]), "chosen": better, "rejected": worse})
    return made


def judged(reports: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Every contestant's summary, and the ratios and differences in loss of ours to it."""
    rates = {name: [paired.rate(report) for report in of] for name, of in reports.items()}
    last = {name: of[0]["steps"][-1]["loss"] for name, of in reports.items()}
    others = [name for name in reports if name != OURS]
    return {
        "contestants": {name: paired.summary(of) for name, of in reports.items()},
        "ratios": {name: paired.ratio(rates[OURS], rates[name]) for name in others},
        "loss_difference": {name: round(last[OURS] - last[name], 5) for name in others},
    }


def drawn(whole: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# DPO on one processor", "", NOTES]
    for model, record in whole.items():
        lines += [
            f"## {model}",
            "",
            paired.place(record),
            "",
            "| | tokens per CPU-second | ours is | padding | first step, CPU-s | peak, GB | losses |",
            "|-|-:|-:|-:|-:|-:|-|",
        ]
        for name, of in record["contestants"].items():
            ratio = record["ratios"].get(name)
            faster = f"{ratio['median']:.2f}× ({ratio['low']:.2f}–{ratio['high']:.2f})" if ratio else "–"
            lines.append(
                f"| {name} | {paired.cell(of['tokens_a_cpu_second'])} | {faster} | {of['padding_factor']:.2f} | "
                f"{of['first_step_cpu_seconds']:.1f} | {of['peak_bytes'] / 1e9:.2f} | "
                f"{' '.join(f'{loss:.5f}' for loss in of['losses'])} |"
            )
        lines.append("")
    return "\n".join(lines)


CHATS = paired.HERE / "chats.jsonl"


if __name__ == "__main__":
    main()
