"""Reads the house's source as a tree, to judge its order; used by `test_house.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOMS = ["base", "read", "prepare", "load", "measure", "train", "store", "recall"]
ROOMS += ["draw", "teach", "examine", "export", "serve", "web", "cli"]
LONGEST_FUNCTION, LONGEST_FILE = 60, 400
BANNED_CALLS = ("torch.load", "pickle", "cPickle", "joblib.load", "marshal", "shelve", "eval", "exec")


def imports(source: str, room: str) -> Iterator[tuple[int, str]]:
    """Every absolute name a file imports, with its line, relative imports resolved against `shuyuan.<room>`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ["shuyuan", room][: 3 - node.level] if node.level else []
            stem = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def wrong_way(source: str, room: str) -> list[str]:
    """The imports of a file in `room` that point to a room on its right."""
    found = []
    for line, name in imports(source, room):
        parts = name.split(".")
        if parts[0] == "shuyuan" and len(parts) > 1 and parts[1] in ROOMS and ROOMS.index(parts[1]) > ROOMS.index(room):
            found.append(f"line {line}: {room} imports {name}")
    return found


def too_long(source: str) -> list[str]:
    """The functions whose bodies, without the docstring, are longer than a screen; and the file, if it is too long."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            if lines > LONGEST_FUNCTION:
                found.append(f"line {node.lineno}: {node.name} has {lines} lines")
    if source.count("\n") > LONGEST_FILE:
        found.append(f"{source.count(chr(10))} lines in one file")
    return found


def unsafe(source: str) -> list[str]:
    """Uses of formats that run code when they are read, and of `eval`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Call):
            names = [ast.unparse(node.func)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"line {node.lineno}: {n}" for n in names if n in BANNED_CALLS or n.split(".")[0] == "pickle"]
    return found


def undocumented(source: str) -> list[str]:
    """The public modules, classes, functions and methods that have no docstring."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the file"]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for holder in (tree, *(node for node in classes if not _describes_others(node))):
        for node in holder.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                found += [] if ast.get_docstring(node) else [f"line {node.lineno}: {node.name}"]
    return found


def _describes_others(node: ast.ClassDef) -> bool:
    """A protocol whose methods are only `...` names what we use of another package's class."""
    methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
    return bool(methods) and all(ast.unparse(method.body) == "..." for method in methods)


def model_names(source: str) -> list[str]:
    """Comparisons with a model family's name: behaviour has to come from what ships with a model."""
    families = ("qwen", "smollm", "llama", "mistral", "gemma", "phi", "deepseek", "glm", "e5", "bge")
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            words = [
                c.value.lower() for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)
            ]
            found += [f"line {node.lineno}: '{w}'" for w in words if any(w.startswith(family) for family in families)]
    return found


def files(house: Path) -> list[Path]:
    """Every source file in a room."""
    return sorted(path for room in ROOMS for path in (house / room).rglob("*.py"))
