"""Functions that are offered and called, in the forms people write them, as OpenAI's API has them."""

from __future__ import annotations

import json
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.prepare.rows import parse_json


def offered_tools(given: Any, place: str) -> str:
    """The JSON list of tools: `[{"type": "function", "function": {"name", …}}, …]`, or nothing.

    Takes a list or its JSON; bare function schemas, as in sharegpt data, are wrapped.
    """
    if isinstance(given, str):
        given = _parsed(given, "tools", place) if given.strip() else None
    if not given:
        return ""
    tools = []
    for tool in given if isinstance(given, list) else [given]:
        schema = tool.get("function", tool) if isinstance(tool, dict) else None
        if not (isinstance(schema, dict) and isinstance(schema.get("name"), str) and schema["name"]):
            raise Fixable("'tools' holds something that is not a function", 'write {"name": …, …}', place)
        tools.append({"type": "function", "function": schema})
    return _written(tools, place)


def called_functions(given: Any, number: int, place: str) -> str:
    """The JSON list of calls: `[{"type": "function", "function": {"name", "arguments": JSON text}}, …]`."""
    calls = []
    for call in given if isinstance(given, list) else [given]:
        called = call.get("function", call) if isinstance(call, dict) else None
        if not (isinstance(called, dict) and isinstance(called.get("name"), str) and called["name"]):
            raise Fixable(
                f"turn {number} calls something that has no name", 'write {"name": …, "arguments": {…}}', place
            )
        arguments = called.get("arguments", {})
        if isinstance(arguments, str):
            arguments = _parsed(arguments or "{}", f"'arguments' of turn {number}", place)
        if not isinstance(arguments, dict):
            raise Fixable(f"'arguments' of turn {number} must be an object", 'write {"place": "Beijing"}', place)
        calls.append(
            {"type": "function", "function": {"name": called["name"], "arguments": _written(arguments, place)}}
        )
    return _written(calls, place)


def legacy_call(content: str, number: int, place: str) -> Any:
    """What a `function_call` turn of sharegpt data calls: its text is the JSON of one call or of several."""
    return _parsed(content, f"turn {number}, a function call,", place)


def _parsed(text: str, what: str, place: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        raise Fixable(f"{what} is not valid JSON: {text[:40]}", "write it as JSON", place) from None


def _written(value: Any, place: str) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Fixable("half a character stands in a tool or its call", "write the file again as UTF-8", place) from None
    return text
