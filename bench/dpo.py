"""DPO with LoRA on one processor: ours against TRL, on the same tokens, from the same adapter.

The pairs are made of `chats.jsonl`: a chat with its own last answer, and with another chat's in its place. Everyone
gets them as the same token ids, eight a step in the same order, and starts from one adapter file (rank 16, alpha 32,
every linear layer of the blocks). Beta, learning rates, betas and clipping are equal. Each pair is met once, so
everyone reads it with the reference, too; over several epochs TRL does so each time, and we once.

    python bench/dpo.py --peers FOLDER --model smollm2-135m       # bench/README.md says what is in FOLDER
    python bench/dpo.py --quick                                  # two steps, once; writes no result
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paired
import torch
from paired import BATCH, OURS, OURS_FP32, RANK, SHORT, Contestant

from shuyuan.base.files import read_jsonl
from shuyuan.base.records import Example, Message
from shuyuan.load.model import Model, open_model
from shuyuan.prepare.chat import encode_example

BETA = 0.1
NOTES = f"""DPO with beta {BETA} and LoRA of rank {RANK} on every linear layer of the blocks, {BATCH} pairs a step, the
same token ids, order and starting adapter for everyone; each pair is met once, the reference's reading included. Real
tokens are those of both endings, each with what comes before it; computed ones are the policy's, padding included, and
ours computes once what sequences begin with in common. CPU-seconds are user and system time over all steps but the
first. Peak memory is the whole process's. A loss is compared with ours of the same precision: an adapter a few steps
old changes a layer's output by less than bfloat16 can hold, so that it counts where rounding comes (LOG.md: TRL's comes
before). Where a processor has no bfloat16 in hardware, everyone computes in float32.
Ratios with a 95 % bootstrap interval over the repetitions.
"""


def main() -> None:
    """Prepare the job, run the contestants in turn, write bench/results/dpo.{json,md}."""
    given = paired.read(paired.adapter_parser(__doc__, "two steps, once"))
    with tempfile.TemporaryDirectory(prefix="bench.") as scratch:
        model = open_model(given.model, dtype=getattr(torch, given.precision))
        job = paired.adapter_job(model, pairs(model), Path(scratch) / "adapter", given.steps, given.seed)
        job["beta"] = BETA
        racing = paired.present(contestants(given.precision), given.peers)
        record = {**paired.stamp(), "threads": given.threads}

        def kept(reports: dict[str, list[dict[str, Any]]]) -> None:
            paired.show_or_keep("dpo", given, {**record, **paired.compared(racing, reports)}, drawn)

        paired.run_in_turn(racing, job, given, kept)


def contestants(dtype: str) -> tuple[Contestant, ...]:
    """Ours first."""
    bf16 = dtype == "bfloat16"
    lean = {"dtype": dtype, "bf16": bf16, "gradient_checkpointing": False}
    return (
        Contestant(OURS, OURS, "shuyuan_dpo.py", {"dtype": dtype}),
        Contestant(f"TRL, {SHORT[dtype]}, no checkpointing", "trl", "trl_dpo.py", lean),
        *([Contestant(OURS_FP32, OURS, "shuyuan_dpo.py", {"dtype": "float32"})] if bf16 else []),
        Contestant("TRL, defaults, fp32", "trl", "trl_dpo.py", {"dtype": "float32", "bf16": False}, beside=OURS_FP32),
    )


def pairs(model: Model) -> list[dict[str, list[int]]]:
    """Each chat's last answer against the last answer of the chat after it; the tokens end with the answers."""
    chats = [[Message(turn["role"], turn["content"]) for turn in row["messages"]] for row in read_jsonl(paired.CHATS)]
    made = []
    for chat, other in zip(chats, chats[1:] + chats[:1], strict=True):
        before = [Message(turn.role, turn.content, learned=False) for turn in chat[:-1]]
        sides = [encode_example(Example("", (*before, last)), model.tokenizer) for last in (chat[-1], other[-1])]
        start = sides[0].learned.index(True)
        better, worse = (list(s.ids[start : start + sum(s.learned)]) for s in sides)
        made.append({"prompt": list(sides[0].ids[:start]), "chosen": better, "rejected": worse})
    return made


def drawn(whole: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# DPO on one processor", "", NOTES]
    for model, record in whole.items():
        repeated = len(record["contestants"][OURS]["each"])
        often = f"{repeated} repetition(s), {record['threads']} thread(s)."
        lines += [f"## {model}", "", paired.place(record), "", often, "", *paired.table(record)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
