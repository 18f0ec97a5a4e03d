"""Unsloth on a GPU job: `python gpu_unsloth.py JOB REPORT`. Option: `way`.

With its own gradient checkpointing, as it advises.
"""

import unsloth  # noqa: F401 (has to come before trl and transformers, which it changes)
from gpu_memory import guarded
from gpu_trl import packed_rows, sft_settings
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer
from unsloth import FastLanguageModel
from watching import TORCH, read_job, trainer_settings, trainer_watch

LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def run(job: dict) -> tuple[list, tuple]:
    """The measured steps, and whose versions count."""
    way = job["options"]["way"]
    net, _ = FastLanguageModel.from_pretrained(
        job["model"],
        max_seq_length=job["row_tokens"],
        load_in_4bit=way == "qlora",
        full_finetuning=way == "full",
    )
    if way != "full":
        net = FastLanguageModel.get_peft_model(
            net,
            r=job["rank"],
            lora_alpha=job["alpha"],
            target_modules=LAYERS,
            use_gradient_checkpointing="unsloth",
        )
    job["options"]["gradient_checkpointing"] = way == "full"
    watch = trainer_watch(job)
    trainer = SFTTrainer(
        model=net,
        args=SFTConfig(**trainer_settings(job) | sft_settings(job)),
        train_dataset=packed_rows(job),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        callbacks=[watch],
    )
    trainer.train()
    return watch.done(), (*TORCH, "unsloth", "trl", "peft")


if __name__ == "__main__":
    guarded(run, read_job())
