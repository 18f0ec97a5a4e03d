"""Greedy generation on one processor: ours against transformers, OpenVINO GenAI and llama.cpp, on the same weights.

Everyone gets the same prompts as token ids (questions of `chats.jsonl` in the model's own template) and answers them
one at a time and sixteen at once. All read one bfloat16 copy of the weights: llama.cpp as a GGUF file written here,
value by value the same; OpenVINO as exported by optimum-intel, in float16, which is exact for every weight above
2⁻¹⁴. Reading the prompt is part of the measured time; only answer tokens count.

    python bench/generation.py --peers FOLDER --model smollm2-135m    # bench/README.md says what is in FOLDER
    python bench/generation.py --quick                                # a few tokens, ours and transformers, once
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import paired
from paired import OURS, SHORT, Contestant

from shuyuan.base.files import read_jsonl
from shuyuan.base.records import Message
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import open_model

# openvino 2026.4.1 divides by zero (SIGFPE) in its own AMX products on the virtual machine that this was written on.
NO_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
SIZES = (1, 16)
PROMPTS = 16
NOTES = """The same prompts as token ids, greedy, no penalties; all weights are 16 bits wide, and nobody keeps a prompt
for the next one. Ours drafts by prompt lookup. OpenVINO is kept from AMX, in which it crashed on another machine.
"1": a few prompts one after the other; "16": sixteen at once. CPU-seconds include reading the prompt; tokens are
those of the answers. Equal: the share of answers that are the reference's token by token, and the share of the
reference's tokens said before the first difference. Gap: how much, in nats, the reference preferred its own token
where an answer first differs (median and largest); rounding in bfloat16 moves logits of this size by some tenths, so
a small gap is a tie that rounding decides, and a large one would be another model. Where a processor has no bfloat16 in
hardware, ours, transformers and OpenVINO compute in float32, and llama.cpp as it thinks best.
"""


def main() -> None:
    """Prepare the job, run the contestants in turn, write bench/results/generation.{json,md}."""
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="bench.") as scratch:
        wanted = contestants(given.precision)
        racing = paired.present(wanted[:2] if given.quick else wanted, given.peers)
        job = prepared(given, Path(scratch), {contestant.environment for contestant in racing})
        workload = {
            "prompts": len(job["prompts"]),
            "prompt_tokens": [min(map(len, job["prompts"])), max(map(len, job["prompts"]))],
            "most_new_tokens": job["most"],
            "one_at_a_time": job["least"],
        }
        record = {**paired.stamp(), "threads": given.threads, "workload": workload}

        def kept(reports: dict[str, list[dict[str, Any]]]) -> None:
            whole = {**record, **judged(reports, wanted[1].name)}
            paired.show_or_keep("generation", given, whole, drawn)

        paired.run_in_turn(racing, job, given, kept)


def contestants(dtype: str) -> tuple[Contestant, ...]:
    """Ours first, then the reference."""
    short = SHORT[dtype]
    openvino = {"precision": "bf16" if dtype == "bfloat16" else "f32"}
    return (
        Contestant(OURS, OURS, "shuyuan_generate.py", {"dtype": dtype}),
        Contestant(f"transformers, {short}", OURS, "transformers_generate.py", {"dtype": dtype}),
        Contestant(f"OpenVINO GenAI, {short}", "openvino", "openvino_generate.py", openvino, NO_AMX),
        Contestant("llama.cpp, bf16", "llamacpp", "llamacpp_generate.py"),
    )


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = paired.parser(__doc__, "8 tokens, ours and transformers, once")
    parser.add_argument("--most", type=int, default=48, help="most new tokens of an answer")
    parser.add_argument("--least", type=int, default=3, help="prompts answered one at a time")
    return paired.read(parser)


def prepared(given: argparse.Namespace, scratch: Path, engines: set[str]) -> dict[str, Any]:
    """The job that every contestant gets. All read one bfloat16 copy of the model, in the format that they read."""
    import torch

    model = open_model(given.model, dtype=torch.bfloat16)
    asker = ModelAssistant("asker", model)
    rows = read_jsonl(paired.HERE / "chats.jsonl")[:PROMPTS]
    folder = scratch / "bfloat16"
    model.net.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    job = {
        "model": str(folder),
        "prompts": [asker.prompt([Message(t["role"], t["content"]) for t in row["messages"][:-1]]) for row in rows],
        "most": 8 if given.quick else given.most,
        "least": given.least,
        "sizes": SIZES,
        "ends": sorted(model.end_tokens),
    }
    if "llamacpp" in engines:
        from gguf_copy import write_gguf

        job["gguf"] = str(write_gguf(model.net, model.tokenizer, scratch / "model.gguf"))
    if "openvino" in engines:
        job["openvino"] = str(_exported(folder, given.peers, scratch / "openvino"))
    return job


def _exported(folder: Path, peers: Path, into: Path) -> Path:
    """The model as OpenVINO reads it, by optimum-intel. It stores float16, exact for every weight above 2⁻¹⁴."""
    export = [peers.absolute() / "openvino" / "bin" / "optimum-cli", "export", "openvino", "--model", folder]
    export += ["--task", "text-generation-with-past", "--weight-format", "fp16", into]
    subprocess.run(export, check=True, capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return into


def judged(reports: Mapping[str, list[dict[str, Any]]], reference_name: str) -> dict[str, Any]:
    """Rates, ratios and how far the answers are the reference's, by batch size."""
    reference = reports[reference_name][0]
    found: dict[str, Any] = {}
    for size in map(str, SIZES):
        rates = {name: [_rate(report["batches"][size]) for report in of] for name, of in reports.items()}
        found[size] = {
            name: {
                "tokens_a_cpu_second": paired.spread(each),
                "each": [round(value, 2) for value in each],
                "ours_is": paired.ratio(rates[OURS], each) if name != OURS else None,
                "tokens": sum(map(len, reports[name][0]["batches"][size]["answers"])),
                **agreement(
                    reports[name][0]["batches"][size]["answers"],
                    reference["batches"][size]["answers"],
                    reference["batches"][size]["gaps"],
                ),
            }
            for name, each in rates.items()
        }
    return {
        "batches": found,
        "peak_bytes": {name: int(statistics.median(r["peak_bytes"] for r in of)) for name, of in reports.items()},
        "versions": {name: of[0]["versions"] for name, of in reports.items()},
    }


