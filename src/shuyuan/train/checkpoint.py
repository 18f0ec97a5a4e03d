"""Checkpoints that are whole or absent: written aside, hashed, renamed; a cut or foreign one is passed over."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from shuyuan.base.files import read_json, sha256_of, whole_folder, write_json
from shuyuan.base.progress import say

KEEP = 2
_FOLDER = re.compile(r"step-(\d{6})")


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write `folder/step-000050/` (state.safetensors, and checkpoint.json with its hash last); keep the newest two."""
    with whole_folder(folder / f"step-{step:06d}") as aside:
        save_file({name: t.contiguous() for name, t in tensors.items()}, aside / "state.safetensors")
        digest = sha256_of(aside / "state.safetensors")
        write_json(aside / "checkpoint.json", {**notes, "step": step, "sha256": digest})
    for old in _numbered(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)


def newest_checkpoint(folder: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint of this very teaching: its tensors and notes, or None. Others are named aloud."""
    for candidate in _numbered(folder):
        try:
            notes = read_json(candidate / "checkpoint.json")
            if notes["sha256"] != sha256_of(candidate / "state.safetensors"):
                raise ValueError("its content does not match its hash")
            if notes["fingerprint"] != fingerprint:
                raise ValueError("it belongs to other settings or other material")
            return load_file(candidate / "state.safetensors"), notes
        except Exception as error:
            say(f"checkpoint {candidate.name} is passed over: {error}")
    return None


def _numbered(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    found = [path for path in folder.glob("step-*") if _FOLDER.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)
