"""Our engine on a job of full fine-tuning: `python shuyuan_full.py JOB REPORT`."""

import torch
from shuyuan_steps import counted_steps, rows_of
from watching import TORCH, read_job, report

from shuyuan.load.model import open_model
from shuyuan.train.layers import linear_layers


def main() -> None:
    """Teach every weight, kept in the option `dtype` with an exact float32 master."""
    job = read_job()
    net = open_model(job["model"], dtype=getattr(torch, job["options"]["dtype"])).net
    steps = counted_steps(net, dict(net.named_parameters()), rows_of(job), job)
    blocks = sum(layer.weight.numel() for layer in linear_layers(net).values())
    report(steps, TORCH, sizes={"blocks": blocks, "head": net.get_output_embeddings().weight.numel()})


if __name__ == "__main__":
    main()
