"""Training data as people have it → examples: OpenAI messages, sharegpt, alpaca, pairs; raw text → documents."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import fingerprint
from shuyuan.base.records import Document, Example, Kept, Message
from shuyuan.prepare.calls import called_functions, legacy_call, offered_tools
from shuyuan.prepare.rows import parse_json, read_rows
from shuyuan.prepare.shapes import Shape, recognise
from shuyuan.read.language import language

_HOLE = re.compile(r"\{\{(\w+)\}\}")
_MUST_FILL = ("name", "author")  # of the data set `identity`; other `{{…}}` may be code
_READ = ("role", "content", "weight", "tool_calls", "tool_call_id", "function_call", "name")  # of a message
_NO_MATTER = ("parallel_tool_calls", "functions")  # columns of OpenAI's format without a part in what is learned
_FOLLOWS = {
    "": ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
    "call": ("tool",),
    "tool": ("tool", "assistant"),
}
# In sharegpt data calls may stand in plain text, and an observation answers them all the same.
_FOLLOWS_LOOSELY = _FOLLOWS | {"assistant": ("user", "tool"), "call": ("tool", "user")}


@dataclass
class Tally:
    """What is counted while a file is read: rows come and dropped, columns that nothing used, holes filled."""

    came: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unused: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)

    def kept(self, what: str) -> Kept:
        """The counts as they stand."""
        return Kept(self.came, self.came - self.dropped.total(), dict(self.dropped), what)


def read_data(
    path: Path,
    name: str,
    tally: Tally,
    shape: Shape | None = None,
    *,
    replace: Mapping[str, str] | None = None,
    only: Collection[int] | None = None,
) -> Iterator[Example | Document]:
    """The examples, or documents, of a data file, one at a time; `name` stands in their places.

    Without a `shape` the first row tells it. Rows with nothing in them are dropped and counted in `tally`. `replace`
    fills holes: `{{name}}` becomes `replace["name"]`. `only`: the numbers of the rows that are wanted, counted from 0.
    A row that cannot be used is a `Fixable` naming its line.
    """
    for number, (where, row) in enumerate(read_rows(path)):
        place = f"{path}:{where}"
        shape = shape or recognise(row, place)
        tally.came += 1
        if only is not None and number not in only:
            tally.dropped["not drawn"] += 1
            continue
        row = _filled(row, replace or {}, () if shape.kind == "text" else _MUST_FILL, tally.filled, place)
        row = _opened(row, shape.inside, place) if shape.inside else row
        made = _document if shape.kind == "text" else _pair if "rejected" in shape.columns else _example
        record = made(row, shape, tally, f"{name}:{where}", place)
        if record is None:
            tally.dropped["empty"] += 1
        elif isinstance(record, Example) and not any(m.learned for m in record.messages if m.role == "assistant"):
            tally.dropped["with nothing to learn"] += 1
        else:
            yield record
        known = {*shape.columns.values(), *_NO_MATTER}
        tally.unused.update(column for column, value in row.items() if column not in known and value is not None)


def identified(example: Example) -> Example:
    """The example with its id: the same for examples that teach the same."""
    turns, *rejected = example.content
    return dataclasses.replace(example, id=fingerprint("example", turns, example.tools, *rejected))


def _document(row: Mapping[str, Any], shape: Shape, tally: Tally, source: str, place: str) -> Document | None:
    """The document of a raw text, or None when it is blank."""
    text = _text(row, shape.columns["prompt"], place)
    if not text.strip():
        return None
    mark = hashlib.sha256(text.encode()).hexdigest()
    return Document(fingerprint("text", mark), source, source, text, mark, language(text))


def _opened(row: Mapping[str, Any], column: str, place: str) -> dict[str, Any]:
    """The row with the columns of the object that stands in one of them."""
    inner = row.get(column)
    if not isinstance(inner, dict):
        raise Fixable(f"this row has no object '{column}'", f'write "{column}": {{"messages": [ … ]}}', place)
    return {**inner, **{name: value for name, value in row.items() if name != column}}


def _example(row: Mapping[str, Any], shape: Shape, tally: Tally, source: str, place: str) -> Example | None:
    """The example of a row, or None when a question or an answer in it is empty."""
    turns = _alpaca(row, shape, place) if shape.kind == "alpaca" else _chat(row, shape, tally, place)
    turns = _begun(turns, row, shape, place)
    _check_order(turns, _order(shape), place)
    if any(_blank(turn) for turn in turns):
        return None
    return identified(Example("", tuple(turns), place=source, tools=_tools(row, shape, place)))


def _pair(row: Mapping[str, Any], shape: Shape, tally: Tally, source: str, place: str) -> Example | None:
    """The example of a row with two endings, of which the better one is learned; None when a question is empty."""
    names = shape.columns["chosen"], shape.columns["rejected"]
    turns, endings = _forked(row, names, shape, tally, place)
    if endings[0] == endings[1]:
        raise Fixable(f"'{names[0]}' and '{names[1]}' are the same", "delete the row", place)
    turns = [dataclasses.replace(turn, learned=turn.role != "assistant") for turn in turns]
    turns = _begun(turns, row, shape, place)
    for name, ending in zip(names, endings, strict=True):
        if not ending or any(_blank(turn) for turn in ending):
            raise Fixable(f"'{name}' is empty", "fill it in, or delete the row", place)
        if ending[0].role != "assistant":
            what = f"'{name}' goes on with the {ending[0].role}'s turn, where the assistant's belongs"
            raise Fixable(what, "both must be answers to the same conversation", place)
        if not all(turn.learned for turn in ending):
            raise Fixable(f"'{name}' has a turn of weight 0, and all of it counts", "leave 'weight' out", place)
        _check_order([*turns, *ending], _order(shape), place)
    if any(_blank(turn) for turn in turns):
        return None
    messages, rejected = (*turns, *endings[0]), tuple(endings[1])
    return identified(Example("", messages, place=source, tools=_tools(row, shape, place), rejected=rejected))


def _forked(
    row: Mapping[str, Any], names: tuple[str, str], shape: Shape, tally: Tally, place: str
) -> tuple[list[Message], list[list[Message]]]:
    """What comes before, and the two endings; whole conversations part where they first differ."""
    endings = [_ending(row, name, shape, tally, place) for name in names]
    if shape.kind == "alpaca":
        return _alpaca(row, shape, place), endings
    if "messages" in shape.columns:
        return _chat(row, shape, tally, place), endings
    same = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(*endings, strict=False)))
    return endings[0][:same], [ending[same:] for ending in endings]


def _ending(row: Mapping[str, Any], column: str, shape: Shape, tally: Tally, place: str) -> list[Message]:
    """An ending that is a text, one turn or several."""
    given = row.get(column)
    if isinstance(given, (list, dict)) and shape.tags:
        return _turns(given if isinstance(given, list) else [given], column, shape.tags, tally, place)
    return [Message("assistant", _text(row, column, place))]


def _begun(turns: list[Message], row: Mapping[str, Any], shape: Shape, place: str) -> list[Message]:
    """The turns with the system's in front that stands in a column of its own; without an empty one."""
    system = _text(row, shape.columns.get("system", ""), place, optional=True)
    if system.strip() and turns and turns[0].role != "system":
        turns = [Message("system", system), *turns]
    return [turn for turn in turns if turn.role != "system" or turn.content.strip()]


