"""Checkpoints that are whole or absent: written aside, hashed, renamed; a cut or foreign one is passed over."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, sha256_of, whole_folder, write_json
from shuyuan.base.progress import say

KEEP = 2
BEST = "best"
RULES = 4  # of learning: another number passes over what was written before the same steps gave other weights
_FOLDER = re.compile(r"step-(\d{6,})")


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write `folder/step-000050/` (state.safetensors, and checkpoint.json with its hash last); keep the newest two."""
    _write(folder / f"step-{step:06d}", tensors, {**notes, "step": step})
    for old in _numbered(folder)[KEEP:]:
        try:
            shutil.rmtree(old)
        except OSError as error:  # no reason to stop: it only takes room
            say(f"the old checkpoint {old} could not be removed: {error}")


def newest_checkpoint(folder: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint of this very teaching: its tensors and notes, or None. Others are named aloud."""
    for candidate in _numbered(folder):
        try:
            return _read(candidate, fingerprint)
        except Exception as error:
            say(f"checkpoint {candidate.name} is passed over: {error}")
    return None


def save_best(folder: Path, step: int, weights: Mapping[str, Tensor], fingerprint: str) -> None:
    """Write `folder/best/`: the weights alone, in place of the best before."""
    _write(folder / BEST, weights, {"step": step, "fingerprint": fingerprint})


def load_best(folder: Path, step: int, fingerprint: str) -> dict[str, Tensor]:
    """The weights that were best at `step`; `Fixable` when they are not there or not whole."""
    try:
        tensors, notes = _read(folder / BEST, fingerprint)
        if notes["step"] != step:
            raise ValueError(f"it is of step {notes['step']}, not {step}")
        return tensors
    except Exception as error:
        raise Fixable(
            f"the best weights cannot be read back: {error}", f"remove {folder} and run the same command again"
        ) from error


def _write(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    with whole_folder(path) as aside:
        save_file({name: t.detach().contiguous() for name, t in tensors.items()}, aside / "state.safetensors")
        write_json(
            aside / "checkpoint.json", {**notes, "rules": RULES, "sha256": sha256_of(aside / "state.safetensors")}
        )


def _read(path: Path, fingerprint: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    notes = read_json(path / "checkpoint.json")
    if notes["sha256"] != sha256_of(path / "state.safetensors"):
        raise ValueError("its content does not match its hash")
    if notes.get("rules") != RULES:
        raise ValueError("another version of Shuyuan wrote it, which would have learned otherwise")
    if notes["fingerprint"] != fingerprint:
        raise ValueError("it belongs to other settings or other material")
    return load_file(path / "state.safetensors"), notes


def _numbered(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    found = [path for path in folder.glob("step-*") if _FOLDER.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)
