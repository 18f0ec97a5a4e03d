"""LLaMA-Factory's `dataset_info.json` as it is: which file a data set lies in and how its rows are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.prepare.rows import SUFFIXES, parse_json
from shuyuan.prepare.shapes import ALPACA, NOT_YET, OPENAI, SHAREGPT, Shape

FILE = "dataset_info.json"
_ELSEWHERE = {
    "hf_hub_url": "on the Hugging Face hub",
    "ms_hub_url": "on ModelScope",
    "om_hub_url": "on OpenMind",
    "cloud_file_name": "in cloud storage",
    "script_url": "behind a loading script, which is code and never run",
}
_KEYS = ("file_name", "formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags")
_COLUMNS = (*ALPACA.columns, "messages", "tools", "chosen", "rejected", *NOT_YET)
_TAGS = tuple(SHAREGPT.tags)
_SHAPES = {"alpaca": ALPACA, "sharegpt": SHAREGPT, "openai": OPENAI}
_UNDECLARED = ("history", "system", "tools")  # read by LLaMA-Factory only where `columns` names them


@dataclass(frozen=True, slots=True)
class DataSet:
    """One entry: its files, the shape of their rows, and how many rows are wanted (None: all)."""

    name: str
    files: tuple[Path, ...]
    shape: Shape
    num_samples: int | None = None


def read_dataset_info(path: Path, names: tuple[str, ...] = ()) -> list[DataSet]:
    """The data sets of these names, or all that can be learned from here when none is named.

    Only the entries that are asked for are checked: an unknown key, a name that is not there, a file that is missing
    and a feature that is not here yet are each a `Fixable` that says which.
    """
    entries = _entries(path)
    for name in names:
        if name not in entries:
            raise Fixable(f"there is no data set '{name}' in it", near_miss(name, entries), path)
    if names:
        return [_data_set(name, entries[name], path) for name in dict.fromkeys(names)]
    here = [name for name, entry in entries.items() if isinstance(entry, dict) and not _ELSEWHERE.keys() & entry.keys()]
    if not here:
        raise Fixable("none of its data sets is a file", f"there are: {', '.join(entries)[:200]}", path)
    raise Fixable("it is not said which data sets are wanted", f"name them: --dataset {','.join(here)[:200]}", path)


def _entries(path: Path) -> dict[str, Any]:
    try:
        entries = parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Fixable(f"the file cannot be read: {error.strerror}", "check its name and permissions", path) from None
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise Fixable(f"not valid JSON: {error}", "correct it there", f"{path}:{line}") from None
    if not isinstance(entries, dict):
        raise Fixable("it does not describe data sets", 'write {"name": {"file_name": …}, …}', path)
    return entries


def _data_set(name: str, entry: Any, path: Path) -> DataSet:
    place = f"{path} ({name})"
    if not isinstance(entry, dict):
        raise Fixable("its description is not an object", 'write {"file_name": …}', place)
    for key in entry:
        if key not in (*_KEYS, *_ELSEWHERE):
            raise Fixable(f"unknown key '{key}'", near_miss(key, (*_KEYS, *_ELSEWHERE)), place)
    for key, where in _ELSEWHERE.items():
        if key in entry:
            raise Fixable(
                f"'{key}': it lies {where}, and nothing is fetched here",
                "fetch its file and name it with 'file_name' instead",
                place,
            )
    for key in ("subset", "folder"):
        if entry.get(key):
            raise Fixable(f"'{key}' has no meaning for a file", "remove it", place)
    if entry.get("split", "train") != "train":
        raise Fixable(f"'split': a file is one split, 'train', and not {entry['split']!r}", "remove it", place)
    wanted = entry.get("num_samples")
    if wanted is not None and (not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1):
        raise Fixable(f"'num_samples' cannot be {wanted!r}", "write how many rows are wanted", place)
    return DataSet(name, _files(entry.get("file_name"), path, place), _shape(entry, place), wanted)


def _files(file_name: Any, path: Path, place: str) -> tuple[Path, ...]:
    """The file, or the files of the folder, beside the description."""
    if not isinstance(file_name, str) or not file_name:
        raise Fixable("it has no 'file_name'", "name its file, relative to the description", place)
    file = path.parent / file_name
    if file.is_dir():
        files = tuple(sorted(part for part in file.iterdir() if part.suffix in SUFFIXES))
        if files:
            return files
        raise Fixable(f"the folder {file} holds no data files", f"they end in {' '.join(SUFFIXES)}", place)
    if not file.is_file():
        beside = [part.name for part in path.parent.iterdir() if part.suffix in SUFFIXES and part.name != path.name]
        raise Fixable(f"its file {file} is not there", near_miss(file.name, beside)[:200], place)
    return (file,)


def _shape(entry: Mapping[str, Any], place: str) -> Shape:
    """As in LLaMA-Factory: where `columns` or `tags` are given, those that are left out do not exist."""
    formatting = entry.get("formatting", "alpaca")
    if formatting not in _SHAPES:
        raise Fixable(f"'formatting' cannot be {formatting!r}", near_miss(str(formatting), _SHAPES), place)
    shape = _SHAPES[formatting]
    given = _checked(entry, "columns", _COLUMNS, place)
    for column, what in NOT_YET.items():
        if column in given:
            raise Fixable(f"the column '{column}': {what} cannot be learned from yet", place=place)
    columns = given or {name: column for name, column in shape.columns.items() if name not in _UNDECLARED}
    endings = {"chosen", "rejected"} & columns.keys()
    if entry.get("ranking") and len(endings) < 2:
        what = "'ranking': 'columns' does not say which ones are 'chosen' and 'rejected'"
        raise Fixable(what, 'write "chosen": "chosen", "rejected": "rejected"', place)
    if endings and not entry.get("ranking"):
        raise Fixable(f"the column '{min(endings)}' is of preference pairs", 'write "ranking": true', place)
    tags = _checked(entry, "tags", _TAGS, place) or shape.tags
    if shape.kind == "alpaca":
        if "prompt" not in columns:
            raise Fixable("'columns' does not say which one is the 'prompt'", 'write "prompt": "instruction"', place)
        if endings:
            columns.pop("response", None)
        return Shape("alpaca" if endings or "response" in columns else "text", columns)
    if "messages" not in columns:
        columns = {**columns, "messages": shape.columns["messages"]}
    for tag in ("role_tag", "content_tag", "user_tag", "assistant_tag"):
        if tag not in tags:
            raise Fixable(f"'tags' does not say what the '{tag}' is", f'write "{tag}": "{shape.tags[tag]}"', place)
    return Shape("chat", columns, tags)


def _checked(entry: Mapping[str, Any], key: str, known: tuple[str, ...], place: str) -> dict[str, str]:
    given = entry.get(key) or {}
    if not isinstance(given, dict):
        raise Fixable(f"'{key}' must be an object", f'write "{key}": {{…}}', place)
    for name, value in given.items():
        if name not in known:
            raise Fixable(f"unknown name '{name}' in '{key}'", near_miss(name, known), place)
        if value is not None and not isinstance(value, str):
            raise Fixable(f"'{name}' in '{key}' must be text", "put it in quotes", place)
    return {name: value for name, value in given.items() if value}
