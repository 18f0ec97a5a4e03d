"""Rows out of files: every form, any size, and hostile content named by its line."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.prepare.rows import json_list, read_rows

ROWS: list[dict[str, Any]] = [
    {"text": "书院里藏着很多书，学生们在这里读书和考试。🎓\n这是第二行。"},
    {"text": 'Ｆｕｌｌ-width, "quoted"; and more'},
    {"text": "👩‍👩‍👧 " * 3},
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_every_form_gives_the_same_rows(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl").write_bytes(("\ufeff" + lines.replace("\n", "\r\n\r\n")).encode())
    (tmp_path / "c.json").write_text(json.dumps(ROWS, indent=2))
    (tmp_path / "d.json").write_bytes(json.dumps(ROWS, ensure_ascii=False).encode("gb18030"))
    (tmp_path / "e.json").write_bytes(json.dumps(ROWS, ensure_ascii=False).encode("utf-16"))
    cells = "".join('"' + row["text"].replace('"', '""') + '"\n' for row in ROWS)
    (tmp_path / "f.csv").write_text("\n\ntext\n" + cells)
    table = pyarrow.Table.from_pylist(ROWS)
    pyarrow.parquet.write_table(table, tmp_path / "g.parquet")
    with pyarrow.OSFile(str(tmp_path / "h.arrow"), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    with pyarrow.OSFile(str(tmp_path / "i.arrow"), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as out:
        out.write_table(table)
    where = {}
    for path in sorted(tmp_path.iterdir()):
        numbered = list(read_rows(path))
        where[path.name] = [place for place, _ in numbered]
        assert [row for _, row in numbered] == ROWS, path
    assert where["a.jsonl"] == ["1", "2", "3"]
    assert where["b.jsonl"] == ["1", "3", "5"]
    assert where["c.json"] == ["2", "5", "8"]
    assert where["d.json"] == ["1", "1", "1"]
    assert where["f.csv"] == ["4", "6", "7"]
    assert where["g.parquet"] == where["h.arrow"] == where["i.arrow"] == ["row 1", "row 2", "row 3"]


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=6), st.data())
def test_a_json_list_may_be_cut_anywhere(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    text = json.dumps(rows, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    size = data.draw(st.integers(1, max(1, len(text))))
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    numbered = list(json_list(chunks, Path("x.json")))
    assert [row for _, row in numbered] == rows
    lines = text.split("\n")
    assert all(lines[line - 1].lstrip(" [,").startswith("{") for line, _ in numbered)


GOOD = '{"text": "x"}\n'


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ('{"text": NaN}', "NaN is not a JSON value"),
        ('{"text": -Infinity}', "-Infinity is not"),
        ('{"text": "a", "text": "b"}', "the key 'text' stands there twice"),
        ('{"text": {"a": 1, "a": 2}}', "the key 'a' stands there twice"),
        ('{"text": ' + "[" * 100_000, "nested too deep"),
        ('{"text": "x"', "not valid JSON"),
        ('{"text": ' + "9" * 5000 + "}", "integer string"),
        ('["x"]', "not a JSON object"),
        ('"x"', "not a JSON object"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_hostile_line_is_named(tmp_path: Path, bad: str, what: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(GOOD * 36 + bad + "\n" + GOOD)
    with pytest.raises(Fixable, match=what) as error:
        list(read_rows(file))
    assert error.value.place == f"{file}:37"
    file.write_text("[" + (GOOD.strip() + ",\n") * 36 + bad + ",\n" + GOOD + "]")
    with pytest.raises(Fixable, match=r"not valid JSON|not a JSON object|nested") as error:
        list(read_rows(file))
    assert error.value.place.startswith(f"{file}:3")


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        (b'[{"text": "x"},\n{"text": "y"}', "the list does not end", 2),
        (b'[{"text": "x"}\n{"text": "y"}]', "',' is missing", 2),
        (b'[{"text": "x"}]\n{}', "behind the list", 2),
        (b"[\n]", "empty", 0),
        (b" \n\n", "nothing in it", 0),
        (b"", "nothing in it", 0),
        (b"text\nx\n" * 200_000 + b"\xff\xfe broken", "not valid UTF-8", 400_001),
        (b"text,text\nx,y\n", "twice", 1),
        (b'text\n"x"y\n', "not valid CSV", 2),
        (b"PAR1 and nothing more", "table cannot be read", 0),
        (b"ARROW1\0\0 and nothing more", "table cannot be read", 0),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, what: str, line: int) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(Fixable, match=what) as error:
        list(read_rows(file))
    assert error.value.place == (f"{file}:{line}" if line else str(file))


def test_a_line_of_ten_megabytes_and_a_cell_of_one(tmp_path: Path) -> None:
    long = "书🎓" * 1_500_000  # 10.5 MB of UTF-8
    (tmp_path / "a.jsonl").write_text(GOOD + json.dumps({"text": long}, ensure_ascii=False) + "\n" + GOOD)
    assert [len(row["text"]) for _, row in read_rows(tmp_path / "a.jsonl")] == [1, len(long), 1]
    (tmp_path / "a.json").write_text(json.dumps([{"text": "x"}, {"text": long}, {"text": "x"}]))
    assert [len(row["text"]) for _, row in read_rows(tmp_path / "a.json")] == [1, len(long), 1]
    (tmp_path / "a.csv").write_text("text\n" + long[:1_000_000] + "\n")
    assert [len(row["text"]) for _, row in read_rows(tmp_path / "a.csv")] == [1_000_000]


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str) -> None:
    """60,000 rows, 30 MB as objects, are read within 8 MB."""
    file = tmp_path / f"a.{form}"
    text = "一句不长的话 and some English " * 2
    with file.open("w") as out:
        if form == "csv":
            out.write("number,text\n")
            out.writelines(f"{number},{text}\n" for number in range(60_000))
        elif form == "jsonl":
            out.writelines(f'{{"number": "{number}", "text": "{text}"}}\n' for number in range(60_000))
        elif form == "json":
            out.write('[{"number": "0", "text": "x"}')
            out.writelines(f',{{"number": "{number}", "text": "{text}"}}' for number in range(1, 60_000))
            out.write("]")
    if form == "parquet":
        columns = {"number": [str(number) for number in range(60_000)], "text": [text] * 60_000}
        pyarrow.parquet.write_table(pyarrow.table(columns), file, use_dictionary=False, compression="none")
    assert file.stat().st_size > 4_000_000
    arrow = pyarrow.default_memory_pool()
    before = arrow.bytes_allocated()
    tracemalloc.start()
    count, most = 0, 0
    for count, _ in enumerate(read_rows(file), start=1):
        if count % 1000 == 0:
            most = max(most, arrow.bytes_allocated() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60_000
    assert peak + most < 8_000_000
