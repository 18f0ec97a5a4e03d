"""Encoded sequences on disk: equal to those in memory under any number of workers, resumed after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from light import doubled
from tiny import tiny_tokenizer

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Example, Message
from shuyuan.prepare import tokens
from shuyuan.prepare.chat import Encoded, encode_documents, encode_examples
from shuyuan.prepare.tokens import TokenFiles, documents_on_disk, examples_on_disk
from shuyuan.prepare.workers import in_order, worker_count


def lesson(number: int) -> Example:
    """A short conversation; every seventh has nothing to learn, every fifth is long."""
    answer = f"答案是 {number} 🎓。" + "长" * (40 if number % 5 == 0 else 0)
    messages = (Message("user", f"第 {number} 个问题？"), Message("assistant", answer, learned=bool(number % 7)))
    return Example(str(number), messages, place=f"课/f.jsonl:{number}")


class Lessons(Sequence[Example]):
    """Examples made when they are asked for."""

    def __init__(self, count: int, most: int = 10**9) -> None:
        self.count, self.most, self.made = count, most, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int | slice) -> Example | tuple[Example, ...]:  # type: ignore[override]
        if isinstance(index, slice):
            self.made += len(range(*index.indices(self.count)))
            if self.made > self.most:
                raise KeyboardInterrupt
            return tuple(lesson(number) for number in range(*index.indices(self.count)))
        return lesson(index)

    def __iter__(self) -> Iterator[Example]:
        return (lesson(number) for number in range(self.count))


def test_disk_equals_memory_under_any_number_of_workers(tmp_path: Path) -> None:
    tokenizer, examples = tiny_tokenizer(), Lessons(1200)
    expected, kept = encode_examples(examples, tokenizer, longest=60)
    for workers in (1, 3):
        found, same = examples_on_disk(examples, tokenizer, 60, tmp_path / str(workers), workers)
        assert tuple(found) == expected
        assert same == kept
        assert (len(found), found[-1], found[np.int64(3)], found[2:5]) == (
            len(expected), expected[-1], expected[3], expected[2:5],
        )  # fmt: skip
    assert kept.dropped == {"with nothing to learn": 172}
    assert "cut at 60 tokens" in kept.what
    files = [sorted((tmp_path / str(n)).rglob("*.*")) for n in (1, 3)]
    assert [f.read_bytes() for f in files[0] if f.is_file()] == [f.read_bytes() for f in files[1] if f.is_file()]
    with pytest.raises(IndexError):
        found[len(found)]


def test_documents_on_disk_equal_those_in_memory(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    documents = [Document(str(n), f"{n}.md", "", f"第 {n} 篇 🎓 text. " * (n % 9 + 1), "", "zh") for n in range(600)]
    expected = encode_documents(documents, tokenizer, 64)
    assert tuple(documents_on_disk(documents, tokenizer, 64, tmp_path, workers=1)) == expected
    assert len(documents_on_disk([], tokenizer, 64, tmp_path)) == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans())), st.text()), max_size=8))
def test_any_sequence_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[list[tuple[int, bool]], str]]
) -> None:
    made = [
        Encoded(tuple(i for i, _ in pairs), tuple(on for _, on in pairs), source.encode(errors="replace").decode())
        for pairs, source in rows
    ]
    folder = tmp_path_factory.mktemp("t")
    for name, column in zip(
        tokens._FILES, tokens._absolute(tokens._piece(made, tokens.Counter()).columns, [0, 0]), strict=True
    ):
        (folder / name).write_bytes(column)
    assert list(TokenFiles(folder)) == made


def test_it_is_done_once_and_again_when_anything_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer, examples = tiny_tokenizer(), Lessons(600)
    examples_on_disk(examples, tokenizer, 60, tmp_path)
    made = examples.made
    found, kept = examples_on_disk(examples, tokenizer, 60, tmp_path)
    assert examples.made == made == 600
    assert kept.came == 600
    assert "on disk already" in capsys.readouterr().err
    examples_on_disk(examples, tokenizer, 61, tmp_path)
    other = tiny_tokenizer()
    other.chat_template = "!" + other.chat_template
    examples_on_disk(examples, other, 60, tmp_path)
    examples_on_disk(Lessons(599), tokenizer, 60, tmp_path)
    assert examples.made == 3 * made
    assert len(list((tmp_path / "tokens").glob("*/ids.i32"))) == 4
    (found.folder / "ids.i32").write_bytes(b"cut")
    again, _ = examples_on_disk(examples, tokenizer, 60, tmp_path)
    assert tuple(again) == encode_examples(examples, tokenizer, 60)[0]


def test_stopped_anywhere_it_goes_on(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(KeyboardInterrupt):
        examples_on_disk(Lessons(2000, most=1100), tokenizer, 60, tmp_path)
    (part,) = (tmp_path / "tokens").glob("*.part")
    assert json.loads((part / "progress.json").read_text())["tally"]["came"] == 1024
    with (part / "ids.i32").open("ab") as out:
        out.write(b"half of a piece")  # what a kill between two writes leaves behind
    rest = Lessons(2000)
    found, kept = examples_on_disk(rest, tokenizer, 60, tmp_path)
    assert rest.made == 2000 - 1024
    assert (tuple(found), kept) == encode_examples(Lessons(2000), tokenizer, 60)


def test_workers_keep_the_order_and_a_dead_one_is_noticed() -> None:
    assert list(in_order(doubled, 1, range(40), 3)) == [2 * number + 1 for number in range(40)]
    with pytest.raises(Fixable, match="a worker process ended"):
        list(in_order(doubled, 0, range(40), 2))
    assert worker_count(100, 1000) == 1
    assert worker_count(10**9, 1000) >= 1


GROWTH = """
import json, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from tiny import tiny_tokenizer
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.adding import add
from shuyuan.prepare.tokens import examples_on_disk
from shuyuan.teach.cost import measured

folder = Path(sys.argv[1])
workspace, tokenizer = Workspace.create(folder / "school"), tiny_tokenizer()
def encode(name):
    examples = workspace.material.examples(f"{folder.name}/{name}.jsonl")
    found, _ = examples_on_disk(examples, tokenizer, 400, folder / "cache", workers=1)
    return sum(len(sequence.ids) for sequence in found)

add(workspace, [], data=[folder / "warm.jsonl"])
encode("warm")
with measured() as idle: pass
with measured() as adding: added = add(workspace, [], data=[folder / "many.jsonl", folder / "long.jsonl"])
with measured() as encoding: tokens = encode("long")
growth = [cost["peak_bytes"] - idle["peak_bytes"] for cost in (adding, encoding)]
print(json.dumps([added.examples, tokens, *growth]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux sets the highest memory back")
def test_large_files_stream_through(tmp_path: Path) -> None:
    """40,000 short rows are added within 15 MB more, and 5,000 long ones encoded and read: as objects, 30 MB each."""
    for name, count, times in (("warm", 600, 25), ("many", 40_000, 1), ("long", 5_000, 25)):
        with (tmp_path / f"{name}.jsonl").open("w") as out:
            for number in range(count):
                row = {"instruction": f"{name} {number}？", "output": "书院的回答 " * times}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
    command = [sys.executable, "-c", GROWTH, str(tmp_path), str(Path(__file__).parent)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    examples, found, adding, encoding = json.loads(shown.stdout)
    assert (examples, found) == (45_600, 5_000 * 400)
    assert adding < 15_000_000
    assert encoding < 15_000_000
