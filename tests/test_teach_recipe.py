"""LLaMA-Factory's recipes, read as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.shelf import choose
from shuyuan.base.workspace import Choices, Workspace, finished
from shuyuan.cli.main import main
from shuyuan.teach.recipe import Recipe, read_recipe
from shuyuan.teach.teaching import stale

LORA = """\
### model
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all

### dataset
dataset: identity,alpaca_zh_demo  # 中文数据
template: qwen
cutoff_len: 1024
max_samples: 1000
preprocessing_num_workers: 16
dataloader_num_workers: 4

### output
output_dir: saves/qwen/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none  # choices: [none, wandb]

### train
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null

### eval
val_size: 0.1
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 500
"""
BASE = "model_name_or_path: m\ndataset: d\n"


def written(tmp_path: Path, text: str) -> Path:
    """A recipe file."""
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    return file


def read(tmp_path: Path, text: str) -> Recipe:
    """The recipe, whose settings its route takes."""
    recipe = read_recipe(written(tmp_path, text))
    choose("teach", recipe.route).of(recipe.settings)
    return recipe


def test_the_usual_recipe(tmp_path: Path) -> None:
    recipe = read(tmp_path, LORA)
    assert (recipe.model, recipe.route, recipe.seed) == ("Qwen/Qwen2.5-0.5B-Instruct", "lora", 42)
    assert recipe.settings == {
        "rank": 8, "alpha": 16.0, "batch": 16, "learning_rate": 1e-4, "epochs": 3, "longest": 1024,
    }  # fmt: skip
    assert recipe.datasets == ("identity", "alpaca_zh_demo")
    assert (recipe.data_folder, recipe.most_rows, recipe.hold_out, recipe.patience) == (Path("data"), 1000, 0.1, None)
    said = "\n".join(recipe.notes)
    assert "batch 16 = 2 a device × 8 accumulated" in said
    assert "alpha 16 = 2 × rank 8" in said
    assert "the warm-up is 5 % of the steps here" in said
    needless = next(note for note in recipe.notes if note.startswith("not needed here"))
    assert {"logging_steps", "plot_loss", "report_to", "overwrite_output_dir", "ddp_timeout"} <= {
        word.strip() for word in needless.partition(":")[2].split(",")
    }


def test_the_other_ways(tmp_path: Path) -> None:
    for more, route, settings in [
        ("finetuning_type: full", "full", {}),
        ("finetuning_type: freeze\nfreeze_trainable_layers: 3", "freeze", {"blocks": 3}),
        ("finetuning_type: full\nstage: pt\ncutoff_len: 512", "continue", {"block": 512, "replay": 0.0}),
        ("quantization_bit: 4\ndouble_quantization: false", "qlora", {"double": False, "rank": 8}),
        ("use_dora: true\nuse_rslora: true", "lora", {"dora": True, "rslora": True}),
        ("pissa_init: true\nlora_alpha: 64", "lora", {"pissa": True, "alpha": 64.0}),
        ("loraplus_lr_ratio: 16.0\nuse_dora: false", "lora", {"plus_ratio": 16.0}),
        ("stage: dpo", "dpo", {"beta": 0.1, "rank": 8, "alpha": 16.0, "learning_rate": 5e-5}),
        (
            "stage: dpo\npref_beta: '0.3'\npref_loss: sigmoid\npref_ftx: 0\nuse_dora: true",
            "dpo",
            {"beta": 0.3, "dora": True},
        ),
    ]:
        recipe = read(tmp_path, BASE + more)
        assert recipe.route == route
        assert recipe.settings.items() >= settings.items()


def test_what_is_left_out_is_as_llama_factory_has_it(tmp_path: Path) -> None:
    recipe = read(tmp_path, BASE)
    assert recipe.settings == {
        "rank": 8, "alpha": 16.0, "batch": 8, "learning_rate": 5e-5, "epochs": 3, "longest": 2048,
    }  # fmt: skip
    assert "cutoff_len 2048, learning_rate 5e-05, num_train_epochs 3.0" in "\n".join(recipe.notes)


def test_preference_keys_count_where_preferences_are_learned(tmp_path: Path) -> None:
    keys = "pref_beta: 0.2\npref_loss: sigmoid\n"
    assert "not needed here" not in "\n".join(read(tmp_path, BASE + "stage: dpo\n" + keys).notes)
    assert "not needed here: pref_beta, pref_loss" in "\n".join(read(tmp_path, BASE + keys).notes)


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    """`1e-4` is a text in YAML 1.1, which LLaMA-Factory's own reader takes for a number."""
    assert read(tmp_path, BASE + "learning_rate: 1e-4").settings["learning_rate"] == 1e-4
    assert read(tmp_path, BASE + "weight_decay: 0.0\nlora_dropout: '0'\nmax_steps: -1").route == "lora"


def test_mixtures_and_folders(tmp_path: Path) -> None:
    (tmp_path / "my data").mkdir()
    text = "model_name_or_path: m\ndataset: a, b\nmix_strategy: interleave_over\ninterleave_probs: 0.7, 0.3\n"
    recipe = read(tmp_path, text + "dataset_dir: my data\nearly_stopping_steps: 3\n")
    assert (recipe.mix, recipe.shares) == ("interleave_over", (0.7, 0.3))
    assert recipe.data_folder == tmp_path / "my data"
    assert recipe.patience == 3


