"""What our two contestants share: the job's rows, and its steps measured through the very loop that people use."""

from pathlib import Path

import torch
from watching import clock_of, forget_loading

from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.pack import Pack, Row
from shuyuan.train.laying import laid_out
from shuyuan.train.loop import Loss, Plan, fit
from shuyuan.train.supervised import Supervised


def rows_of(job: dict) -> list[tuple[Row, ...]]:
    """The packed rows of each step."""
    pack = Pack(row_tokens=job["row_tokens"])
    return [pack.pack(Encoded(tuple(s["ids"]), tuple(s["learned"])) for s in step) for step in job["steps"]]


def counted_steps(
    net: torch.nn.Module, learned: dict, rows: list[tuple[Row, ...]], job: dict, loss: Loss | None = None
) -> list[dict]:
    """The steps of one run: a step lasts from the fetching of its batch to that of the next one.

    `loss`: Supervised, where none is given.
    """
    marks: list[float] = []
    clock = clock_of(job)

    def batch(step: int) -> tuple[Row, ...]:
        marks.append(clock())
        return rows[step]

    plan = Plan("the job", len(rows), batch, job["learning_rate"], Path(job["scratch"]) / "run", "bench")
    plan.folder.mkdir()
    forget_loading()
    fitted = fit(net, learned, loss or Supervised(), plan)
    marks.append(clock())
    assert len(marks) == len(rows) + 1, "the loop fetched a batch more than once"
    return [
        {
            "seconds": marks[step + 1] - marks[step],
            "loss": fitted.losses[step],
            "tokens": sum(len(part.ids) for row in of for sequence in row for part in sequence.parts),
            "computed": sum(len(laid_out([part for one in row for part in one.parts]).ids) for row in of),
            "learned": sum(sequence.targets for row in of for sequence in row),
        }
        for step, of in enumerate(rows)
    ]
