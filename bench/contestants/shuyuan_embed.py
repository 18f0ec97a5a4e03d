"""Our embedder: `python shuyuan_embed.py JOB REPORT`."""

import torch
from embedding_texts import race, read_job
from watching import TORCH

from shuyuan.load.embedder import open_embedder


def main() -> None:
    """Options: `dtype`, empty for what is native."""
    job = read_job()
    dtype = job["options"]["dtype"]
    embedder = open_embedder(job["model"], getattr(torch, dtype) if dtype else None)
    race(lambda texts: embedder.embed(texts, "passage"), job, TORCH)


if __name__ == "__main__":
    main()
