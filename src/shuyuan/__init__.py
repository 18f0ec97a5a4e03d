"""Shuyuan (书院): teach a model your own material by every route, and let one exam say which of them worked.

```python
import shuyuan

house = shuyuan.create("my-house")
shuyuan.add(house, ["docs"], questions=["questions.jsonl"])
shuyuan.teach(house, "retrieve")
print(shuyuan.ask(house, "How long may I be away?").text)
print(shuyuan.exam(house, ["bare", "retrieve"]))
```
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Read by OpenMP when torch is first imported. Its threads spin while they wait for each other, and as soon as another
# program wants a core, one answer of 17 tokens took 39 s instead of 3.4 s (LOG.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from shuyuan.base.errors import Fixable as Fixable
    from shuyuan.base.workspace import Workspace as Workspace
    from shuyuan.examine.exam import exam as exam
    from shuyuan.prepare.adding import add as add
    from shuyuan.teach.teaching import ask as ask
    from shuyuan.teach.teaching import open_assistant as open_assistant
    from shuyuan.teach.teaching import teach as teach

    create = Workspace.create
    open = Workspace.open

_PLACES = {
    "Fixable": "base.errors",
    "Workspace": "base.workspace",
    "add": "prepare.adding",
    "ask": "teach.teaching",
    "exam": "examine.exam",
    "open_assistant": "teach.teaching",
    "teach": "teach.teaching",
}
__all__ = ["Fixable", "Workspace", "add", "ask", "create", "exam", "open", "open_assistant", "teach"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `import shuyuan` itself costs nothing."""
    if name in ("create", "open"):
        from shuyuan.base.workspace import Workspace

        return getattr(Workspace, name)
    if name in _PLACES:
        return getattr(importlib.import_module(f"shuyuan.{_PLACES[name]}"), name)
    raise AttributeError(f"shuyuan has no '{name}'")
