"""Make a key for a user of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shuyuan.base.progress import say
from shuyuan.cli.serve import needs_serving
from shuyuan.cli.shell import Command, Desk


class KeyNew(Command):
    """Make a key and print it, this once. From the first key on, the server lets nobody in without one."""

    examples: ClassVar[str] = """
shuyuan key new anna --admin                     may do everything
shuyuan key new ben --member school=reader       may see and ask in one workspace
shuyuan key new eve --member school=reader --group school=hr      sees the documents of the group hr too
shuyuan key new bot --scope ask --member school=reader
"""
    speaks_json: ClassVar[bool] = True
    user: Annotated[str, Field(pattern=r"^[\w.@+-]{1,100}$", description="whose key it is")]
    admin: Annotated[bool, Field(description="the user may do everything in every workspace")] = False
    scope: Annotated[
        tuple[Literal["read", "ask", "write", "admin"], ...],
        Field(description="what this key is for; none: everything"),
    ] = ()
    member: Annotated[
        tuple[str, ...], Field(description="the user's roles: WORKSPACE=reader, WORKSPACE=writer, WORKSPACE=owner")
    ] = ()

    group: Annotated[
        tuple[str, ...], Field(description="groups of the user, WORKSPACE=GROUP: who may see the documents of a group")
    ] = ()

    def run(self, desk: Desk) -> int:
        """Print the key."""
        with needs_serving():
            from shuyuan.serve.access import SCOPES, open_access, role_of

        access = open_access(Path(desk.folder))
        roles = [role_of(given) for given in self.member]
        groups = [given.partition("=")[::2] for given in self.group]
        key, secret = access.add_key(self.user, self.scope or SCOPES, self.admin)
        for workspace, role in roles:
            access.set_role(workspace, self.user, role)
        for workspace, group in groups:
            access.join(workspace, group, self.user)
        desk.show(secret, {"id": key, "user": self.user, "secret": secret})
        say("keep it: it is not written down anywhere")
        return 0