def _order(shape: Shape) -> Mapping[str, tuple[str, ...]]:
    return _FOLLOWS_LOOSELY if shape.kind == "chat" and shape.tags["role_tag"] != "role" else _FOLLOWS


def _tools(row: Mapping[str, Any], shape: Shape, place: str) -> str:
    return offered_tools(row.get(shape.columns.get("tools", "")) or row.get("functions"), place)


def _blank(turn: Message) -> bool:
    return turn.role in ("user", "assistant") and not (turn.content.strip() or turn.tool_calls)


def _alpaca(row: Mapping[str, Any], shape: Shape, place: str) -> list[Message]:
    columns = shape.columns
    turns = []
    for pair in _list(row.get(columns.get("history", "")) or [], "history", place):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise Fixable("'history' must hold pairs of texts", 'write [["question", "answer"], …]', place)
        turns += [Message("user", _sound(pair[0], place)), Message("assistant", _sound(pair[1], place))]
    asked = [
        _text(row, columns["prompt"], place),
        _text(row, columns.get("query", ""), place, optional=True),
    ]
    turns.append(Message("user", "\n".join(part for part in asked if part)))
    return [*turns, Message("assistant", _text(row, columns["response"], place))] if "response" in columns else turns


def _chat(row: Mapping[str, Any], shape: Shape, tally: Tally, place: str) -> list[Message]:
    column = shape.columns["messages"]
    if row.get(column) is None:
        raise Fixable(f"this row has no '{column}'", "fill it in, or delete the row", place)
    return _turns(_list(row[column], column, place), column, shape.tags, tally, place)


