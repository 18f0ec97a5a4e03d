"""Our engine on a GPU job: `python gpu_shuyuan.py JOB REPORT`. Option: `way`."""

import torch
from gpu_memory import guarded
from shuyuan_steps import counted_steps
from watching import TORCH, read_job

from shuyuan.load.model import open_model
from shuyuan.prepare.chat import Encoded
from shuyuan.train.adapter import adapter_weights, with_adapter
from shuyuan.train.quantise import quantised


def run(job: dict) -> tuple[list, tuple]:
    """The measured steps, and whose versions count."""
    net = open_model(job["model"], dtype=torch.bfloat16).net
    way = job["options"]["way"]
    if way != "full":
        net = quantised(net, double=True) if way == "qlora" else net
        net = with_adapter(net, job["rank"], job["alpha"] / job["rank"], 0)
        learned = adapter_weights(net)
    else:
        learned = dict(net.named_parameters())
    rows = [
        tuple(tuple(Encoded(tuple(ids), (True,) * len(ids)) for ids in row) for row in step) for step in job["packed"]
    ]
    return counted_steps(net, learned, rows, job), TORCH


if __name__ == "__main__":
    guarded(run, read_job())
