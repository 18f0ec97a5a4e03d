"""What every test shares: one thread a process, no network, and small material in two languages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share two cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["COLUMNS"] = "100"
os.environ["SHUYUAN_LANG"] = "en"  # whatever the developer's locale is
os.environ.pop("SHUYUAN_WORKSPACE", None)

import pytest

from shuyuan.base.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parent.parent
SHUYUAN = [sys.executable, "-m", "shuyuan.cli.main"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace.create(tmp_path / "school")
