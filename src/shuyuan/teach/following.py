"""Follow a LLaMA-Factory recipe in a workspace: its data is added, and what `teach` is to do comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.guards import Guards
from shuyuan.base.progress import say
from shuyuan.base.shelf import choose
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.adding import add
from shuyuan.prepare.gathering import data_files
from shuyuan.prepare.mixture import Mix
from shuyuan.prepare.sources import Roots
from shuyuan.teach.recipe import Recipe, read_recipe


def follow(workspace: Workspace, path: Path) -> dict[str, Any]:
    """Add a recipe's data sets to the workspace and return the arguments for `teach`; what was derived is said.

    The workspace's own base model is taught, whatever the recipe names. Of the examples only those of the recipe's
    data sets are learned; a recipe that pretrains reads all documents of the workspace.
    """
    recipe = read_recipe(path)
    for note in recipe.notes:
        say(f"{path.name}: {note}")
    if recipe.model != workspace.choices.model:
        say(f"{path.name}: it names the model {recipe.model}; this workspace teaches {workspace.choices.model}")
    add(workspace, [], data=[recipe.data_folder], datasets=recipe.datasets, most=recipe.most_rows)
    patience = Guards().patience if recipe.patience is None else recipe.patience
    order: dict[str, Any] = {"route": recipe.route, "settings": recipe.settings, "seed": recipe.seed}
    order["guards"] = Guards(hold_out=recipe.hold_out, patience=patience)
    if getattr(choose("teach", recipe.route), "learns_examples", True):
        order["mix"] = _mix(workspace, recipe, path)
    return order


def _mix(workspace: Workspace, recipe: Recipe, path: Path) -> Mix:
    roots = Roots.open(workspace.folder)
    origins = tuple(file.origin for file in data_files(roots, [recipe.data_folder], recipe.datasets))
    if recipe.shares and len(origins) != len(recipe.shares):
        raise Fixable(
            f"{len(recipe.shares)} shares for {len(origins)} files: a data set of this recipe is a folder of files",
            "put each data set into one file, or use mix_strategy: concat",
            path,
        )
    return Mix(origins, recipe.mix, recipe.shares)
