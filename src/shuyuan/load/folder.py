"""A model folder of your own in Hugging Face format, used where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json
from shuyuan.base.settings import Settings
from shuyuan.load.catalogue import Wanted

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")


class Folder(Settings):
    """Checks that a folder holds a whole model in a safe format. Nothing in it is run, copied or changed."""

    path: Annotated[str, Field(description="the folder with config.json and *.safetensors")] = ""

    def fetch(self, wanted: Wanted | None = None, folder: Path | None = None) -> Path:
        """The folder itself, once checked. Raises `Fixable`: not a model, weights as pickle, cut weights, own code."""
        path = Path(self.path).expanduser().resolve()
        if (path / "adapter_config.json").exists() and not (path / "config.json").exists():
            raise Fixable(f"{path} holds an adapter, not a model", "give the folder of the model it belongs to")
        if not (path / "config.json").exists():
            raise Fixable(
                f"{path} is not a model folder: it has no config.json",
                "give a folder in Hugging Face format (config.json, *.safetensors, tokenizer.json) or a .gguf file",
            )
        weights = sorted(path.glob("*.safetensors"))
        if not weights:
            _refuse_missing(path)
        for file in weights:
            _check_weights(file)
        _check_own_code(path / "config.json")
        return path


def _refuse_missing(path: Path) -> None:
    pickles = sorted(file.name for pattern in _PICKLES for file in path.glob(pattern))
    if not pickles:
        raise Fixable(f"{path} holds no weights: there is no *.safetensors", "fetch the folder again, with all files")
    raise Fixable(
        f"the weights in {path} are in a format that can run code when it is opened: {', '.join(pickles)}",
        "convert them once where you trust them: "
        "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)",
    )


def _check_weights(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        # Opening reads the header and compares its offsets with the length of the file.
        with safe_open(file, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise Fixable(f"not a whole safetensors file: {error}", "fetch it again", file) from None


def _check_own_code(config_file: Path) -> None:
    """A model that brings its own Python is opened only if `transformers` has a class of its own for it."""
    from transformers import CONFIG_MAPPING

    config = read_json(config_file)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind in CONFIG_MAPPING:
        return
    if isinstance(config, dict) and "auto_map" in config:
        raise Fixable(
            f"the model '{kind}' needs Python code from its own folder, which is never run",
            "choose a model that transformers knows, or convert it to such a one",
            config_file,
        )
    raise Fixable(f"the installed transformers does not know the model type '{kind}'", "update it", config_file)
