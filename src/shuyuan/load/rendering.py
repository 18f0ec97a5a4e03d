"""The process in which strangers' chat templates are rendered: a conversation a line comes in, its text goes out.

Each answer is four bytes of length and that much JSON: `{"text"}`; `{"refused"}`, what the template itself says;
`{"broken"}`, an error of another kind; `{"short"}`, when memory did not suffice; or `{"characters"}`, when it made so
many, and that is too much.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any

from shuyuan.read import limits

SECONDS = 3  # of processor time for one conversation, and one more for each million bytes of it
MEMORY_BYTES = 1 << 29  # for all of it
MOST_TEXT = 100_000  # characters of a template's own
MOST_TIMES = 8  # that it may say everything it was given


def main() -> None:
    """Render the conversations on standard input until it ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not look like an answer
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    def rendered(given: dict[str, Any], size: int) -> dict[str, Any]:
        try:
            (text,), _ = render_jinja_template([given.pop("conversation")], **given)
        except TemplateError as error:
            return {"refused": str(error)[:1000]}
        except MemoryError:
            return {"short": True}
        except Exception as error:
            return {"broken": f"{type(error).__name__}: {str(error)[:300]}"}
        if len(text) > MOST_TEXT + MOST_TIMES * size:
            return {"characters": len(text)}
        return {"text": text}

    limits.confine(lambda: None, limits.held_bytes() + MEMORY_BYTES)
    for line in sys.stdin.buffer:
        limits.more_time(SECONDS + len(line) // 1_000_000)
        said = json.dumps(rendered(json.loads(line), len(line))).encode()
        out.write(struct.pack(">I", len(said)) + said)
        out.flush()


if __name__ == "__main__":
    main()
