"""A stranger's chat template, rendered in a confined process whenever it is used, and never in this one.

The trial of `trial.py` cannot know what a template does with a text that it waits for. Templates that come with the
models of the catalogue, and our own, are rendered here as ever.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_bytes
from shuyuan.base.workspace import home
from shuyuan.load.catalogue import entries
from shuyuan.load.rendering import MEMORY_BYTES, SECONDS
from shuyuan.load.vocabulary import CHATML
from shuyuan.read.apart import Child, Ended

PROCESSES = 4  # each with a template of its own, so that one that takes its time holds up no other
_SHORT = {"short": True}
_SILENT_SECONDS = 60.0  # of wall time; a fault ends by its processor time long before


def keep_apart(tokenizer: Any, name: str, folder: Path) -> None:
    """Let a tokenizer's `apply_chat_template` be done by a confined process, if its template is a stranger's.

    What goes over a bound there raises `Fixable`, naming the model; what a template itself refuses, `TemplateError`.
    """
    template = tokenizer.chat_template
    if template and template != CHATML and template not in _known():
        tokenizer.apply_chat_template = Apart(tokenizer, name, folder)


class Apart:
    """Stands in for `apply_chat_template` of one tokenizer, as far as `prepare/chat.py` uses it."""

    def __init__(self, tokenizer: Any, name: str, folder: Path) -> None:
        self._tokenizer, self._name, self._folder = tokenizer, name, folder

    def __call__(
        self,
        conversation: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
    ) -> str:
        """The conversation as text."""
        assert not tokenize
        template = self._tokenizer.get_chat_template(None, tools)
        asked = {
            "conversation": list(conversation),
            "tools": tools,
            "chat_template": template,
            "add_generation_prompt": add_generation_prompt,
            **self._tokenizer.special_tokens_map,
        }
        said = _renderer(template).ask(asked)
        if "refused" in said:
            raise TemplateError(said["refused"])
        if "text" not in said:
            hint = "shorten or change the conversation, or choose another model"
            what = self._why(said.get("characters"), said.get("broken"), "late" in said)
            raise Fixable(what, hint, self._folder)
        return str(said["text"])

    def _why(self, characters: int | None, broken: str | None, late: bool) -> str:
        name, most = self._name, human_bytes(MEMORY_BYTES)
        if characters:
            return f"the chat template of {name} makes {characters:,} characters of this conversation"
        if broken:
            return f"the chat template of {name} breaks off at this conversation: {broken}"
        if late:
            return f"the chat template of {name} takes more than {SECONDS} seconds of processor time at this text"
        return f"the chat template of {name} takes more than {most} of memory at this text"


class _Renderer:
    """One process, for one conversation at a time."""

    def __init__(self) -> None:
        self._child, self._lock = Child("shuyuan.load.rendering", _SILENT_SECONDS), threading.Lock()

    def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """See `rendering.py`; `{"late"}` when it took too much time."""
        with self._lock:
            idle = self._child.running
            said = self._once(asked)
            if idle and said == _SHORT:  # an idle process ends with the thread that started it: is that all?
                said = self._once(asked)
        return said

    def _once(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self._child.tell(asked)
            return self._child.answer()
        except BrokenPipeError:
            self._child.close()
        except Ended as ended:
            self._child.close()
            if ended.silent or -ended.status == signal.SIGXCPU:
                return {"late": True}
            if ended.status > 0:
                return {"broken": f"exit {ended.status}"}
        return _SHORT

    def __del__(self) -> None:
        self._child.close()


@lru_cache(maxsize=PROCESSES)
def _renderer(template: str) -> _Renderer:
    """The process of a template."""
    return _Renderer()


def _known() -> list[str]:
    """The templates of the catalogue's models that are here."""
    files = (home() / "models" / name / "chat_template.jinja" for name in entries())
    return [file.read_text(encoding="utf-8") for file in files if file.exists()]
