"""Stores from ten thousand passages on: what filling one costs, how fast it finds and how much of the truth.

Each row is a process of its own, so that its memory is its own. Truth is exact search in numpy. Searching by meaning is
exact in `memory`, in `sqlite` and, below 100,000 passages, in `lance`.

    python bench/stores.py                                 # 10,000 and 50,000 in every store on this machine
    python bench/stores.py --passages 300000 --only lance  # adds a row to the results
    python bench/stores.py --quick                         # 1,000 passages; writes no result
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import paired
from paired import OURS, Contestant

from shuyuan.base.files import read_json, write_json, write_whole
from shuyuan.base.progress import say

STORES = ("lance", "sqlite", "memory")
FILE = paired.RESULTS / "stores.json"


def main() -> None:
    """Fill and search, write bench/results/stores.{json,md} after every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--only", nargs="+", default=STORES, help="stores")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--clients", type=int, default=0, help="threads that search at once at the end; 0: none")
    parser.add_argument("--seconds", type=float, default=60, help="for how long they do")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="1,000 passages; writes no result")
    given = parser.parse_args()
    rows: dict[str, Any] = read_json(FILE)["rows"] if FILE.exists() and not given.quick else {}
    for passages in [1_000] if given.quick else given.passages:
        for store in given.only:
            say(f"{passages:,} passages in {store}")
            job = {"store": store, "passages": passages, "questions": given.questions}
            job |= {"threads": given.clients, "seconds": given.seconds}
            found = paired.run_once(Contestant(store, OURS, "filling_store.py"), job, None, given.threads)
            rows[f"{passages:,} {store}"] = {**paired.stamp(), "passages": passages, "store": store, **found}
            if not given.quick:
                paired.RESULTS.mkdir(exist_ok=True)
                write_json(FILE, {"rows": rows})
                write_whole(paired.RESULTS / "stores.md", drawn(rows))
    say(drawn(rows))


def drawn(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The results as Markdown."""
    lines = ["# Stores", "", (__doc__ or "").partition("\n\n")[2].partition("\n\n")[0], ""]
    heads = "passages | store | filling, CPU s | disk, MB | peak, MB | meaning p50 / p99 ms | CPU ms | recall@10"
    lines += [f"| {heads} | words p50 / p99 ms | CPU ms |", "|-:|-|-:|-:|-:|-:|-:|-:|-:|-:|"]
    for row in sorted(rows.values(), key=lambda row: (row["passages"], row["store"])):
        sizes = [f"{row['build_cpu_seconds']:.0f}", f"{row['disk_bytes'] / 1e6:.0f}", f"{row['peak_bytes'] / 1e6:.0f}"]
        both = (row["dense"], row["words"])
        kinds = [(f"{of['p50_ms']:.1f} / {of['p99_ms']:.1f}", f"{of['cpu_ms']:.1f}") for of in both]
        cells = [f"{row['passages']:,}", row["store"], *sizes, *kinds[0], f"{row['dense']['recall']:.3f}", *kinds[1]]
        lines.append(f"| {' | '.join(cells)} |")
    for row in rows.values():
        if crowd := row.get("at_once"):
            size = (
                f"{row['passages']:,} passages in {row['store']}, {crowd['threads']} threads, {crowd['seconds']:.0f} s"
            )
            done = f"{crowd['questions']:,} questions by meaning and by words, {crowd['failed']} errors."
            lines += ["", f"{size}: {done}"]
    lines += ["", *sorted({paired.place(row) for row in rows.values()}), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
