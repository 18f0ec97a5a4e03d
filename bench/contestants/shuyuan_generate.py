"""Our generation: `python shuyuan_generate.py JOB REPORT`."""

import torch
from generating import race, read_job
from watching import TORCH

from shuyuan.load.generate import generate
from shuyuan.load.model import open_model


def main() -> None:
    """Options: `dtype`."""
    job = read_job()
    model = open_model(job["model"], dtype=getattr(torch, job["options"]["dtype"]))
    race(lambda prompts, most: generate(model, prompts, most), job, TORCH)


if __name__ == "__main__":
    main()
