"""Read passages with an adapter that learned to: to answer in few words, and to know when they hold no answer.

A small model that is shown passages without an answer makes one up. `readers/` holds, for a model of the catalogue, a
low-rank adapter in the PEFT format that was taught on questions on public documents, with the passage
that answers each and without it (`bench/reader.py`). It is put on to read passages and for nothing else, and only on
the model that it was made for. What was taught answers on such a model leaves reading to it, for who learns to answer
by heart reads worse (`bench/by_heart.py`).
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import say
from shuyuan.base.records import Assistant
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import Model
from shuyuan.load.pulling import read_manifest
from shuyuan.train.adapter import load_adapter

READERS = Path(__file__).with_name("readers")

# Networks → the same with the adapter, so that all who read share one batcher; None where it does not fit.
_open: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_opening = threading.Lock()


def reads(model: Model) -> bool:
    """Whether there is a reader for this very model of the catalogue."""
    return model.name == read_manifest(model.folder).get("name") and (READERS / model.name).is_dir()


def reader_of(assistant: Assistant) -> Assistant:
    """The assistant as it reads passages: with its model's adapter, or itself where there is none for it.

    Who was taught answers reads with the model from before. A folder that only has the name of a model is not believed:
    the adapter has to fit. Where it does not, or is damaged, that is said once, and the model reads as it is.
    """
    if not isinstance(assistant, ModelAssistant):
        return assistant
    model = assistant.untaught or assistant.model
    if not reads(model):
        return assistant
    folder = READERS / model.name
    with _opening:
        if model.net not in _open:
            try:
                _open[model.net] = load_adapter(model.net, folder)
            except Fixable as error:
                say(f"{model.name} reads passages without its reader: {error.what}")
                _open[model.net] = None
        if _open[model.net] is None:
            return assistant
        return replace(assistant, model=replace(model, net=_open[model.net]), declines=True)
