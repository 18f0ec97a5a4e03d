"""Functions that a model calls, as text in its answer → as OpenAI's API has them.

The form is that of Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, and the one that our own
chat template of `load/vocabulary.py` writes.
"""

from __future__ import annotations

import json
import re
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.prepare.calls import called_functions

_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)


def calls_in(text: str) -> tuple[str, str]:
    """(what is said beside the calls, the calls as the JSON list of `Message.tool_calls`, "" when there are none).

    A call that is not JSON, is cut short or names no function stays in the text: nothing the model said is lost.
    """
    found: list[Any] = []

    def taken(call: re.Match[str]) -> str:
        try:
            found.extend(json.loads(called_functions(json.loads(call[1]), 1, "")))
        except (ValueError, RecursionError, Fixable):
            return call[0]
        return ""

    beside = _CALL.sub(taken, text).strip()
    return beside, json.dumps(found, ensure_ascii=False) if found else ""
