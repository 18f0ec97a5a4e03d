"""How fast this machine multiplies matrices: `python matrix.py JOB REPORT`.

For each linear layer of the model, forward and towards the input, and for one large square (`job["square"]`), the
median GFLOP a CPU-second. No useful work of a model can be faster than its own products alone.
"""

import statistics
import time

import torch
from torch import Tensor
from watching import TORCH, read_job, report

LEAST_SECONDS = 0.25
TRIES = 5


def main() -> None:
    """`job["shapes"]`: [[in, out, how many layers are so], …]; `job["rows"]`: tokens of a row; `job["dtype"]`."""
    job = read_job()
    torch.set_default_dtype(getattr(torch, job["dtype"]))
    done = spent = 0.0
    for width, out, layers in job["shapes"]:
        weight = matrix(out, width)
        work = 2e-9 * job["rows"] * width * out * layers
        for left, right in ((matrix(job["rows"], width), weight.T), (matrix(job["rows"], out), weight)):
            done += work
            spent += work / speed(left, right)
    square = speed(matrix(job["square"], job["square"]), matrix(job["square"], job["square"]).T)
    report([], TORCH, layers=done / spent, square=square)


def matrix(rows: int, columns: int) -> Tensor:
    """Random numbers of the job's kind."""
    return torch.randn(rows, columns)


def speed(left: Tensor, right: Tensor) -> float:
    """GFLOP a CPU-second of their product: the median of some tries."""
    out = left @ right
    found = []
    for _ in range(TRIES):
        times, began = 0, time.process_time()
        while time.process_time() - began < LEAST_SECONDS / TRIES or not times:
            torch.mm(left, right, out=out)
            times += 1
        found.append(2e-9 * left.numel() * right.shape[1] * times / (time.process_time() - began))
    return statistics.median(found)


if __name__ == "__main__":
    main()
