"""What to type to teach a run once more."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from shuyuan.base.guards import Guards
from shuyuan.base.shelf import choices, choose

BARE = "bare"  # the base model itself: always there, never taught


def command(step: Mapping[str, Any]) -> str:
    """The command that teaches one run, with what differs from the defaults."""
    route, on, name = str(step["route"]), str(step["on"]), str(step["name"])
    usual = choose("teach", route).model_fields if route in choices("teach") else {}
    given = {
        key: value
        for key, value in dict(step.get("settings", {})).items()
        if value is not None and (key not in usual or usual[key].default != value)
    }
    guards = Guards.model_fields
    given |= {key: value for key, value in dict(step.get("guards", {})).items() if guards[key].default != value}
    words = ["shuyuan teach", route, *_flags(given)]
    words += [f"--on {on}"] if on != BARE else []
    words += [f"--name {name}"] if name != (route if on == BARE else f"{on}+{route}") else []
    words += [f"--seed {step['seed']}"] if step.get("seed") else []
    if mix := step.get("mix"):
        shares = mix.get("shares") or [1] * len(mix["origins"])
        words += ["--mix " + " ".join(f"{o}={s:g}" for o, s in zip(mix["origins"], shares, strict=True))]
    return " ".join(words)


def _flags(given: Mapping[str, Any]) -> list[str]:
    found = []
    for key, value in given.items():
        flag = "--" + key.rstrip("_").replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            found.append(f"{flag} {shlex.join(map(str, value if isinstance(value, (list, tuple)) else [value]))}")
    return found
