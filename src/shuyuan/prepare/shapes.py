"""How the rows of a data file are written: OpenAI messages, sharegpt, alpaca, pairs, text; told by the first row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from shuyuan.base.errors import Fixable

NOT_YET = {
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
    system_tag`. Raw text stands in the column `prompt`. With `chosen` and `rejected` the other columns hold what comes
    before the two endings; where none does, each is a whole conversation. `inside`: the column with an object whose own
    columns belong to the row, too.
    """

    kind: Literal["chat", "alpaca", "text"]
    columns: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    inside: str = ""


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
_ENDINGS = (  # the better one and the worse one
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("preferred_completion", "non_preferred_completion"),
)


def recognise(row: Mapping[str, Any], place: str) -> Shape:
    """The shape of a file whose first row this is; one that is none of them is a `Fixable`."""
    if found := next((column for column in NOT_YET if row.get(column) is not None), ""):
        raise Fixable(f"the column '{found}' holds {NOT_YET[found]}, which cannot be learned from yet", place=place)
    for chosen, rejected in _ENDINGS:
        if row.get(chosen) is not None or row.get(rejected) is not None:
            return _with_endings(row, {"chosen": chosen, "rejected": rejected}, place)
    for column in ("messages", "conversations"):
        if column in row:
            return _chat(row[column], column == "messages", {**SHAREGPT.columns, "messages": column})
    if "instruction" in row:
        return ALPACA
    answer = next((column for column in ("completion", "response", "output") if column in row), "")
    if "prompt" in row and answer:
        return replace(ALPACA, columns={**ALPACA.columns, "prompt": "prompt", "response": answer})
    if "text" in row:
        return TEXT
    raise Fixable(
        f"rows with the columns {', '.join(row) or '(none)'} are of no known form",
        "there are: messages; conversations; instruction, input, output; prompt, chosen, rejected; text. Other names "
        "can be described in a dataset_info.json; questions and answers go to --questions",
        place,
    )


def _chat(turns: Any, usual: bool, columns: Mapping[str, str]) -> Shape:
    """Turns as OpenAI writes them or as sharegpt does; `usual`: whether the former where they do not tell."""
    first = turns[0] if isinstance(turns, list) and turns else turns
    by_role = "role" in first if isinstance(first, dict) and first else usual
    return replace(OPENAI if by_role else SHAREGPT, columns=columns)


def _with_endings(row: Mapping[str, Any], endings: Mapping[str, str], place: str) -> Shape:
    """The shape of rows with two endings: OpenAI's, LLaMA-Factory's or TRL's."""
    if endings["chosen"] != "chosen":
        return replace(OPENAI, columns={**OPENAI.columns, **endings}, inside="input")
    beside = {"system": "system", "tools": "tools", **endings}
    first = next(iter(row["chosen"]), None) if isinstance(row.get("chosen"), list) else None
    if isinstance(first, dict) and first.get("role", first.get("from")) not in ("assistant", "gpt"):
        return _chat(first, True, beside)  # whole conversations
    for column in ("messages", "conversations", "prompt"):
        if isinstance(row.get(column), list):
            return _chat(row[column], column != "conversations", {"messages": column, **beside})
    for column in ("instruction", "prompt"):
        if column in row:
            columns = {**ALPACA.columns, "prompt": column, **endings}
            return replace(ALPACA, columns={name: of for name, of in columns.items() if name != "response"})
    raise Fixable(
        "what the two endings answer is missing",
        "add 'prompt', 'instruction', 'messages' or 'conversations'; or write 'chosen' and 'rejected' as whole "
        'conversations: [{"role": "user", …}, {"role": "assistant", …}]',
        place,
    )
