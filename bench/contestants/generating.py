"""What the contestants of generation.py share: the job's batches, warmed up and then measured."""

import time
from collections.abc import Callable

from watching import read_job, report

WARM_UP = 4  # new tokens of a first call, not counted: compiling, filling of caches


def race(generate: Callable[[list, int], list], job: dict, packages: tuple, gaps: Callable | None = None) -> None:
    """Report CPU-seconds and answers of every batch size; `generate(prompts, most)` gives new token ids a prompt.

    `gaps(prompt, answer)` says afterwards, unmeasured, how sure each token of an answer was.
    """
    found = {}
    for size in job["sizes"]:
        prompts = job["prompts"][: max(size, job["least"])]
        batches = [prompts[at : at + size] for at in range(0, len(prompts), size)]
        generate(batches[0], WARM_UP)
        began = time.process_time()
        answers = [list(answer) for batch in batches for answer in generate(batch, job["most"])]
        spent = time.process_time() - began
        answers = [ended(answer, job["ends"]) for answer in answers]
        found[str(size)] = {"cpu_seconds": spent, "answers": answers}
        if gaps:
            found[str(size)]["gaps"] = [gaps(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    report([], packages, batches=found)


def ended(answer: list, ends: list) -> list:
    """An answer up to the token that ends it, that token left out."""
    return next((answer[:at] for at, token in enumerate(answer) if token in ends), answer)


__all__ = ["race", "read_job"]
