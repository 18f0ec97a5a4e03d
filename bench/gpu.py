"""Training speed on one GPU: ours against TRL and Unsloth, random weights in known shapes, rows of 4,096 tokens.

Tokens per second, model FLOPs utilisation (MFU) and peak memory (from the first step on) of LoRA, QLoRA and full
fine-tuning, each contestant a process of its own, in turn. Weights and tokens are random, because speed does not
depend on them; every row is packed from the same sequences of random lengths, every token learned, documents kept
apart.

    python bench/gpu.py                    # on a GPU: both shapes, every way that fits its memory
    python bench/gpu.py --toy              # a tiny shape on whatever there is, a CPU too; writes no result

MFU counts, a token: 6 FLOPs for every weight that learns and 4 for every frozen one (the input embedding is a lookup,
the output layer counts), and 12 FLOPs a layer for each pair of attended positions and width (4 forward, 8 backward).
Work done twice, as in gradient checkpointing, is not counted. The peak is the device's dense bfloat16 figure, or
--peak.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paired
import torch
from paired import OURS, Contestant

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import say

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}  # dense bfloat16
RANK, ALPHA, SEED = 16, 32.0, 0
WAYS = ("lora", "qlora", "full")
SHAPES: dict[str, dict[str, Any]] = {
    "toy": {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
    "qwen2.5-0.5b": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
    "llama-3.1-8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    },
}
# Bytes a weight that a way cannot do without: the weights themselves, and gradient and optimiser for those that learn.
BYTES = {"lora": 2.0, "qlora": 0.6, "full": 2 + 2 + 2 + 4 + 4}  # full: bfloat16, gradient, lower half, two moments
THEIR_FULL = 4 + 4 + 4 + 4  # float32 weights, gradients and moments under autocast
"""TRL's full fine-tuning keeps float32 weights: bfloat16 ones alone would lose small updates, which ours does not."""


def main() -> None:
    """Make the models, run what fits in turn, write bench/results/gpu.{json,md}."""
    given = arguments()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    peak = given.peak or next((flops for name, flops in PEAKS.items() if name in device), 0.0)
    if not peak and not given.toy:
        raise Fixable(f"the peak of {device} is not known here", "give it in TFLOP/s: --peak 989, or try it: --toy")
    for shape in ("toy",) if given.toy else given.shapes:
        with tempfile.TemporaryDirectory(prefix="bench.", dir=given.scratch) as scratch:
            folder = make_model(shape, Path(scratch) / "model")
            record = {**paired.stamp(), "device": device, "peak_flops": peak, "ways": {}}
            job = make_job(shape, folder, given)
            for way in given.ways:
                say(f"{shape}, {way}")
                record["ways"][way] = raced(way, shape, job, given, peak)
                if not given.toy:
                    paired.keep("gpu", shape, record, drawn)
            if given.toy:
                say(drawn({shape: record}))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES)[1:], default=list(SHAPES)[1:])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--row", type=int, default=0, help="tokens of a row (0: 4,096, or 128 for the toy)")
    parser.add_argument("--rows", type=int, default=4, help="rows a step, computed one after the other")
    parser.add_argument("--steps", type=int, default=0, help="steps of a run (0: 6, or 2 for the toy); one is dropped")
    parser.add_argument("--repetitions", type=int, default=0, help="0: 3, or 1 for the toy")
    parser.add_argument("--peak", type=float, default=0.0, help="dense bfloat16 TFLOP/s of the device")
    parser.add_argument("--peers", type=Path, help="folder of the other projects' environments, if not in this one")
    parser.add_argument("--scratch", type=Path, help="where the random weights are kept meanwhile (16 GB for 8B)")
    parser.add_argument("--toy", action="store_true", help="a tiny shape on any device; writes no result")
    given = parser.parse_args()
    given.peak *= 1e12
    given.threads = 1 if given.toy else 8
    given.row = given.row or (128 if given.toy else 4096)
    given.steps = given.steps or (2 if given.toy else 6)
    given.repetitions = given.repetitions or (1 if given.toy else 3)
    return given


