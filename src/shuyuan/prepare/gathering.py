"""Data files into a workspace: examples beside the question rows, raw texts beside the documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.material import Material
from shuyuan.base.progress import say
from shuyuan.base.records import Document, Example, Kept, Passage
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.conversations import Tally, read_data
from shuyuan.prepare.dataset_info import FILE, read_dataset_info
from shuyuan.prepare.question_forms import column_of
from shuyuan.prepare.rows import read_rows
from shuyuan.prepare.shapes import TEXT, Shape, recognise
from shuyuan.prepare.sources import Roots


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file to be added: its `origin` in the workspace, how its rows are written, how many of them are wanted.

    `sample` rows are drawn; of those that are read, only the `first` are taken.
    """

    path: Path
    origin: str
    shape: Shape | None = None
    sample: int | None = None
    first: int | None = None


def data_files(
    roots: Roots, paths: Iterable[Path], datasets: Sequence[str] = (), most: int | None = None
) -> list[DataFile]:
    """The files that were named, and those that a `dataset_info.json` (or the folder it lies in) describes.

    `most`: how many rows of each file are taken at most, from its beginning.
    """
    found, described = [], False
    for path in paths:
        info = path / FILE if path.is_dir() else path
        if info.name != FILE:
            found.append(DataFile(path, roots.data_name(path), first=most))
            continue
        described = True
        for data_set in read_dataset_info(info, tuple(datasets)):
            found += [
                DataFile(file, roots.data_name(file), data_set.shape, data_set.num_samples, most)
                for file in data_set.files
            ]
    if datasets and not described:
        raise Fixable(f"--dataset names entries of a {FILE}, and none was given", f"add it: --data …/{FILE}")
    return found


def put_data(material: Material, files: Sequence[DataFile], replace: Mapping[str, str], chunk: Chunk) -> Kept:
    """Store all files in one step, each in place of what it brought before, and say what was left out and why.

    Examples wait for the routes that learn them; a raw text becomes a document with passages. An error stores nothing.
    """
    tallies = {file.origin: Tally() for file in files}
    dropped = material.put_data(_records(files, tallies, replace, chunk))
    total = Counter[str]()
    for origin, tally in tallies.items():
        tally.dropped.update(dropped[origin])
        say(f"{origin}: {tally.kept('rows')}")
        if tally.unused:
            columns = ", ".join(f"{column} ({count:,})" for column, count in tally.unused.most_common())
            say(f"{origin}: not used: {columns}")
        total.update(tally.dropped)
    came = sum(tally.came for tally in tallies.values())
    return Kept(came, came - total.total(), dict(total), "rows of data")


def _records(
    files: Sequence[DataFile], tallies: Mapping[str, Tally], replace: Mapping[str, str], chunk: Chunk
) -> Iterator[tuple[str, Iterator[Example | tuple[Document, Sequence[Passage]]]]]:
    for file in files:
        rows = read_data(file.path, file.origin, tallies[file.origin], file.shape, replace=replace, only=_sample(file))
        yield file.origin, (row if isinstance(row, Example) else (row, chunk.chunk(row)) for row in rows)
    filled = set().union(*(tally.filled for tally in tallies.values()))
    if empty := next((hole for hole in replace if hole not in filled), ""):
        hint = near_miss(empty, filled) if filled else "check its spelling, or leave --replace out"
        raise Fixable(f"nothing holds '{{{{{empty}}}}}' that could be replaced", hint)


def _sample(file: DataFile) -> Collection[int] | None:
    """The numbers of the rows that are wanted, where not all of them are: drawn without repeats, always the same."""
    if file.sample is None:
        return None if file.first is None else range(file.first)
    there = sum(1 for _ in read_rows(file.path))
    if file.sample > there:
        raise Fixable(
            f"{file.sample:,} rows are wanted ('num_samples') and there are {there:,}",
            "lower it; to show rows more than once, teach more epochs or mix with shares",
            file.path,
        )
    drawn = sorted(np.random.default_rng(0).choice(there, file.sample, replace=False).tolist())
    return frozenset(drawn[: file.first])


def rather(path: Path) -> Literal["data", "questions", ""]:
    """What a file that was added as a document is rather for, by its first row; "" where it may well be a document."""
    if not path.is_file() or path.suffix.lower() not in (".json", ".jsonl", ".csv"):
        return ""
    try:
        place, row = next(read_rows(path))
        columns = {column_of(name) for name in row}
        if "question" in columns and columns & {"answer", "answers"}:
            return "questions"
        return "" if recognise(row, place) == TEXT else "data"
    except (Fixable, StopIteration):
        return ""
