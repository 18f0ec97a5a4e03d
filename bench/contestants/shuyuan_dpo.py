"""Our engine on a preference job: `python shuyuan_dpo.py JOB REPORT`."""

from pathlib import Path

import torch
from shuyuan_steps import counted_steps
from watching import TORCH, read_job, report

from shuyuan.load.model import open_model
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.endings import Pair, Pairs
from shuyuan.prepare.pack import Pack
from shuyuan.train.adapter import adapter_weights, load_adapter
from shuyuan.train.preference import Preference


def main() -> None:
    """Teach the job's adapter. Options: `dtype` of the frozen weights."""
    job = read_job()
    base = open_model(job["model"], dtype=getattr(torch, job["options"]["dtype"]))
    net = load_adapter(base.net, Path(job["adapter"]))
    pack = Pack(row_tokens=job["row_tokens"])
    rows = [
        pack.pack(pair_of(pair, f"{step}.{n}") for n, pair in enumerate(of)) for step, of in enumerate(job["steps"])
    ]
    loss = Preference(beta=job["beta"]).beside(base.net)
    report(counted_steps(net, adapter_weights(net), rows, job, loss), TORCH)


def pair_of(pair: dict, source: str) -> Pair:
    """A pair of the job."""
    prompt, sides = pair["prompt"], (pair["chosen"], pair["rejected"])
    return Pairs([Encoded((*prompt, *side), (False,) * len(prompt) + (True,) * len(side), source) for side in sides])[0]


if __name__ == "__main__":
    main()