def _turns(turns: list[Any], column: str, tags: Mapping[str, str], tally: Tally, place: str) -> list[Message]:
    made, asked = [], set[str]()
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict):
            raise Fixable(f"turn {number} is not an object", 'write {"role": …, "content": …}', place)
        made.append(_turn(turn, tags, number, asked, place))
        known = {tags["role_tag"], tags["content_tag"], *_READ}
        tally.unused.update(
            f"{column}[].{key}" for key, value in turn.items() if key not in known and value is not None
        )
    return made


def _turn(turn: Mapping[str, Any], tags: Mapping[str, str], number: int, asked: set[str], place: str) -> Message:
    """One message; `asked` collects the ids of the calls so far, of which a tool's answer has to name one."""
    said, role = _role(turn, tags, number, place)
    content = _content(turn.get(tags["content_tag"]), number, place)
    calls = ""
    if said == tags.get("function_tag"):
        content, calls = "", called_functions(legacy_call(content, number, place), number, place)
    elif role == "assistant" and (given := turn.get("tool_calls")):
        asked.update(str(call.get("id")) for call in given if isinstance(call, dict) and call.get("id"))
        calls = called_functions(given, number, place)
    elif role == "assistant" and (given := turn.get("function_call")):
        calls = called_functions([given], number, place)
    elif turn.get(tags["content_tag"]) is None:
        raise Fixable(f"turn {number} has no '{tags['content_tag']}'", "fill it in, or delete the row", place)
    answers = turn.get("tool_call_id")
    if role == "tool" and answers and asked and answers not in asked:
        raise Fixable(f"turn {number} answers the call '{answers}', which nothing before it made", place=place)
    weight = turn.get("weight")
    if weight is not None and (weight not in (0, 1) or isinstance(weight, bool)):
        raise Fixable(f"'weight' of turn {number} cannot be {weight!r}", "0: only read; 1: learned", place)
    return Message(role, content, weight != 0, calls)  # type: ignore[arg-type]


def _role(turn: Mapping[str, Any], tags: Mapping[str, str], number: int, place: str) -> tuple[str, str]:
    """The word that stands for the role, and the role."""
    roles = {
        tags.get("system_tag", ""): "system",
        tags.get("user_tag", ""): "user",
        tags.get("assistant_tag", ""): "assistant",
        tags.get("observation_tag", ""): "tool",
        tags.get("function_tag", ""): "assistant",
    }
    if tags["role_tag"] == "role":
        roles |= {"developer": "system", "tool": "tool", "function": "tool"}
    roles.pop("", None)
    said = turn.get(tags["role_tag"])
    if not isinstance(said, str):
        raise Fixable(f"turn {number} has no '{tags['role_tag']}'", f"write one of: {', '.join(roles)}", place)
    if said not in roles:
        raise Fixable(f"turn {number} is by '{said}', a role that is not known", near_miss(said, roles), place)
    return said, roles[said]


