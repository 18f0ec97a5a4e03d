"""LoRA on one processor: ours against TRL and LLaMA-Factory, on the same tokens, from the same adapter.

All contestants get the examples of `chats.jsonl` as the same token ids with the same targets, eight a step in the
same order, and start from one adapter file (rank 16, alpha 32, every linear layer of the blocks). Learning rates,
betas and clipping are equal. What differs is what each does with them, and stands in the table: precision, padding,
checkpointing.

    python bench/lora.py --peers FOLDER --model smollm2-135m      # bench/README.md says what is in FOLDER
    python bench/lora.py --quick                                 # two steps, once, ours only; writes no result
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import paired
import torch
from paired import ALPHA, BATCH, LEARNING_RATE, OURS, OURS_FP32, RANK, ROW_TOKENS, SHORT, Contestant

from shuyuan.base.files import read_jsonl
from shuyuan.base.progress import say
from shuyuan.base.records import Example, Message
from shuyuan.load.model import Model, open_model
from shuyuan.prepare.chat import Encoded, encode_examples
from shuyuan.train.layers import linear_layers

SQUARE = 4096
MATRIX = Contestant("matrix products", OURS, "matrix.py")
NOTES = f"""LoRA of rank {RANK} and alpha {ALPHA:.0f} on every linear layer of the blocks, learning rate
{LEARNING_RATE}, {BATCH} chats a step, the same token ids, targets, order and starting adapter for everyone. Tokens
are real ones; padding is computed but not counted, and what chats of a row begin with in common, here the template's
own system message, ours computes once. CPU-seconds are user and system time of the process over all steps
but the first, batches fetched included. Peak memory is the whole process's. TRL at its defaults checkpoints gradients
and pads; "packed" is its `padding_free`, in which the eight chats of a step are one row and cannot see each other.
LLaMA-Factory as shipped checkpoints and pads. Ours packs rows of {ROW_TOKENS} and does not checkpoint. Every figure:
median (lowest–highest) over the repetitions; ratios with a 95 % bootstrap interval. Where a processor has no bfloat16
in hardware, everyone computes in float32.
"""


def main() -> None:
    """Prepare the job, run the contestants in turn, write bench/results/lora.{json,md}."""
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="bench.") as scratch:
        folder = Path(scratch)
        square = 64 if given.quick else SQUARE
        job, workload = prepared(given.model, given.precision, folder / "adapter", given.steps, given.seed, square)
        usual, more = contestants(given.precision)
        wanted = usual[:1] if given.quick else (*usual, *more) if given.also else usual
        racing = paired.present(wanted, given.peers)
        record = {**paired.stamp(), "threads": given.threads, "workload": workload}

        def kept(reports: dict[str, list[dict[str, Any]]]) -> None:
            whole = {**record, **judged(racing, reports, workload)}
            paired.show_or_keep("lora", given, whole, drawn)

        paired.run_in_turn([*racing, MATRIX], job, given, kept)


def contestants(dtype: str) -> tuple[tuple[Contestant, ...], tuple[Contestant, ...]]:
    """The usual ones, ours first; and those on demand (`--also`): the same things in equal conditions."""
    bf16, short = dtype == "bfloat16", SHORT[dtype]
    trl = {"dtype": dtype, "bf16": bf16, "gradient_checkpointing": False}
    usual = (
        Contestant(OURS, OURS, "shuyuan_lora.py", {"dtype": dtype}),
        Contestant("TRL, defaults, fp32", "trl", "trl_sft.py", {"dtype": "float32", "bf16": False}, beside=OURS_FP32),
        Contestant(
            f"TRL, {short}, packed, no checkpointing",
            "trl",
            "trl_sft.py",
            {**trl, "padding_free": True, "max_length": None},
        ),
        Contestant(f"LLaMA-Factory, {short}", "llamafactory", "llamafactory_sft.py", {"bf16": bf16}),
    )
    more = (
        Contestant(f"TRL, {short}, padded, no checkpointing", "trl", "trl_sft.py", trl),
        Contestant(
            f"LLaMA-Factory, {short}, no checkpointing",
            "llamafactory",
            "llamafactory_sft.py",
            {"bf16": bf16, "disable_gradient_checkpointing": True},
        ),
    )
    ours = Contestant(OURS_FP32, OURS, "shuyuan_lora.py", {"dtype": "float32"})
    return usual, (ours, *more) if bf16 else more


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = paired.adapter_parser(__doc__, "two steps, once, ours only")
    parser.add_argument("--also", action="store_true", help="the contestants under equal conditions, too")
    return paired.read(parser)


def prepared(  # noqa: PLR0917 (all of them the command line's)
    name: str, dtype: str, adapter: Path, steps: int, seed: int, square: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The job that every contestant gets, and what is to be said about it."""
    model = open_model(name, dtype=getattr(torch, dtype))
    shapes = Counter((layer.in_features, layer.out_features) for layer in linear_layers(model.net).values())
    common = paired.adapter_job(model, chats(model), adapter, steps, seed)
    chosen = [sequence for batch in common["steps"] for sequence in batch]
    job = {
        **common,
        "rank": RANK,
        "alpha": ALPHA,
        "steps": [[{"ids": s.ids, "learned": s.learned} for s in batch] for batch in common["steps"]],
        "shapes": [[*shape, layers] for shape, layers in shapes.items()],
        "rows": ROW_TOKENS,
        "dtype": dtype,
        "square": square,
    }
    lengths = sorted(len(s.ids) for s in chosen)
    workload = {
        "dtype": dtype,
        "chats": len(chosen),
        "lengths": {"shortest": lengths[0], "median": lengths[len(lengths) // 2], "longest": lengths[-1]},
        "measured_tokens": sum(len(s.ids) for s in chosen[BATCH:]),
        "measured_targets": sum(s.targets for s in chosen[BATCH:]),
    }
    return job, workload


def chats(model: Model) -> tuple[Encoded, ...]:
    """The fixed set as token ids with their targets."""
    rows = read_jsonl(paired.CHATS)
    examples = [
        Example(str(i), tuple(Message(turn["role"], turn["content"]) for turn in row["messages"]))
        for i, row in enumerate(rows)
    ]
    sequences, kept = encode_examples(examples, model.tokenizer, ROW_TOKENS)
    say(f"chats: {kept}")
    return sequences


def judged(
    contestants: Sequence[Contestant], reports: Mapping[str, list[dict[str, Any]]], workload: Mapping[str, Any]
) -> dict[str, Any]:
    """Every contestant's summary, ratios, differences in loss, and our share of the matrix peak."""
    matrix = reports[MATRIX.name]
    racing = {name: of for name, of in reports.items() if name != MATRIX.name}
    computed = sum(step["computed"] for step in racing[OURS][0]["steps"][1:])
    work = useful_gflop(racing[OURS][0]["sizes"], computed, workload["measured_targets"])
    speeds = [work / sum(step["seconds"] for step in report["steps"][1:]) for report in racing[OURS]]
    return {
        **paired.compared(contestants, racing),
        "useful_gflop_a_cpu_second": paired.spread(speeds),
        "matrix_gflop_a_cpu_second": {
            kind: paired.spread([report[kind] for report in matrix]) for kind in ("layers", "square")
        },
        "share_of_matrix_peak": {
            kind: paired.spread([mine / report[kind] for mine, report in zip(speeds, matrix, strict=True)])
            for kind in ("layers", "square")
        },
    }


def useful_gflop(sizes: Mapping[str, int], tokens: int, targets: int) -> float:
    """Work that LoRA cannot do without: frozen weights forward and towards the input, the adapter also for itself, the
    output layer at the targets only; `tokens` are those computed. Attention, norms and optimiser are not counted."""
    each = 4 * sizes["blocks"] + 6 * sizes["adapter"]
    return 1e-9 * (each * tokens + 4 * sizes["head"] * targets)


def drawn(whole: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# LoRA on one processor", "", NOTES]
    for model, record in whole.items():
        load = record["workload"]
        lengths = load["lengths"]
        repeated = len(next(iter(record["contestants"].values()))["each"])
        lines += [
            f"## {model}",
            "",
            paired.place(record),
            "",
            f"{load['chats']} chats of {lengths['shortest']} to {lengths['longest']} tokens, median "
            f"{lengths['median']}; "
            f"measured: {load['measured_tokens']:,} tokens, {load['measured_targets']:,} of them learned. "
            f"{repeated} repetitions, {record['threads']} thread(s).",
            "",
            *paired.table(record),
        ]
        share, matrix = record["share_of_matrix_peak"], record["matrix_gflop_a_cpu_second"]
        dtype = load.get("dtype", "bfloat16")
        lines += [
            f"Useful work: {paired.cell(record['useful_gflop_a_cpu_second'])} GFLOP a CPU-second, that is "
            f"{100 * share['layers']['median']:.0f} % of this model's own matrix products in {dtype} "
            f"({paired.cell(matrix['layers'])}) and {100 * share['square']['median']:.0f} % of a square of 4,096 "
            f"({paired.cell(matrix['square'])}), measured in the same run.",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
