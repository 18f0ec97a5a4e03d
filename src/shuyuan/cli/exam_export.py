"""Write an exam's papers as tasks of lm-evaluation-harness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.cli.shell import Command, Desk


class ExamExport(Command):
    """Write an exam's papers as task files for lm-evaluation-harness, so that models from elsewhere can sit them."""

    examples: ClassVar[str] = """
shuyuan exam export tasks
shuyuan exam export tasks --exam quick --max-tokens 200
"""
    speaks_json: ClassVar[bool] = True
    folder: Annotated[str, Field(min_length=1, description="where to write them")]
    exam: Annotated[str, Field(description="which exam; empty: the newest")] = ""
    max_tokens: Annotated[int, Field(ge=1, le=100_000, description="the longest reply")] = 96

    def run(self, desk: Desk) -> int:
        """Print the tasks' names and the command that runs them."""
        from shuyuan.examine.harness import export

        folder = Path(self.folder).resolve()
        tasks = export(desk.exam_folder(self.exam), folder, self.max_tokens)
        run = (
            f"lm_eval --include_path {folder} --tasks {','.join(tasks)} --apply_chat_template --model hf --model_args …"
        )
        desk.show("\n".join([*tasks, "", run]), {"folder": str(folder), "tasks": tasks})
        return 0
