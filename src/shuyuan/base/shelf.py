"""The folder is the list: a room's choices are its files, read without importing them.

A file is on its room's shelf when it defines the record it is named after (`lora.py` → `class Lora(Settings)`), so the
other files of a room (`loop.py`; `model.py` with its plain `class Model`) need no mark. Other packages add choices with
an entry point in the group `shuyuan.<room>` that names such a class. A file whose name would be a Python keyword ends
in `_` (`continue_.py`).
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable, near_miss

HOUSE = Path(__file__).resolve().parent.parent


def class_name(file_name: str) -> str:
    """`exact_match` → `ExactMatch`."""
    return "".join(part.capitalize() for part in file_name.split("_"))


def kebab_name(way: type) -> str:
    """The name people type for a class of a shelf: `ExactMatch` → `exact-match`."""
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in way.__name__).strip("-")


@cache
def choices(room: str) -> dict[str, str]:
    """What a room offers: name → its one line. Names are as people type them (`exact-match`), sorted."""
    found = {}
    for file in (HOUSE / room).glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        wanted = class_name(file.stem)
        if any(isinstance(node, ast.ClassDef) and node.name == wanted and node.bases for node in tree.body):
            line = (ast.get_docstring(tree) or "").partition("\n")[0]
            found[file.stem.rstrip("_").replace("_", "-")] = line.rstrip(".")
    for point in importlib.metadata.entry_points(group=f"shuyuan.{room}"):
        found.setdefault(point.name, f"from {point.dist.name}" if point.dist else point.value)
    return dict(sorted(found.items()))


def choose(room: str, name: str) -> Any:
    """Import one choice and return its class; an unknown name is a `Fixable` that guesses the near miss."""
    name = name.replace("_", "-")
    if name not in choices(room):
        raise Fixable(f"there is no '{name}' to {room} with", near_miss(name, choices(room)))
    for stem in (name.replace("-", "_"), name.replace("-", "_") + "_"):
        if (HOUSE / room / f"{stem}.py").exists():
            return getattr(importlib.import_module(f"shuyuan.{room}.{stem}"), class_name(stem))
    (point,) = importlib.metadata.entry_points(group=f"shuyuan.{room}", name=name)
    return point.load()
