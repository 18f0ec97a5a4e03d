"""Encoded sequences on disk: tokenised once, by several processes, and read through a memory map as they are needed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from shuyuan.base.errors import disk_errors
from shuyuan.base.files import locked, read_json, sync_folder, write_json
from shuyuan.base.lazy import Lazy
from shuyuan.base.progress import Bar, say
from shuyuan.base.records import Document, Example, Kept
from shuyuan.prepare.chat import Encoded, Tokenizer, encode_documents, encode_each, encode_examples, encoding_kept
from shuyuan.prepare.endings import Pair, Pairs, encode_endings, pairs_kept
from shuyuan.prepare.workers import in_order, worker_count

T = TypeVar("T")
_VERSION = 1  # raised when encoding changes what it makes of the same input
_IN_MEMORY = 20_000  # examples
_PIECE = 512  # items a worker encodes at once; a kill loses as many
_WORTH_A_PROCESS = 20_000  # items that take longer to encode than a process takes to start
_FILES = ("ids.i32", "ends.i64", "sources.utf8", "source_ends.i64")
_NOTE = "progress.json"


class TokenFiles(Lazy[Encoded]):
    """Sequences in a folder, each read when it is asked for.

    `ids.i32` holds the token ids end to end, a learned one as its complement (`~id`, below zero); `ends.i64` where
    each sequence ends, in tokens; `sources.utf8` and `source_ends.i64` the same for the places they came from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ids = _mapped(folder / "ids.i32", np.int32)
        self._ends = _mapped(folder / "ends.i64", np.int64)
        self._sources = _mapped(folder / "sources.utf8", np.uint8)
        self._source_ends = _mapped(folder / "source_ends.i64", np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def _at(self, index: int) -> Encoded:
        ids = self._ids[slice(*_bounds(self._ends, index))]
        source = self._sources[slice(*_bounds(self._source_ends, index))].tobytes().decode()
        return Encoded(tuple(np.where(ids < 0, ~ids, ids).tolist()), tuple((ids < 0).tolist()), source)


def encoded(
    examples: Sequence[Example], tokenizer: Tokenizer, longest: int, cache: Path
) -> tuple[Sequence[Encoded], Kept]:
    """The encoded examples, in memory or, where there are many, under `cache`; and what was left out."""
    if len(examples) <= _IN_MEMORY:
        return encode_examples(examples, tokenizer, longest)
    return examples_on_disk(examples, tokenizer, longest, cache)


def encoded_pairs(
    examples: Sequence[Example], tokenizer: Tokenizer, longest: int, cache: Path
) -> tuple[Sequence[Pair], Kept]:
    """As `encoded`, with both endings of each example."""
    if len(examples) <= _IN_MEMORY:
        tally = Counter[str]()
        made: Sequence[Encoded] = tuple(encode_endings(examples, tokenizer, longest, tally))
    else:
        made, tally = _examples_on_disk(examples, _encode_endings, tokenizer, longest, cache)
    return Pairs(made), pairs_kept(tally, longest)


def examples_on_disk(
    examples: Sequence[Example], tokenizer: Tokenizer, longest: int, cache: Path, workers: int = 0
) -> tuple[TokenFiles, Kept]:
    """As `encode_examples`, with the result in a folder under `cache`, for what is larger than memory.

    What was encoded before from the same examples by the same tokenizer is used again; a run that was stopped goes on.
    The result does not depend on `workers`; 0 chooses as many as help.
    """
    made, tally = _examples_on_disk(examples, _encode_examples, tokenizer, longest, cache, workers)
    return made, encoding_kept(tally, longest)


def documents_on_disk(
    documents: Sequence[Document], tokenizer: Tokenizer, block: int, cache: Path, workers: int = 0
) -> TokenFiles:
    """As `encode_documents`, with the result in a folder under `cache`; see `examples_on_disk`."""
    content = _hash_of([d.source, d.text] for d in documents)
    shared = tokenizer, block
    return _on_disk(documents, _encode_documents, shared, content=content, cache=cache, workers=workers)[0]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some sequences in the form of the files, and how many items came, were cut and were left out."""

    columns: tuple[bytes, bytes, bytes, bytes]
    tally: Counter[str]


def _examples_on_disk(  # noqa: PLR0917  (what a caller was given)
    examples: Sequence[Example],
    encode: Callable[[Any, Sequence[Example]], _Piece],
    tokenizer: Tokenizer,
    longest: int,
    cache: Path,
    workers: int = 0,
) -> tuple[TokenFiles, Counter[str]]:
    content = _hash_of([e.tools, e.place, *e.content[0], *e.content[1:]] for e in examples)
    return _on_disk(examples, encode, (tokenizer, longest), content=content, cache=cache, workers=workers)


def _encode_examples(shared: tuple[Tokenizer, int], examples: Sequence[Example]) -> _Piece:
    tally = Counter[str]()
    return _piece(encode_each(examples, *shared, tally), tally)


def _encode_endings(shared: tuple[Tokenizer, int], examples: Sequence[Example]) -> _Piece:
    tally = Counter[str]()
    return _piece(encode_endings(examples, *shared, tally), tally)


def _encode_documents(shared: tuple[Tokenizer, int], documents: Sequence[Document]) -> _Piece:
    return _piece(encode_documents(documents, *shared), Counter(came=len(documents)))


def _piece(sequences: Iterable[Encoded], tally: Counter[str]) -> _Piece:
    ids, lengths, sources = [], [], []
    for sequence in sequences:
        flat = np.array(sequence.ids, np.int32)
        ids.append(np.where(sequence.learned, ~flat, flat).tobytes())
        lengths.append(len(flat))
        sources.append(sequence.source.encode())
    source_lengths = [len(source) for source in sources]
    columns = (b"".join(ids), _bytes(lengths), b"".join(sources), _bytes(source_lengths))
    return _Piece(columns, tally)


def _on_disk(
    items: Sequence[T],
    encode: Callable[[Any, Sequence[T]], _Piece],
    shared: tuple[Tokenizer, int],
    *,
    content: str,
    cache: Path,
    workers: int,
) -> tuple[TokenFiles, Counter[str]]:
    """Encode what is not encoded yet. The folder's last name is the fingerprint of all that goes into it."""
    tokenizer, size = shared
    vocabulary = tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, tokenizer.eos_token_id
    key = _hash_of([(_VERSION, encode.__name__, content, size, vocabulary)])[:16]
    folder, aside = cache / "tokens" / key, cache / "tokens" / f"{key}.part"
    with locked(cache / "tokens" / f"{key}.lock", "tokenising", wait=True):
        if _whole(folder):
            say(f"the tokens of these {len(items):,} are on disk already")
        else:
            _encode_rest(items, encode, shared, aside, workers or worker_count(len(items), _WORTH_A_PROCESS))
            shutil.rmtree(folder, ignore_errors=True)  # one that is there but not whole
            aside.replace(folder)
            sync_folder(folder.parent)
    return TokenFiles(folder), Counter(read_json(folder / _NOTE)["tally"])


def _encode_rest(
    items: Sequence[T],
    encode: Callable[[Any, Sequence[T]], _Piece],
    shared: tuple[Tokenizer, int],
    aside: Path,
    workers: int,
) -> None:
    """Append piece after piece to the files in `aside`; the note after each says how far they are whole."""
    tally, sizes, totals = _progress(aside)
    write_json(aside / _NOTE, {"tally": dict(tally), "sizes": sizes, "totals": totals})
    done = tally["came"]
    pieces = (items[at : at + _PIECE] for at in range(done, len(items), _PIECE))
    with disk_errors(aside), Bar("tokenising", len(items), "items", done=done) as bar:
        files = [(aside / name).open("ab") for name in _FILES]
        try:
            for file, size in zip(files, sizes, strict=True):
                file.truncate(size)  # a kill may have left bytes behind that the note does not know
            for piece in in_order(encode, shared, pieces, workers):
                for number, column in enumerate(_absolute(piece.columns, totals)):
                    files[number].write(column)
                    files[number].flush()
                    os.fsync(files[number].fileno())
                    sizes[number] += len(column)
                tally.update(piece.tally)
                write_json(aside / _NOTE, {"tally": dict(tally), "sizes": sizes, "totals": totals})
                bar.advance(piece.tally["came"])
        finally:
            for file in files:
                file.close()


def _absolute(columns: tuple[bytes, bytes, bytes, bytes], totals: list[int]) -> Iterator[bytes]:
    """The columns with lengths turned into ends, counted on from `totals`, which move along."""
    for number, column in enumerate(columns):
        if number % 2 == 0:
            yield column
            continue
        ends = np.cumsum(np.frombuffer(column, np.int64)) + totals[number // 2]
        if len(ends):
            totals[number // 2] = int(ends[-1])
        yield ends.tobytes()


def _progress(aside: Path) -> tuple[Counter[str], list[int], list[int]]:
    """How far an interrupted encoding came: counts, sizes of the files, tokens and bytes of sources so far."""
    aside.mkdir(parents=True, exist_ok=True)
    if (aside / _NOTE).exists():
        note = read_json(aside / _NOTE)
        if all((aside / name).stat().st_size >= size for name, size in zip(_FILES, note["sizes"], strict=True)):
            return Counter(note["tally"]), note["sizes"], note["totals"]
    return Counter(), [0] * len(_FILES), [0, 0]


def _whole(folder: Path) -> bool:
    """Whether the folder is there with files as long as they were when it was finished."""
    if not (folder / _NOTE).exists():
        return False
    sizes = read_json(folder / _NOTE)["sizes"]
    return all(
        (folder / name).exists() and (folder / name).stat().st_size == size
        for name, size in zip(_FILES, sizes, strict=True)
    )


def _mapped(path: Path, kind: type) -> np.ndarray:
    empty = path.stat().st_size == 0  # which cannot be mapped
    return np.empty(0, kind) if empty else np.memmap(path, kind, "r")


def _bounds(ends: np.ndarray, at: int) -> tuple[int, int]:
    return (int(ends[at - 1]) if at else 0), int(ends[at])


def _bytes(numbers: Sequence[int]) -> bytes:
    return np.array(numbers, np.int64).tobytes()


def _hash_of(parts: Iterable[object]) -> str:
    content = hashlib.sha256()
    for part in parts:
        content.update(json.dumps(part, ensure_ascii=False).encode() + b"\n")
    return content.hexdigest()
