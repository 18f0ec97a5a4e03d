"""Embedding on one processor: ours against sentence-transformers, the same weights and texts in one interleaved run.

The texts are the passages of this handbook, as a library here cuts and embeds them, Chinese and English. Splitting into
tokens is part of the measured time. Equal: the lowest cosine between a contestant's vector and the reference's.

    python bench/embedding.py --peers FOLDER      # FOLDER/st: an environment with sentence-transformers
    python bench/embedding.py --quick             # ours alone, on a few texts; writes no result
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paired
from paired import OURS, Contestant

from shuyuan.load.pulling import pull
from shuyuan.prepare.chunk import Chunk
from shuyuan.read.reading import read_file

REFERENCE = "sentence-transformers, fp32"
CONTESTANTS = (
    Contestant(OURS, OURS, "shuyuan_embed.py", {"dtype": ""}),
    Contestant("shuyuan, fp32", OURS, "shuyuan_embed.py", {"dtype": "float32"}),
    Contestant(REFERENCE, "st", "sentence_transformers_embed.py", {"dtype": "float32"}),
    Contestant("sentence-transformers, bf16", "st", "sentence_transformers_embed.py", {"dtype": "bfloat16"}),
)
DOCS = paired.HERE.parent / "docs"


def main() -> None:
    """Cut the passages, run the contestants in turn, write bench/results/embedding.{json,md}."""
    given = arguments()
    wanted = CONTESTANTS[:1] if given.quick else CONTESTANTS
    job = {"model": str(pull(given.model)), "texts": texts(given.most), "warm_up": 4}
    record = {**paired.stamp(), "threads": given.threads, "passages": len(job["texts"])}
    record["characters"] = sum(map(len, job["texts"]))

    def kept(reports: dict[str, list[dict[str, Any]]]) -> None:
        paired.show_or_keep("embedding", given, {**record, **judged(reports, len(job["texts"]))}, drawn)

    paired.run_in_turn(paired.present(wanted, given.peers), job, given, kept)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder of the other projects' environments")
    parser.add_argument("--model", default="multilingual-e5-small", help="name in the catalogue, or a folder")
    parser.add_argument("--most", type=int, default=120, help="passages, half of them Chinese")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="show the result; do not keep it in bench/results")
    parser.add_argument("--quick", action="store_true", help="ours alone, 8 passages, once; writes no result")
    given = parser.parse_args()
    if given.quick:
        given.repetitions, given.most = 1, 8
    return given


def texts(most: int) -> list[str]:
    """Passages of the handbook with their headings, as they are embedded, spread over its pages."""
    found = []
    for folder in (DOCS, DOCS / "zh"):
        documents = [read_file(file, file.name) for file in sorted(folder.glob("*.md"))]
        passages = [passage.searchable for document in documents for passage in Chunk().chunk(document)]
        rows = np.linspace(0, len(passages) - 1, min(most // 2, len(passages))).astype(int)
        found += [passages[row] for row in rows]
    return found


def judged(reports: Mapping[str, list[dict[str, Any]]], count: int) -> dict[str, Any]:
    """Passages a CPU-second, ratios, and how far the vectors are the reference's."""
    rates = {name: [count / report["cpu_seconds"] for report in of] for name, of in reports.items()}
    reference = np.array(reports.get(REFERENCE, reports[OURS])[0]["vectors"])
    return {
        "contestants": {
            name: {
                "passages_a_cpu_second": paired.spread(each),
                "each": [round(value, 2) for value in each],
                "ours_is": paired.ratio(rates[OURS], each) if name != OURS else None,
                "lowest_cosine": round(float((np.array(reports[name][0]["vectors"]) * reference).sum(1).min()), 6),
                "peak_bytes": reports[name][0]["peak_bytes"],
                "versions": reports[name][0]["versions"],
            }
            for name, each in rates.items()
        }
    }


def drawn(whole: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["# Embedding on one processor", "", (__doc__ or "").partition("\n\n")[2].partition("\n\n")[0], ""]
    for model, record in whole.items():
        lines += [f"## {model}", "", paired.place(record), ""]
        lines += [
            f"{record['passages']} passages, {record['characters']:,} characters, {record['threads']} thread(s).",
            "",
        ]
        lines += ["| | passages per CPU-second | ours is | lowest cosine | peak, GB |", "|-|-:|-:|-:|-:|"]
        for name, of in record["contestants"].items():
            ours = of["ours_is"]
            faster = f"{ours['median']:.2f}× ({ours['low']:.2f}–{ours['high']:.2f})" if ours else "–"
            lines.append(
                f"| {name} | {paired.cell(of['passages_a_cpu_second'])} | {faster} | {of['lowest_cosine']:.5f} | "
                f"{of['peak_bytes'] / 1e9:.2f} |"
            )
        versions = "; ".join(
            f"{name}: " + ", ".join(f"{package} {version}" for package, version in of["versions"].items())
            for name, of in record["contestants"].items()
        )
        lines += ["", f"Versions: {versions}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
