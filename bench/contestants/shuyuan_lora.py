"""Our engine on a LoRA job: `python shuyuan_lora.py JOB REPORT`."""

from pathlib import Path

import torch
from shuyuan_steps import counted_steps, rows_of
from watching import TORCH, read_job, report

from shuyuan.load.model import open_model
from shuyuan.train.adapter import adapter_weights, load_adapter
from shuyuan.train.layers import linear_layers


def main() -> None:
    """Teach the job's adapter. Options: `dtype` of the frozen weights."""
    job = read_job()
    base = open_model(job["model"], dtype=getattr(torch, job["options"]["dtype"]))
    blocks = sum(layer.weight.numel() for layer in linear_layers(base.net).values())
    head = base.net.get_output_embeddings().weight.numel()
    net = load_adapter(base.net, Path(job["adapter"]))
    learned = adapter_weights(net)
    steps = counted_steps(net, learned, rows_of(job), job)
    sizes = {"blocks": blocks, "head": head, "adapter": sum(weight.numel() for weight in learned.values())}
    report(steps, TORCH, sizes=sizes)


if __name__ == "__main__":
    main()