def _content(value: Any, number: int, place: str) -> str:
    """The text of a message: a text, nothing, or a list of parts as in OpenAI's API."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _sound(value, place)
    if isinstance(value, list):
        kinds = [part.get("type") if isinstance(part, dict) else None for part in value]
        if all(kind == "text" and isinstance(part.get("text"), str) for kind, part in zip(kinds, value, strict=True)):
            return _sound("".join(part["text"] for part in value), place)
        other = next((kind for kind in kinds if kind != "text"), None)
        if other is None:
            raise Fixable(f"a part of turn {number} has no 'text'", 'write {"type": "text", "text": …}', place)
        raise Fixable(f"turn {number} holds a part of type '{other}'; only text can be learned from yet", place=place)
    raise Fixable(f"the content of turn {number} must be text, not {json.dumps(value)[:40]}", "put it in quotes", place)


def _check_order(turns: list[Message], follows: Mapping[str, tuple[str, ...]], place: str) -> None:
    """System first if at all; then user and assistant in turns; tools answer calls; the assistant has the last word."""
    before = ""
    for number, turn in enumerate(turns, start=1):
        if turn.role == "system" and number == 1:
            continue
        if turn.role not in follows[before]:
            after = f" after the {'tool call' if before == 'call' else before}'s" if before else " at the beginning"
            raise Fixable(
                f"turn {number} is the {turn.role}'s, where the {' or '.join(follows[before])}'s belongs{after}",
                "join, add or delete turns of this row",
                place,
            )
        before = "call" if turn.tool_calls else turn.role
    if before not in ("assistant", "call"):
        what = f"the last turn is the {before}'s" if before else "there are no turns"
        raise Fixable(f"{what}; the answer to learn is missing", "add the assistant's turn, or delete the row", place)


def _filled(
    row: Mapping[str, Any], replace: Mapping[str, str], needed: Collection[str], filled: Counter[str], place: str
) -> dict[str, Any]:
    """The row with its holes filled, in all texts at any depth; one of the `needed` that stays open is refused."""

    def fill(match: re.Match[str]) -> str:
        hole = match[1]
        if hole in replace:
            filled[hole] += 1
            return replace[hole]
        if hole in needed:
            raise Fixable(
                f"'{match[0]}' is still to be filled in",
                f"say what stands there: --replace {hole}=… (to keep it as it is: --replace '{hole}={match[0]}')",
                place,
            )
        return match[0]

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return _HOLE.sub(fill, value) if "{{" in value else value
        if isinstance(value, list):
            return [walk(part) for part in value]
        if isinstance(value, dict):
            return {key: walk(part) for key, part in value.items()}
        return value

    try:
        return {column: walk(value) for column, value in row.items()}
    except RecursionError:
        raise Fixable("it is nested too deep", "write it flatter", place) from None


def _text(row: Mapping[str, Any], column: str, place: str, optional: bool = False) -> str:
    value = row.get(column)
    if value is None and optional:
        return ""
    if value is None:
        raise Fixable(f"this row has no '{column}'", "fill it in, or delete the row", place)
    if not isinstance(value, str):
        raise Fixable(f"'{column}' must be text, not {json.dumps(value)[:40]}", "put it in quotes", place)
    return _sound(value, place)


def _list(value: Any, column: str, place: str) -> list[Any]:
    """A list, or the JSON of one where a table's cells hold only text."""
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except (ValueError, RecursionError):
            raise Fixable(f"'{column}' is text that is no JSON list", "write it as JSON", place) from None
    if not isinstance(value, list):
        raise Fixable(f"'{column}' must be a list, not {json.dumps(value)[:40]}", "write [ … ]", place)
    return value


def _sound(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise Fixable(f"half a character stands in it ({half})", "write the file again as UTF-8", place) from None
    return text
