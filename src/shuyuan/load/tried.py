"""The process in which a stranger's tokenizer and chat template are tried: a folder comes in, a verdict goes out.

It says each step of `STEPS` as it begins, a line each, and at the end `{"fault": …}`; one that dies has said where.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shuyuan.base.progress import human_bytes
from shuyuan.read import limits

STEPS = {"open": 60, "words": 5, "chat": 3}  # seconds of processor time; some formats are converted as they are opened
MEMORY_BYTES = 1 << 29  # that words and chat may add to what an open tokenizer takes
_OPEN_BYTES = 4 << 30  # that opening may add; the largest vocabularies take a tenth of it
_RUN = 2_000  # of the same sign, on which patterns that try everything are slow
_SIGNS = "aAx0 \n\t.,!-_/'字。🙂\u0301"
_ORDINARY = "The library opens at nine. 山长每年正月初八上任。 🎉 "
_MOST_PATTERNS = 4_000  # characters; those in use have some hundred
_MOST_TOKENS = 8  # for a byte of the text, at least one each
_MOST_TEXT = 100_000  # characters of a template's own; those in use have a few thousand
_TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up a word 查词",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}
_CALL = {"type": "function", "function": {"name": "look_up", "arguments": {"word": "书院"}}}


def file_of(folder: Path, step: str) -> str:
    """The name of the file that a step reads above all."""
    names = ("chat_template.jinja", "tokenizer_config.json") if step == "chat" else ("tokenizer.json",)
    return next((name for name in names if (folder / name).exists()), "the tokenizer")


def main() -> None:
    """Try the folder that is named, and say what is wrong with it."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not look like a verdict

    def say(line: str) -> None:
        print(line, file=out, flush=True)

    folder, name = Path(sys.argv[1]), ""

    def begin(step: str) -> None:
        nonlocal name
        name = file_of(folder, step)
        limits.more_time(STEPS[step])
        say(step)

    from transformers import AutoTokenizer

    limits.confine(lambda: None, limits.held_bytes() + _OPEN_BYTES)
    try:
        fault = _fault(folder, AutoTokenizer, begin)
    except MemoryError:
        fault = f"{name} takes more than {human_bytes(MEMORY_BYTES)} of memory for a few ordinary words"
    except BaseException as error:  # a panic of tokenizers is no Exception
        fault = f"{name} breaks off at a few ordinary words: {str(error)[:300]}"
    say(json.dumps({"fault": fault}))


def _fault(folder: Path, opener: Any, begin: Callable[[str], None]) -> str:
    begin("open")
    try:
        tokenizer = opener.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception:
        return ""  # who opens it in earnest says what is wrong with it
    limits.lower_memory(limits.held_bytes() + MEMORY_BYTES)
    begin("words")
    name = file_of(folder, "words")
    patterns = "".join(_patterns(json.loads(tokenizer.backend_tokenizer.to_str()))) if tokenizer.is_fast else ""
    if len(patterns) > _MOST_PATTERNS:
        return f"{name} cuts texts by patterns of {len(patterns):,} characters, which cannot be tried out"
    if fault := _of_words(tokenizer, name, patterns):
        return fault
    if not tokenizer.chat_template:
        return ""
    begin("chat")
    return _of_chat(tokenizer, file_of(folder, "chat"))


def _of_words(tokenizer: Any, name: str, patterns: str) -> str:
    """`patterns`: whatever they are slow on is made of what stands in them, mostly."""
    pairs = {patterns[at : at + 2] for at in range(len(patterns) - 1)}
    again = sorted({*_SIGNS, *patterns, *pairs})
    runs = [sign * (_RUN // len(sign)) + end for sign in again for end in ("", "!", "a")]
    for text in (_ORDINARY * 20, "".join(_SIGNS) * 50, *runs):
        tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(tokens) > _MOST_TOKENS * len(text.encode()):
            return f"{name} makes {len(tokens):,} tokens of {len(text):,} characters"
        tokenizer.decode(tokens)
    return ""


def _patterns(part: Any) -> Iterator[str]:
    """The regular expressions in a tokenizer's file."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if name == "Regex" and isinstance(value, str):
            yield value
        elif name not in {"vocab", "merges", "added_tokens"}:
            yield from _patterns(value)


def _of_chat(tokenizer: Any, name: str) -> str:
    from jinja2.exceptions import SecurityError

    asked = {"role": "user", "content": _ORDINARY}
    told = [{"role": "system", "content": "Answer briefly. 请简短回答。"}, asked]
    long = [asked, {"role": "assistant", "content": "Nine. 九点。 ✅"}, {"role": "user", "content": "字" * _RUN}]
    called = [asked, {"role": "assistant", "content": "", "tool_calls": [_CALL]}, {"role": "tool", "content": "1"}]
    for turns in ([asked], told, long, [*told, *long[1:]], called):
        for tools in (None, [_TOOL]):
            for answer_next in (True, False):
                try:
                    text = tokenizer.apply_chat_template(
                        turns, tools=tools, tokenize=False, add_generation_prompt=answer_next
                    )
                except SecurityError as error:
                    return f"{name} reaches for what it may not: {error}"
                except MemoryError:
                    raise
                except Exception:
                    continue
                if len(text) > _MOST_TEXT:
                    return f"{name} makes {len(text):,} characters of a short conversation"
    return ""


if __name__ == "__main__":
    main()
