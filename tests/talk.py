"""Reads the house's source as a tree, for what it says to people: errors, hints and lines of a log, as templates.

A template is a line of a text with a number in braces for what is filled in: `there is no '{0}' to {1} with`.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# Who says things, and which of their arguments people read.
SAYS = {"Fixable": (0, 1), "Quoted": (0, 1), "Diverged": (0, 1), "SourceFailed": (0, 1)}
SAYS |= {
    "told": (0,),
    "wrong": (1, 2),
    "fail": (0,),
    "word": (0,),
    "heads": tuple(range(9)),
    "labelled": (0,),
    "Kept": (3,),
}
SAYS |= {"Refused": (1, 2), "say": (0,), "Bar": (0, 2), "Wait": (0,), "follow": (1, 3), "broken": (1,)}
NAMED = ("what", "hint", "fault")
# What makes a text for somebody else to say: all that stands in it is said.
TELLERS = ("__str__", "short", "_doubts", "_cost", "verdict", "curves", "_compared")
TELLERS += ("_largest", "_figures", "near_miss", "_why", "_first_faults")


GATES = ("refused", "_not_alone", "_item", "_put_record")  # which give back why not


Scopes = tuple[ast.AST, ...]  # the function that something stands in, if it does, then the file


def templates(node: ast.AST | None, scopes: Scopes) -> Iterator[str]:
    """The texts that an expression can be. A name is looked up among the assignments of its function or file."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield joined(node)
    elif isinstance(node, ast.IfExp):
        yield from templates(node.body, scopes)
        yield from templates(node.orelse, scopes)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from templates(value, scopes)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for left in templates(node.left, scopes):
            yield from (renumbered(left, right) for right in templates(node.right, scopes))
    elif isinstance(node, ast.Name):
        for value in _assigned(node.id, scopes):
            yield from templates(value, ())  # once: an assignment may name itself
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join" and node.args:
        for value in getattr(node.args[0], "elts", []):
            yield from templates(value, scopes)


def joined(node: ast.JoinedStr) -> str:
    """`f"a {x} b"` → `a {0} b`."""
    text, number = "", 0
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += part.value
        else:
            text, number = f"{text}{{{number}}}", number + 1
    return text


def renumbered(left: str, right: str) -> str:
    """Two templates as one."""
    ahead = len(HOLE.findall(left))
    return left + HOLE.sub(lambda hole: f"{{{int(hole[1]) + ahead}}}", right)


HOLE = re.compile(r"\{(\d+)\}")


def lines(text: str) -> Iterator[str]:
    """The lines of a template, each numbered by itself, without what joins it to others."""
    for line in text.split("\n"):
        yield numbered(line.strip(" ;,").removeprefix("hint: "))


def numbered(text: str) -> str:
    """A template with its holes counted from 0 in their order."""
    count = itertools.count()
    return HOLE.sub(lambda _: f"{{{next(count)}}}", text)


def has_words(template: str) -> bool:
    """Whether there is anything in it to translate."""
    return bool(re.search(r"[a-z]{2}", HOLE.sub("", template)))


def said(path: Path) -> Iterator[tuple[int, str]]:
    """What a file tells people: line number and template."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for scopes, node in _walk(tree, (tree,)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name not in SAYS:
                continue
            told = [node.args[at] for at in SAYS[name] if at < len(node.args)]
            told += [keyword.value for keyword in node.keywords if keyword.arg in NAMED]
        elif isinstance(node, ast.FunctionDef) and node.name in TELLERS:
            told = list(_texts(node.body[1:] if ast.get_docstring(node) else node.body))
        else:
            continue
        for one in told:
            for text in templates(one, scopes):
                yield from ((node.lineno, line) for line in lines(text) if has_words(line))


def reasons(path: Path) -> Iterator[tuple[int, str]]:
    """Why a file drops things: what it counts under `dropped`, calls `why`, or gives back from a gate."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        given: list[ast.AST] = []
        if isinstance(node, ast.Subscript) and _last_name(node.value) in ("dropped", "left_out"):
            given = [node.slice]
        elif isinstance(node, ast.Assign) and _last_name(node.targets[0]) in ("dropped", "left", "why"):
            given = [
                node.value,
                *(key for one in ast.walk(node.value) if isinstance(one, ast.Dict) for key in one.keys if key),
            ]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and _last_name(node.func.value) == "notes"
            and node.func.attr == "append"
        ):
            given = [*node.args]
        elif isinstance(node, ast.FunctionDef) and node.name in GATES:
            given = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value]
        for one in given:
            yield from ((node.lineno, text) for text in templates(one, ()) if has_words(text))


def _last_name(node: ast.AST) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def filled(english: str, chinese: str) -> tuple[str, str]:
    """A text as it may be said, and what is to make of it."""
    words = re.sub(r"\{\d+\}|[^a-z“”]", "", english.lower())
    starred = dict(re.findall(r"\{(\d+)(\*?)\}", chinese))
    beside = re.findall(r"\{(\d+)\}(?=\{)", english)

    def value(hole: str) -> tuple[str, str]:
        if hole in beside or (len(words) < 5 and not starred[hole]):
            return "12", "12"
        return ("cancelled", "取消") if starred[hole] else (f"档案{hole}🎓.pdf", f"档案{hole}🎓.pdf")

    said = re.sub(r"\{(\d+)\}", lambda hole: value(hole[1])[0], english)
    told = re.sub(r"\{(\d+)\*?\}", lambda hole: value(hole[1])[1], chinese)
    return (said, told) if " " in said else (f"hint: {said}", f"提示：{told}")  # one word by itself is a name


def every_text(path: Path) -> Iterator[str]:
    """Every line of every text of a file, and of every two that are put together."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for scopes, node in _walk(tree, (tree,)):
        if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)):
            for text in templates(node, scopes):
                yield from lines(text)


def _walk(node: ast.AST, scopes: Scopes) -> Iterator[tuple[Scopes, ast.AST]]:
    """Every node with where it stands."""
    yield scopes, node
    inner = (node, scopes[-1]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else scopes
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, inner)


def _texts(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The texts in these nodes as wholes, and those that are filled into them; keys are no texts."""
    for node in nodes:
        if isinstance(node, ast.Constant):
            yield node
        elif isinstance(node, ast.JoinedStr):
            yield node
            yield from _texts(part.value for part in node.values if isinstance(part, ast.FormattedValue))
        else:
            yield from _texts([node.value] if isinstance(node, ast.Subscript) else ast.iter_child_nodes(node))


def _assigned(name: str, scopes: Scopes) -> Iterator[ast.expr]:
    """What a name is set to in the function; else in the file."""
    for scope in scopes:
        nodes = scope.body if isinstance(scope, ast.Module) else ast.walk(scope)
        found = [value for node in nodes if (value := _set_to(name, node))]
        if found:
            yield from found
            return


def _set_to(name: str, node: ast.AST) -> ast.expr | None:
    if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
        return None
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return node.value if any(getattr(target, "id", "") == name for target in targets) else None
