"""The journey as functions: what the commands call, in one import."""

from shuyuan.base.errors import Fixable
from shuyuan.base.guards import Guards
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.examine.exam import exam
from shuyuan.prepare.adding import add
from shuyuan.teach.removing import remove
from shuyuan.teach.teaching import ask, dry_run, open_assistant, teach

create = Workspace.create

__all__ = [
    "Choices",
    "Fixable",
    "Guards",
    "Workspace",
    "add",
    "ask",
    "create",
    "dry_run",
    "exam",
    "open_assistant",
    "remove",
    "teach",
]
