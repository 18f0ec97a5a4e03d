"""Our generation: `python shuyuan_generate.py JOB REPORT`.

Nothing of a prompt is taken over from another one, as with the others.
"""

import torch
from generating import race, read_job
from watching import TORCH

from shuyuan.load import prefixes
from shuyuan.load.generate import generate
from shuyuan.load.model import open_model


def main() -> None:
    """Options: `dtype`."""
    job = read_job()
    prefixes.WORTH = 1 << 40
    model = open_model(job["model"], dtype=getattr(torch, job["options"]["dtype"]))
    race(lambda prompts, most: generate(model, prompts, most), job, TORCH)


if __name__ == "__main__":
    main()
