"""What the metrics of search share: the passages found, each once, and which of all passages are relevant."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from shuyuan.base.records import Answer


def found_and_wanted(answer: Answer, relevant: Collection[str]) -> tuple[list[str], Mapping[str, float]] | None:
    """Passage ids as found, best first, and the grades (> 0) of all that are relevant: 1 where none are given.

    None where no passage is relevant, or where nothing was looked up: an assistant without a library is not marked.
    """
    grades = relevant if isinstance(relevant, Mapping) else dict.fromkeys(relevant, 1.0)
    wanted = {id: float(grade) for id, grade in grades.items() if grade > 0}
    return (list(dict.fromkeys(answer.retrieved)), wanted) if wanted and answer.retrieved else None
