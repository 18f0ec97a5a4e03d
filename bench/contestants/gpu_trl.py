"""TRL's SFTTrainer on a GPU job: `python gpu_trl.py JOB REPORT`. Options: `way`, `gradient_checkpointing`.

Packed rows with their documents kept apart: by FlashAttention where it is installed, else by torch's own attention and
position numbers that start again, from which transformers builds the mask.
"""

import importlib.util

import torch
from datasets import Dataset
from gpu_memory import guarded
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer
from watching import TORCH, read_job, trainer_settings, trainer_watch


def run(job: dict) -> tuple[list, tuple]:
    """The measured steps, and whose versions count."""
    way = job["options"]["way"]
    flash = torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None
    settings: dict = {"attn_implementation": "flash_attention_2" if flash else "sdpa"}
    settings["dtype"] = torch.float32 if way == "full" else torch.bfloat16
    if torch.cuda.is_available():
        settings["device_map"] = {"": 0}
    if way == "qlora":
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    watch = trainer_watch(job)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], **settings),
        args=SFTConfig(**trainer_settings(job) | sft_settings(job)),
        train_dataset=packed_rows(job),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        peft_config=None if way == "full" else lora_config(job),
        callbacks=[watch],
    )
    trainer.train()
    return watch.done(), (*TORCH, "trl", "peft")


def sft_settings(job: dict) -> dict:
    """SFTConfig's own settings."""
    return {
        "bf16": True,
        "gradient_checkpointing": job["options"]["gradient_checkpointing"],
        "padding_free": True,
        "max_length": None,
        "train_sampling_strategy": "sequential",
    }


def packed_rows(job: dict) -> Dataset:
    """One example a row, with the lengths of the sequences in it."""
    return Dataset.from_list(
        [
            {"input_ids": [i for ids in row for i in ids], "seq_lengths": [len(ids) for ids in row]}
            for step in job["packed"]
            for row in step
        ]
    )


def lora_config(job: dict) -> LoraConfig:
    """Adapters on every linear layer of the blocks."""
    return LoraConfig(r=job["rank"], lora_alpha=job["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")


if __name__ == "__main__":
    guarded(run, read_job())
