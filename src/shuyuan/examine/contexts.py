"""Do contexts that a model writes for the passages help? What they cost beforehand, what they gain afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.marks import WHOLE
from shuyuan.base.records import Question
from shuyuan.base.workspace import Workspace, finished
from shuyuan.examine.tuning import Gain, gain, usable
from shuyuan.load.embedder import open_embedder
from shuyuan.recall.contexts import Estimate, contextual, estimate
from shuyuan.recall.searching import Library
from shuyuan.teach.teaching import open_assistant

TRIAL = "contexts"  # the folder in the cache where the library with contexts is tried


def context_cost(workspace: Workspace, name: str) -> Estimate:
    """What writing the contexts that are missing for the library of an assistant would cost; nearly nothing is written.

    The assistant that the library stands in front of writes; the first sixteen passages measure its pace, and are kept.
    """
    writer = open_assistant(workspace, _inner(workspace, name))
    return estimate(workspace.material.passages(), writer, workspace.run(name).cache)


def context_gain(workspace: Workspace, name: str, asked: Sequence[Question]) -> Gain:
    """Write the contexts, and compare a library that has them with that of the assistant, on questions with evidence.

    The trial is built in the cache and removed; the contexts are kept, so that teaching with them costs no writing.
    Killed on the way, the same call goes on. Raises Fixable where there is no library, or too few questions.
    """
    inner, run = _inner(workspace, name), workspace.run(name)
    embedder, passages = open_embedder(run.embedder), workspace.material.passages()
    questions, left_out = usable(workspace.material, asked)
    plain = Library.open(run.folder / "library", embedder, material=run.material).seen_by(WHOLE)
    written = contextual(passages, open_assistant(workspace, inner), run.cache)
    folder = run.cache / TRIAL / "library"
    trial = Library.build(folder, written, embedder, run.cache, store="memory", fuse=plain.fuse, material=run.material)
    found = gain(plain, trial.seen_by(WHOLE), questions, left_out)
    shutil.rmtree(folder.parent)
    return found


def _inner(workspace: Workspace, name: str) -> str:
    """Who the library of an assistant stands in front of."""
    done = finished(workspace.run(name))
    if done is None or done["route"] != "retrieve":
        raise Fixable(
            f"'{name}' has no library", near_miss(name, workspace.runs()) or "teach one: shuyuan teach retrieve"
        )
    if done["settings"].get("context"):  # type: ignore[attr-defined]
        raise Fixable(f"the library of '{name}' has contexts already", "name one that has none: --only")
    return str(done["on"])