def make_model(shape: str, folder: Path) -> Path:
    """A Hugging Face folder with random bfloat16 weights and a tokenizer that has every id."""
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

    kind = Qwen2Config if shape.startswith("qwen2") else LlamaConfig
    config = kind(**SHAPES[shape], eos_token_id=0, bos_token_id=0, pad_token_id=0)
    torch.manual_seed(SEED)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    words = models.WordLevel({f"<{i}>": i for i in range(config.vocab_size)}, unk_token="<0>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="<0>", pad_token="<0>")
    tokenizer.save_pretrained(folder)
    torch.cuda.empty_cache()
    return folder


def make_job(shape: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Rows of exactly `given.row` tokens, packed from sequences between a sixteenth and a half of it."""
    draw = random.Random(SEED)
    size = SHAPES[shape]["vocab_size"]

    def row() -> list[list[int]]:
        lengths: list[int] = []
        while sum(lengths) < given.row:
            lengths.append(min(draw.randint(given.row // 16, given.row // 2), given.row - sum(lengths)))
        lengths = [length for length in lengths if length > 1] or [given.row]
        lengths[-1] += given.row - sum(lengths)
        return [[draw.randrange(1, size) for _ in range(length)] for length in lengths]

    return {
        "model": str(folder),
        "clock": "wall",
        "use_cpu": not torch.cuda.is_available(),
        "packed": [[row() for _ in range(given.rows)] for _ in range(given.steps)],
        "batch": 1,
        "accumulate": given.rows,
        "row_tokens": given.row,
        "rank": RANK,
        "alpha": ALPHA,
        "learning_rate": 1e-4,
        "rates": [1e-4] * given.steps,
        "betas": (0.9, 0.95),
        "clip": 1.0,
    }


def contestants(way: str, given: argparse.Namespace) -> list[Contestant]:
    """Who takes part in a way of teaching: those that are installed, here or under --peers; the others are named."""

    def where(package: str) -> str:
        return OURS if importlib.util.find_spec(package) else package

    wanted = [Contestant(OURS, OURS, "gpu_shuyuan.py", {"way": way})]
    theirs = {"way": way, "gradient_checkpointing": False}
    wanted.append(Contestant("TRL", where("trl"), "gpu_trl.py", theirs | {"gradient_checkpointing": True}))
    wanted.append(Contestant("TRL, no checkpointing", where("trl"), "gpu_trl.py", theirs))
    if torch.cuda.is_available():
        wanted.append(Contestant("Unsloth", where("unsloth"), "gpu_unsloth.py", {"way": way}))
    return paired.present(wanted, given.peers)


def raced(way: str, shape: str, job: Mapping[str, Any], given: argparse.Namespace, peak: float) -> dict[str, Any]:
    """What each contestant came to in one way; those that cannot fit in memory are not started."""
    weights = sum(count_weights(shape).values())
    memory = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else 0
    found: dict[str, Any] = {}
    racing = []
    for contestant in contestants(way, given):
        each = BYTES[way] if contestant.name == OURS or way != "full" else THEIR_FULL
        if memory and weights * each > memory:
            found[contestant.name] = {
                "left_out": f"needs more than {weights * each / 1e9:.0f} GB for weights, gradients and optimiser; the "
                f"device has {memory / 1e9:.0f} GB"
            }
            say(f"{contestant.name}, {way}: {found[contestant.name]['left_out']}")
        else:
            racing.append(contestant)
    reports = paired.run_in_turn(racing, job, given, lambda _: None)
    work = flops_a_token(way, shape, job)
    for name, of in reports.items():
        failed = [report["failed"] for report in of if "failed" in report]
        if failed:
            found[name] = {"left_out": failed[0]}
            continue
        rates = [paired.rate(report) for report in of]
        found[name] = {
            "tokens_a_second": paired.spread(rates),
            "mfu": paired.spread([rate * work / peak for rate in rates]) if peak else None,
            "peak_bytes": max(report["peak_bytes"] for report in of),
            "losses": [round(step["loss"], 4) for step in of[0]["steps"]],
            "versions": of[0]["versions"],
        }
    return found


def count_weights(shape: str) -> dict[str, int]:
    """How many weights the blocks' linear layers, the output layer and a separate input embedding have."""
    of = SHAPES[shape]
    width = of["hidden_size"]
    head = width // of["num_attention_heads"]
    attention = 2 * width * width + 2 * width * head * of["num_key_value_heads"]
    block = attention + 3 * width * of["intermediate_size"]
    output = width * of["vocab_size"]
    return {
        "blocks": block * of["num_hidden_layers"],
        "head": output,
        "embedding": 0 if of["tie_word_embeddings"] else output,
    }


def flops_a_token(way: str, shape: str, job: Mapping[str, Any]) -> float:
    """Useful FLOPs a token, averaged over the job: the module's docstring says what counts."""
    of, weights = SHAPES[shape], count_weights(shape)
    lengths = [len(sequence) for step in job["packed"] for row in step for sequence in row]
    pairs = sum(length * (length + 1) / 2 for length in lengths) / sum(lengths)
    attention = 12 * pairs * of["hidden_size"] * of["num_hidden_layers"]
    matrices = weights["blocks"] + weights["head"]
    if way == "full":
        return 6 * matrices + attention
    width, inner, layers = of["hidden_size"], of["intermediate_size"], of["num_hidden_layers"]
    keys = width // of["num_attention_heads"] * of["num_key_value_heads"]
    adapter = RANK * layers * (2 * 2 * width + 2 * (width + keys) + 3 * (width + inner))
    return 4 * matrices + 6 * adapter + attention


def drawn(whole: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# Training on one GPU", "", (__doc__ or "").partition("    python")[0].strip(), ""]
    lines += ["MFU counts" + (__doc__ or "").partition("MFU counts")[2].rstrip(), ""]
    for shape, record in whole.items():
        peak = f", {record['peak_flops'] / 1e12:.0f} TFLOP/s dense bfloat16" if record["peak_flops"] else ""
        lines += [f"## {shape}", "", f"{paired.place(record)} · {record['device']}{peak}", ""]
        lines += ["| way | | tokens per second | MFU | ours is | peak, GB | losses |", "|-|-|-:|-:|-:|-:|-|"]
        for way, found in record["ways"].items():
            ours = found[OURS].get("tokens_a_second", {}).get("median")
            for name, of in found.items():
                if "left_out" in of:
                    lines.append(f"| {way} | {name} | {of['left_out']} | | | | |")
                    continue
                speed = of["tokens_a_second"]
                mfu = f"{100 * of['mfu']['median']:.1f} %" if of["mfu"] else "–"
                faster = f"{ours / speed['median']:.2f}×" if ours and name != OURS else "–"
                losses = " ".join(f"{loss:.3f}" for loss in of["losses"])
                lines.append(
                    f"| {way} | {name} | {paired.cell(speed, 0)} | {mfu} | {faster} | "
                    f"{of['peak_bytes'] / 1e9:.1f} | {losses} |"
                )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
