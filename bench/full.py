"""Full fine-tuning on one processor: ours against a plain Hugging Face loop with autocast, sequences of 512 tokens.

Both start from the same weights and read the same blocks of `chats.jsonl` (its text alone, every token learned) in the
same order with the same learning rates, betas and clipping. Theirs: float32 weights, bfloat16 autocast, torch's fused
AdamW. Ours: bfloat16 weights with an exact float32 master; and all in float32, to see whose losses are nearer to that.
No gradient checkpointing and no padding on any side.

    python bench/full.py --model smollm2-135m
    python bench/full.py --quick                  # 64 tokens, two steps, once; writes no result
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import chain
from typing import Any

import paired
from paired import OURS, OURS_FP32, Contestant

from shuyuan.base.files import read_jsonl
from shuyuan.load.model import open_tokenizer
from shuyuan.load.pulling import pull
from shuyuan.train.loop import CLIP_NORM
from shuyuan.train.optimiser import BETAS
from shuyuan.train.schedule import warmup_cosine

LEARNING_RATE = 2e-5
THEIRS = {"bfloat16": "Hugging Face, autocast", "float32": "Hugging Face"}
NOTES = f"""Every weight learns, at {LEARNING_RATE}; blocks of equal length, every token learned, nothing padded, no
gradient checkpointing. Theirs: float32 weights under bfloat16 autocast, torch's fused AdamW. Ours: bfloat16 weights
with an exact float32 master; and, for the losses, all in float32. CPU-seconds are user and system time of the process
over all steps but the first. Peak memory is the whole process's. Every figure: median (lowest–highest) over the
repetitions; the ratio with a 95 % bootstrap interval. Where a processor has no bfloat16 in hardware, both compute in
float32.
"""


def main() -> None:
    """Prepare the job, run both in turn, write bench/results/full.{json,md}."""
    given = arguments()
    job = prepared(given.model, given.steps, given.block, given.batch)
    tokens = given.block * given.batch * (given.steps - 1)
    workload = {"block": given.block, "batch": given.batch, "measured_tokens": tokens}
    record = {**paired.stamp(), "threads": given.threads, "workload": workload}

    def kept(reports: dict[str, list[dict[str, Any]]]) -> None:
        whole = {**record, **judged(reports, THEIRS[given.precision])}
        paired.show_or_keep("full", given, whole, drawn)

    paired.run_in_turn(contestants(given.precision), job, given, kept)


def contestants(dtype: str) -> tuple[Contestant, ...]:
    """Ours first."""
    bf16 = dtype == "bfloat16"
    return (
        Contestant(OURS, OURS, "shuyuan_full.py", {"dtype": dtype}),
        Contestant(THEIRS[dtype], OURS, "huggingface_full.py", {"autocast": bf16}),
        *([Contestant(OURS_FP32, OURS, "shuyuan_full.py", {"dtype": "float32"})] if bf16 else []),
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = paired.teaching_parser(__doc__, "64 tokens, two steps, once")
    parser.add_argument("--block", type=int, default=512, help="tokens of a sequence")
    parser.add_argument("--batch", type=int, default=2, help="sequences a step")
    given = paired.read(parser)
    if given.quick:
        given.block, given.batch = 64, 2
    return given


def prepared(name: str, steps: int, block: int, batch: int) -> dict[str, Any]:
    """The job that both get. The text is read again from its start when it is too short."""
    folder = pull(name)
    tokenizer = open_tokenizer(folder)
    rows = read_jsonl(paired.CHATS)
    text = "\n\n".join(turn["content"] for row in rows for turn in row["messages"])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    wanted = steps * batch * block
    stream = list(chain.from_iterable([ids] * -(-wanted // len(ids))))
    blocks = [{"ids": stream[at : at + block], "learned": [True] * block} for at in range(0, wanted, block)]
    return {
        "model": str(folder),
        "row_tokens": block,
        "learning_rate": LEARNING_RATE,
        "rates": [LEARNING_RATE * warmup_cosine(step, steps) for step in range(steps)],
        "betas": BETAS,
        "clip": CLIP_NORM,
        "steps": [blocks[at : at + batch] for at in range(0, len(blocks), batch)],
    }


def judged(reports: Mapping[str, list[dict[str, Any]]], theirs: str) -> dict[str, Any]:
    """Both summaries, the ratio and the difference in loss."""
    rates = {name: [paired.rate(report) for report in of] for name, of in reports.items()}
    last = {name: of[0]["steps"][-1]["loss"] for name, of in reports.items()}
    return {
        "contestants": {name: paired.summary(of) for name, of in reports.items()},
        "ratio": paired.ratio(rates[OURS], rates[theirs]),
        "loss_difference": round(last[OURS] / last[theirs] - 1, 5),
    }


def drawn(whole: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# Full fine-tuning on one processor", "", NOTES]
    for model, record in whole.items():
        load, ratio = record["workload"], record["ratio"]
        repeated = len(record["contestants"][OURS]["each"])
        lines += [
            f"## {model}",
            "",
            paired.place(record),
            "",
            f"{load['batch']} × {load['block']} tokens a step, {load['measured_tokens']:,} measured; {repeated} "
            f"repetitions, {record['threads']} thread(s). Ours is **{ratio['median']:.2f}×** "
            f"({ratio['low']:.2f}–{ratio['high']:.2f}) as fast; its last loss differs by "
            f"{100 * record['loss_difference']:+.2f} %.",
            "",
            "| | tokens per CPU-second | first step, CPU-s | peak, GB | losses |",
            "|-|-:|-:|-:|-|",
        ]
        for name, of in record["contestants"].items():
            lines.append(
                f"| {name} | {paired.cell(of['tokens_a_cpu_second'])} | {of['first_step_cpu_seconds']:.1f} | "
                f"{of['peak_bytes'] / 1e9:.2f} | {' '.join(f'{loss:.4f}' for loss in of['losses'])} |"
            )
        versions = record["contestants"][OURS]["versions"]
        lines += ["", "Versions: " + ", ".join(f"{package} {version}" for package, version in versions.items()), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
