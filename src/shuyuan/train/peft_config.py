"""PEFT's `adapter_config.json`: which layers an adapter changes, with what rank and scale; and what we cannot do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json
from shuyuan.base.settings import Settings

CONFIG = "adapter_config.json"
ALL_LINEAR = "all-linear"
PISSA = "pissa"
# How A and B were drawn says nothing about the finished adapter, except where the start was taken out of the base.
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva", PISSA)
# Notes of the tool that wrote the file, and what matters only while it learns or together with something refused below.
_NO_MATTER = {
    "auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode", "task_type",
    "lora_dropout", "fan_in_fan_out", "init_lora_weights", "megatron_config", "megatron_core", "qalora_group_size",
    "loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config",
}  # fmt: skip

Rank = Annotated[int, Field(ge=1, le=1 << 16, description="columns of B")]
Alpha = Annotated[float, Field(allow_inf_nan=False, description="what the scale is made from")]
Names = tuple[str, ...] | str


class AdapterConfig(Settings):
    """What we honour of PEFT's `LoraConfig`, under its names."""

    r: Rank = 8
    lora_alpha: Alpha = 8.0
    use_rslora: Annotated[bool, Field(description="scale by alpha / √r")] = False
    use_dora: Annotated[bool, Field(description="with a magnitude vector")] = False
    target_modules: Annotated[Names, Field(description="names, a regular expression, or all-linear")] = ()
    exclude_modules: Annotated[Names | None, Field(description="names or a regular expression")] = None
    layers_to_transform: Annotated[tuple[int, ...] | int | None, Field(description="blocks, from 0")] = None
    layers_pattern: Annotated[Names | None, Field(description="what the list of blocks is called")] = None
    rank_pattern: Annotated[Mapping[str, Rank] | None, Field(description="other ranks, by name")] = None
    alpha_pattern: Annotated[Mapping[str, Alpha] | None, Field(description="other alphas, by name")] = None

    def rank(self, name: str) -> int:
        """The rank of a layer."""
        return int(_by_pattern(self.rank_pattern, name, self.r))

    def scale(self, name: str) -> float:
        """The factor of a layer's change."""
        rank, alpha = self.rank(name), _by_pattern(self.alpha_pattern, name, self.lora_alpha)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def targets(self, names: Iterable[str], linear: Iterable[str]) -> list[str]:
        """The modules that have an adapter. Raises `Fixable` for one that is not a linear layer of a block."""
        linear = set(linear)
        if isinstance(self.target_modules, str) and self.target_modules.lower() == ALL_LINEAR:
            found = [name for name in names if name in linear and not self._excluded(name)]
        else:
            found = [name for name in names if self._meant(name) and not self._excluded(name)]
        if odd := [name for name in found if name not in linear]:
            raise Fixable(
                f"this adapter changes '{odd[0]}', and only the linear layers of the blocks can have an adapter here",
                "merge it into its base model with the tool it comes from, and use the merged model",
            )
        return found

    def _meant(self, name: str) -> bool:
        if isinstance(self.target_modules, str):
            return re.fullmatch(self.target_modules, name) is not None
        if name in self.target_modules:
            return True
        if not any(name.endswith(f".{target}") for target in self.target_modules):
            return False
        blocks = self.layers_to_transform
        return blocks in (None, ()) or self._block(name) in ([blocks] if isinstance(blocks, int) else blocks or ())

    def _excluded(self, name: str) -> bool:
        if isinstance(self.exclude_modules, str):
            return bool(self.exclude_modules) and re.fullmatch(self.exclude_modules, name) is not None
        return any(name == out or name.endswith(f".{out}") for out in self.exclude_modules or ())

    def _block(self, name: str) -> int | None:
        """The first number in a layer's name, behind one of the patterns where there are any."""
        given = self.layers_pattern or ()
        patterns = [rf"(?:^|.*?\.){p}" for p in ([given] if isinstance(given, str) else given)] or [r".*?\.[^.]*"]
        found = (re.match(rf"{pattern}\.(?P<number>\d+)\.", name) for pattern in patterns)
        return next((int(match["number"]) for match in found if match), None)


def read_config(folder: Path) -> tuple[AdapterConfig, Mapping[str, Any]]:
    """The configuration of an adapter, and the file as it is. What we cannot honour is a `Fixable` that names it."""
    file = folder / CONFIG
    if not file.is_file():
        raise Fixable(f"there is no adapter in {folder}: {CONFIG} is missing", "name a folder in the PEFT format")
    given = read_json(file)
    if not isinstance(given, dict) or given.get("peft_type") != "LORA":
        kind = given.get("peft_type") if isinstance(given, dict) else type(given).__name__
        raise Fixable(f"this adapter is not LoRA but {kind}", "merge it into its base model first", file)
    start, bias = given.get("init_lora_weights", True), given.get("bias", "none")
    odd = [f"{key} = {value}" for key, value in given.items() if value and _unknown(key)]
    odd += [f"init_lora_weights = {start}"] if start not in _PLAIN_STARTS else []
    odd += [f"bias = {bias}"] if bias != "none" else []
    if odd:
        raise Fixable(
            f"this adapter uses what cannot be read here: {', '.join(odd)[:300]}",
            "merge it into its base model with the tool it comes from, and use the merged model",
            file,
        )
    if not given.get("target_modules"):
        raise Fixable("this adapter does not say which layers it changes (target_modules)", "save it again", file)
    config = AdapterConfig.of({k: v for k, v in given.items() if k in AdapterConfig.model_fields}, str(file))
    _check_patterns(config, file)
    return config, given


def written_config(ranks: Mapping[str, int], scales: Mapping[str, float], **said: Any) -> dict[str, Any]:
    """The file for adapters of these ranks and scales, by layer; `said`: further keys, of which `use_rslora` counts."""
    alphas = {name: _alpha(ranks[name], scale, bool(said.get("use_rslora"))) for name, scale in scales.items()}
    rank, alpha = (max(set(v.values()), key=list(v.values()).count) for v in (ranks, alphas))
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
        "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {name: a for name, a in alphas.items() if a != alpha},
        **said,
    }


def _alpha(rank: int, scale: float, rslora: bool) -> float:
    alpha = round(scale * (math.sqrt(rank) if rslora else rank), 9)
    return int(alpha) if alpha == int(alpha) else alpha  # some readers of the format take whole numbers only


def _by_pattern(patterns: Mapping[str, float] | None, name: str, usual: float) -> float:
    """The value of the first pattern that the end of a name matches, as PEFT chooses it."""
    found = (value for key, value in (patterns or {}).items() if re.match(rf"(.*\.)?({key})$", name))
    return next(found, usual)


def _check_patterns(config: AdapterConfig, file: Path) -> None:
    texts = [text for text in (config.target_modules, config.exclude_modules) if isinstance(text, str)]
    given = config.layers_pattern or ()
    texts += [given] if isinstance(given, str) else given
    for text in [*texts, *(config.rank_pattern or ()), *(config.alpha_pattern or ())]:
        try:
            re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise Fixable(
                f"'{text[:80]}' is not a regular expression: {error}", "save the adapter again", file
            ) from None


def _unknown(key: str) -> bool:
    return key not in AdapterConfig.model_fields and key not in _NO_MATTER and key not in ("peft_type", "bias")
