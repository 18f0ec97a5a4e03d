"""The route `retrieve`: builds the library of a run, opens it again, and refuses lessons with nothing to look up."""

from __future__ import annotations

from pathlib import Path

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Lessons, Run
from shuyuan.base.settings import MOST_SETTINGS
from shuyuan.base.shelf import choices
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.ground import Ground
from shuyuan.teach.retrieve import Retrieve