def _rate(batch: Mapping[str, Any]) -> float:
    return float(sum(map(len, batch["answers"])) / batch["cpu_seconds"])


def agreement(
    answers: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], gaps: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """How far answers are the reference's, and how sure it was where they first differ."""
    same, common, differed = 0, 0, []
    for answer, right, gap in zip(answers, reference, gaps, strict=False):
        shared = next(
            (at for at, (a, b) in enumerate(zip(answer, right, strict=False)) if a != b), min(len(answer), len(right))
        )
        common += shared
        if list(answer) == list(right):
            same += 1
        elif shared < len(gap):
            differed.append(gap[shared])
    return {
        "equal_answers": [same, len(answers)],
        "equal_tokens": round(common / max(1, sum(map(len, reference))), 4),
        "gaps_where_they_differ": [round(gap, 3) for gap in sorted(differed)],
    }


def drawn(whole: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# Generation on one processor", "", NOTES]
    for model, record in whole.items():
        load = record["workload"]
        lines += [
            f"## {model}",
            "",
            paired.place(record),
            "",
            f"{load['prompts']} prompts of {load['prompt_tokens'][0]} to {load['prompt_tokens'][1]} tokens, at most "
            f"{load['most_new_tokens']} new ones; {load['one_at_a_time']} prompts one "
            f"at a time. {record['threads']} thread(s).",
            "",
            "| at once | | tokens per CPU-second | ours is | equal answers | equal tokens | gaps, nats | peak, GB |",
            "|-|-|-:|-:|-:|-:|-:|-:|",
        ]
        for size, contestants in record["batches"].items():
            for name, of in contestants.items():
                ours = of["ours_is"]
                faster = f"{ours['median']:.2f}× ({ours['low']:.2f}–{ours['high']:.2f})" if ours else "–"
                gaps = of["gaps_where_they_differ"]
                shown = f"{statistics.median(gaps):.2f}, {gaps[-1]:.2f}" if gaps else "–"
                lines.append(
                    f"| {size} | {name} | {paired.cell(of['tokens_a_cpu_second'])} | {faster} | "
                    f"{of['equal_answers'][0]} of {of['equal_answers'][1]} | "
                    f"{100 * of['equal_tokens']:.1f} % | {shown} | "
                    f"{record['peak_bytes'][name] / 1e9:.2f} |"
                )
        said = "; ".join(
            f"{name}: " + ", ".join(f"{package} {version}" for package, version in of.items())
            for name, of in record["versions"].items()
        )
        lines += ["", f"Versions: {said}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
