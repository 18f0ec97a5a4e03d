"""How the rows of a data file are written: OpenAI messages, sharegpt, alpaca or raw text; told by the first row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from shuyuan.base.errors import Fixable

NOT_YET = {
    "chosen": "preference pairs",
    "rejected": "preference pairs",
    "preferred_output": "preference pairs",
    "kto_tag": "KTO feedback",
    "images": "pictures",
    "videos": "videos",
    "audios": "sound",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Which columns hold what; for chats also which words stand for which role.

    The names are those of LLaMA-Factory's `dataset_info.json`: columns `prompt query response history` (alpaca),
    `messages` (chat), `system tools`; tags `role_tag content_tag user_tag assistant_tag observation_tag function_tag
    system_tag`. Raw text stands in the column `prompt`.
    """

    kind: Literal["chat", "alpaca", "text"]
    columns: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)


OPENAI = Shape(
    "chat",
    {"messages": "messages", "tools": "tools"},
    {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "observation_tag": "tool",
        "function_tag": "function_call",
        "system_tag": "system",
    },
)
SHAREGPT = Shape(
    "chat",
    {"messages": "conversations", "system": "system", "tools": "tools"},
    {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "observation_tag": "observation",
        "function_tag": "function_call",
        "system_tag": "system",
    },
)
ALPACA = Shape(
    "alpaca",
    {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"},
)
TEXT = Shape("text", {"prompt": "text"})


def recognise(row: Mapping[str, Any], place: str) -> Shape:
    """The shape of a file whose first row this is; one that is none of them is a `Fixable`."""
    if found := next((column for column in NOT_YET if row.get(column) is not None), ""):
        raise Fixable(f"the column '{found}' holds {NOT_YET[found]}, which cannot be learned from yet", place=place)
    for column in ("messages", "conversations"):
        if column in row:
            turns = row[column]
            first = turns[0] if isinstance(turns, list) and turns else {}
            by_role = "role" in first if isinstance(first, dict) and first else column == "messages"
            shape = OPENAI if by_role else SHAREGPT
            return replace(shape, columns={**SHAREGPT.columns, "messages": column})
    if "instruction" in row:
        return ALPACA
    answer = next((column for column in ("completion", "response", "output") if column in row), "")
    if "prompt" in row and answer:
        return replace(ALPACA, columns={**ALPACA.columns, "prompt": "prompt", "response": answer})
    if "text" in row:
        return TEXT
    raise Fixable(
        f"rows with the columns {', '.join(row) or '(none)'} are of no known form",
        "there are: messages; conversations; instruction, input, output; text. Other names can be described in a "
        "dataset_info.json; questions and answers go to --questions",
        place,
    )
