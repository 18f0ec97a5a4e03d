"""A LLaMA-Factory recipe (YAML) as it is → what would be taught here, and what of it changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.prepare.mixture import Strategy
from shuyuan.read.encoding import decode
from shuyuan.read.formats import load
from shuyuan.teach.recipe_keys import ELSEWHERE, FAMILIES, NEEDLESS, PREFERENCE, USED

# What LLaMA-Factory and transformers take where a recipe says nothing.
_DEFAULTS: dict[str, Any] = {
    "stage": "sft",
    "finetuning_type": "lora",
    "dataset_dir": "data",
    "cutoff_len": 2048,
    "mix_strategy": "concat",
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-5,
    "num_train_epochs": 3.0,
    "seed": 42,
    "lora_rank": 8,
    "freeze_trainable_layers": 2,
    "val_size": 0.0,
    "pref_beta": 0.1,
    "pref_loss": "sigmoid",
}
_SAID = ("cutoff_len", "learning_rate", "num_train_epochs", "per_device_train_batch_size", "lora_rank")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a recipe comes to: `route` with `settings` on `model`, taught the `datasets` described in `data_folder`.

    `mix` and `shares` say how the data sets are mixed, `most_rows` how many of each are taken (None: all), `hold_out`
    what share is kept aside to measure on and `patience` when to stop early (None: as usual here). `notes` are to be
    said aloud: what was derived, what was left to defaults, and which keys change nothing here.
    """

    model: str
    route: str
    settings: Mapping[str, Any]
    datasets: tuple[str, ...]
    data_folder: Path
    seed: int
    mix: Strategy
    shares: tuple[float, ...]
    most_rows: int | None
    hold_out: float
    patience: int | None
    notes: tuple[str, ...]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Relative folders are seen from the current one, as LLaMA-Factory does, else from the recipe's.

    An unknown key is a `Fixable` with the near miss; so are keys that ask for what is not here, all named at once.
    """
    given = _Given(path)
    given.check()
    notes: list[str] = []
    route, settings = _route(given, notes)
    batch, grouped = given.whole("per_device_train_batch_size"), given.whole("gradient_accumulation_steps")
    settings["batch"] = batch * grouped
    notes.append(f"batch {batch * grouped} = {batch} a device × {grouped} accumulated")
    settings["learning_rate"] = given.number("learning_rate")
    settings["epochs"] = given.whole("num_train_epochs")
    settings["block" if route == "continue" else "longest"] = given.whole("cutoff_len")
    silent = [f"{key} {_DEFAULTS[key]}" for key in _SAID if key not in given.values]
    if silent:
        notes.append(f"left out in the recipe, so as LLaMA-Factory has it: {', '.join(silent)}")
    used = (*USED, *PREFERENCE) if route == "dpo" else USED
    needless = {key: NEEDLESS.get(key, "") for key in given.values if key not in used}
    if needless:
        notes.append(f"not needed here: {', '.join(needless)}")
    notes += [f"{key}: {why}" for key, why in needless.items() if why and given.on(key)]
    mix, shares = _mixing(given)
    return Recipe(
        model=given.text("model_name_or_path"),
        route=route,
        settings=settings,
        datasets=given.words("dataset"),
        data_folder=_folder(given),
        seed=given.whole("seed", least=0),
        mix=mix,
        shares=shares,
        most_rows=given.whole("max_samples") if given.on("max_samples") else None,
        hold_out=_hold_out(given),
        patience=given.whole("early_stopping_steps") if given.on("early_stopping_steps") else None,
        notes=tuple(notes),
    )


def _route(given: _Given, notes: list[str]) -> tuple[str, dict[str, Any]]:
    """The route, and the settings that are its own."""
    stage = given.one_of("stage", ("sft", "pt", "dpo"), others=("rm", "ppo", "kto"))
    kind = given.one_of("finetuning_type", ("lora", "full", "freeze"), others=("oft",))
    if given.on("do_train", default=True) is False:
        raise given.wrong("do_train", "the recipe teaches nothing ('do_train: false')", "set it to true")
    bits = given.number("quantization_bit") if given.on("quantization_bit") else None
    if bits is not None and (kind != "lora" or bits != 4):
        what = f"'quantization_bit: {bits:g}' with '{kind}' is not here; 4 bits with lora are (QLoRA)"
        raise given.wrong("quantization_bit", what)
    if stage == "pt":
        if kind != "full":
            what = f"pretraining ('stage: pt') moves all weights here, and not '{kind}'"
            key = "finetuning_type" if given.on("finetuning_type") else "stage"
            raise given.wrong(key, what, "write 'finetuning_type: full'")
        notes.append("stage pt → the route continue, without replay of other text (--replay 0.1 guards the old skills)")
        return "continue", {"replay": 0.0}
    if stage == "dpo":
        return "dpo", _preference(given, kind, bits) | _adapter(given, notes)
    if kind == "full":
        return "full", {}
    if kind == "freeze":
        return "freeze", {"blocks": given.whole("freeze_trainable_layers")}
    settings = _adapter(given, notes)
    if given.on("pissa_init"):
        settings["pissa"] = True
    if bits is None:
        return "lora", settings
    if "pissa" in settings:
        raise given.wrong("pissa_init", "PiSSA and a quantised base exclude each other", "remove one of them")
    notes.append("quantization_bit 4 → the route qlora")
    return "qlora", settings | {"double": given.on("double_quantization", default=True)}


def _preference(given: _Given, kind: str, bits: float | None) -> dict[str, Any]:
    """What the stage dpo has of its own."""
    given.one_of("pref_loss", ("sigmoid",), others=("hinge", "ipo", "kto_pair", "orpo", "simpo"))
    if kind != "lora":
        raise given.wrong("finetuning_type", f"'stage: dpo' moves an adapter here, and not '{kind}'", "write 'lora'")
    for key in ("pref_ftx", "pref_bco_weight", "dpo_label_smoothing", "ld_alpha", "pissa_init"):
        if given.on(key) and _number(given.values[key]) != 0:
            raise given.wrong(key, f"'{key}: {given.values[key]}' is not here with 'stage: dpo'", "remove it")
    if bits is not None:
        what = "'stage: dpo' on a base in four bits is not here in one step"
        raise given.wrong("quantization_bit", what, "remove it, or teach qlora and then: shuyuan teach dpo --on qlora")
    return {"beta": given.number("pref_beta")}


def _adapter(given: _Given, notes: list[str]) -> dict[str, Any]:
    """What every adapter has."""
    rank = given.whole("lora_rank")
    alpha = given.number("lora_alpha") if given.on("lora_alpha") else 2.0 * rank
    if not given.on("lora_alpha"):
        notes.append(f"alpha {alpha:g} = 2 × rank {rank}")
    settings: dict[str, Any] = {"rank": rank, "alpha": alpha}
    for key, setting in (("use_rslora", "rslora"), ("use_dora", "dora")):
        if given.on(key):
            settings[setting] = True
    if given.on("loraplus_lr_ratio"):
        settings["plus_ratio"] = given.number("loraplus_lr_ratio")
    return settings


def _mixing(given: _Given) -> tuple[Strategy, tuple[float, ...]]:
    strategy: Strategy = given.one_of("mix_strategy", get_args(Strategy))  # type: ignore[assignment]
    shares = tuple(given.as_number("interleave_probs", word) for word in given.words("interleave_probs"))
    if shares and strategy == "concat":
        raise given.wrong("interleave_probs", "'interleave_probs' needs an interleaving 'mix_strategy'")
    if shares and len(shares) != len(given.words("dataset")):
        raise given.wrong("interleave_probs", f"{len(shares)} shares for {len(given.words('dataset'))} data sets")
    return strategy, shares


def _hold_out(given: _Given) -> float:
    share = given.number("val_size")
    if not 0 <= share <= 0.5:
        raise given.wrong("val_size", f"'val_size: {share:g}' must be a share here, from 0 to 0.5", "write 0.1")
    return share


def _folder(given: _Given) -> Path:
    name = str(given.values.get("dataset_dir") or _DEFAULTS["dataset_dir"])
    if name == "ONLINE" or name.startswith("REMOTE:"):
        raise given.wrong("dataset_dir", f"'{name}' lies on a hub, and nothing is fetched here", "name a local folder")
    here, beside = Path(name), given.path.parent / name
    return here if here.exists() or not beside.exists() else beside


class _Given:
    """The values of a recipe, each with the line it stands on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = decode(load(path), path)
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            what = f"not valid YAML: {getattr(error, 'problem', None) or error}"
            raise Fixable(what, "correct it there", f"{path}:{mark.line + 1}" if mark else path) from None
        except (RecursionError, ValueError) as error:
            raise Fixable(f"not valid YAML: {error}", "correct the file", path) from None
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise Fixable("this is no recipe", "a recipe holds 'key: value' lines", path)
        self.values: dict[str, Any] = values
        self.lines: dict[str, int] = {}
        for node, _ in root.value:
            if node.value in self.lines:
                raise Fixable(f"'{node.value}' stands there twice", "remove one", f"{path}:{node.start_mark.line + 1}")
            self.lines[node.value] = node.start_mark.line + 1

    def check(self) -> None:
        """Refuse unknown keys, and keys of ways that are not here."""
        if isinstance(self.values.get("model"), str) and "model_name_or_path" not in self.values:
            what = "this recipe is of LLaMA-Factory's newer form (v1), which is not read yet"
            raise self.wrong("model", what, "write it with 'model_name_or_path', 'stage' and 'finetuning_type'")
        known = (*USED, *NEEDLESS, *ELSEWHERE)
        unknown = [key for key in self.values if key not in known and not key.startswith(FAMILIES)]
        if unknown:
            raise self.wrong(unknown[0], f"unknown key '{unknown[0]}'", near_miss(unknown[0], known)[:200])
        asked = [key for key in self.values if key in ELSEWHERE and self.on(key) and not self._off(key)]
        if asked:
            shown = ", ".join(f"'{key}: {str(self.values[key])[:60]}' (line {self.lines[key]})" for key in asked)
            raise self.wrong(asked[0], f"the recipe asks for what is not here: {shown}", "remove it, or set it off")

    def on(self, key: str, default: Any = None) -> Any:
        """The value of a key that is given and neither null nor false, else `default`."""
        value = self.values.get(key)
        return value if value not in (None, "") and (value is not False or default is not None) else default

    def _off(self, key: str) -> bool:
        value = self.values[key]
        return any(value == off or _number(value) == off for off in ELSEWHERE[key])

    def text(self, key: str) -> str:
        """A text that has to be there."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip():
            raise Fixable(f"the recipe has no '{key}'", f"write '{key}: …'", self.place(key))
        return value.strip()

    def words(self, key: str) -> tuple[str, ...]:
        """A list, or words parted by commas."""
        value = self.values.get(key)
        parts = value if isinstance(value, list) else [] if value is None else str(value).split(",")
        return tuple(str(part).strip() for part in parts if str(part).strip())

    def number(self, key: str) -> float:
        """A number; `1e-4` is a text in YAML 1.1 and a number to LLaMA-Factory."""
        value = self.values.get(key)
        return self.as_number(key, _DEFAULTS[key] if value is None else value)

    def as_number(self, key: str, value: Any) -> float:
        """The number that stands at a key, or in its list."""
        number = _number(value)
        if number is None:
            raise self.wrong(key, f"'{key}' must be a number, not {value!r}")
        return number

    def whole(self, key: str, least: int = 1) -> int:
        """A whole number of at least `least`."""
        number = self.number(key)
        if number != int(number) or number < least:
            raise self.wrong(key, f"'{key}: {number:g}' must be a whole number here, {least} or more")
        return int(number)

    def one_of(self, key: str, known: tuple[str, ...], others: tuple[str, ...] = ()) -> str:
        """One of some words; `others` are known to LLaMA-Factory and not here."""
        value = str(self.values.get(key) or _DEFAULTS[key])
        if value in others:
            raise self.wrong(key, f"'{key}: {value}' is not here yet", f"there are: {', '.join(known)}")
        if value not in known:
            raise self.wrong(key, f"'{key}' cannot be '{value}'", near_miss(value, (*known, *others)))
        return value

    def wrong(self, key: str, what: str, hint: str = "") -> Fixable:
        """An error at the line of a key."""
        return Fixable(what, hint, self.place(key))

    def place(self, key: str) -> str:
        """file:line of a key; the file where it is not given."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else str(self.path)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