@pytest.mark.parametrize(
    ("more", "what", "hint"),
    [
        ("lora_rnak: 8", "unknown key 'lora_rnak'", "lora_rank"),
        ("gradient_accumulation_step: 8", "unknown key", "gradient_accumulation_steps"),
        ("stage: ppo", "'stage: ppo' is not here yet", "sft, pt, dpo"),
        ("stage: dpo\npref_loss: simpo", "'pref_loss: simpo' is not here yet", "sigmoid"),
        ("stage: dpo\nfinetuning_type: full", "moves an adapter here", "lora"),
        ("stage: dpo\npref_ftx: 0.5", "'pref_ftx: 0.5' is not here", "remove"),
        ("stage: dpo\nquantization_bit: 4", "on a base in four bits", "--on qlora"),
        ("stage: dpo\nref_model: other", "'ref_model: other' (line 4)", "remove"),
        ("stage: stf", "'stage' cannot be 'stf'", "sft"),
        ("finetuning_type: oft", "'finetuning_type: oft' is not here yet", "lora, full, freeze"),
        ("deepspeed: ds_z3.json", "'deepspeed: ds_z3.json' (line 3)", "remove"),
        ("use_galore: true", "'use_galore: True' (line 3)", "remove"),
        ("neftune_noise_alpha: 5", "neftune_noise_alpha", "remove"),
        ("lr_scheduler_type: linear", "'lr_scheduler_type: linear'", "remove"),
        ("lora_target: q_proj,v_proj", "lora_target", "remove"),
        ("optim: paged_adamw_8bit", "optim", "remove"),
        ("train_on_prompt: true", "train_on_prompt", "remove"),
        ("stage: pt", "moves all weights", "full"),
        ("quantization_bit: 8", "'quantization_bit: 8' with 'lora'", ""),
        ("finetuning_type: full\nquantization_bit: 4", "with 'full'", ""),
        ("quantization_bit: 4\npissa_init: true", "PiSSA", "remove"),
        ("num_train_epochs: 0.5", "'num_train_epochs: 0.5' must be a whole number", ""),
        ("learning_rate: fast", "'learning_rate' must be a number", ""),
        ("learning_rate: .nan", "'learning_rate' must be a number", ""),
        ("val_size: 100", "must be a share here", "0.1"),
        ("do_train: false", "teaches nothing", "true"),
        ("interleave_probs: 0.5,0.5", "interleaving 'mix_strategy'", ""),
        ("mix_strategy: interleave_under\ninterleave_probs: 0.5,0.5", "2 shares for 1 data sets", ""),
        ("dataset_dir: REMOTE:x/y", "lies on a hub", "local"),
        ("dataset: e", "'dataset' stands there twice", "remove"),
        ("lora_rank: [", "not valid YAML", "correct"),
        ("x: !!python/object/apply:os.system ['true']", "not valid YAML", "correct"),
    ],
)
def test_what_cannot_be_done_is_named_with_its_line(tmp_path: Path, more: str, what: str, hint: str) -> None:
    file = written(tmp_path, BASE + more + "\n")
    with pytest.raises(Fixable) as error:
        read_recipe(file)
    assert what in error.value.what
    assert hint in error.value.hint
    line = int(error.value.place.removeprefix(f"{file}:"))
    assert 1 <= line <= 4


def test_all_that_is_not_here_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(Fixable, match=r"deepspeed.*line 4.*use_muon.*line 6"):
        read_recipe(written(tmp_path, BASE + "stage: sft\ndeepspeed: x\nuse_galore: false\nuse_muon: true\n"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty"),
        ("# nothing\n", "no recipe"),
        ("- a\n- b\n", "no recipe"),
        ("1: 2\n", "no recipe"),
        ("dataset: d\n", "no 'model_name_or_path'"),
        ("model: m\ntrain_dataset: d.yaml\n", "newer form"),
        ("a: &a [1]\nb: " + "[" * 5000, "not valid YAML"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(Fixable, match=what):
        read_recipe(written(tmp_path, text))


def test_a_recipe_is_followed_in_a_workspace(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("own", "chat", "other"):
        rows = [{"instruction": f"{name} 问题 {n}？", "output": f"{name} 答案 {n} 🌱"} for n in range(6)]
        (folder / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    info = {name: {"file_name": f"{name}.json"} for name in ("own", "chat", "other")}
    (folder / "dataset_info.json").write_text(json.dumps(info), "utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "model_name_or_path: m\nstage: sft\nfinetuning_type: lora\nlora_rank: 2\ndataset: own,chat\n"
        f"dataset_dir: {folder}\ncutoff_len: 64\nmix_strategy: interleave_under\ninterleave_probs: 0.5,0.5\n"
        "num_train_epochs: 1\nper_device_train_batch_size: 2\nseed: 7\n",
        "utf-8",
    )
    choices = Choices(model=str(tiny_folder(tmp_path / "tiny")))
    workspace = Workspace.create(tmp_path / "school", choices)
    command = ["follow", str(recipe), "--workspace", str(workspace.folder)]
    assert main(command) == 0
    done = finished(workspace.run("lora", 7))
    assert done is not None
    assert (done["settings"]["rank"], done["seed"]) == (2, 7)
    assert done["mix"] == {
        "origins": ["data/own.json", "data/chat.json"],
        "strategy": "interleave_under",
        "shares": [0.5, 0.5],
    }
    assert stale(workspace, "lora") == ""
    assert main([*command, "--name", "dry", "--dry-run"]) == 0
    assert finished(workspace.run("dry")) is None
    (folder / "own.json").write_text("[]", "utf-8")
    workspace.material.put_questions("data/own.json", [], [])
    assert stale(workspace, "lora")
    assert main(["teach", "continue", "--mix", "data/chat.json", "--workspace", str(workspace.folder)]) == 1
