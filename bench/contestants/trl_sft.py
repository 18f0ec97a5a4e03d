"""TRL's SFTTrainer on a LoRA job: `python trl_sft.py JOB REPORT`, in an environment with trl and peft."""

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer
from watching import TORCH, examples, read_job, report, trainer_settings, trainer_watch


def main() -> None:
    """Teach the job's adapter. Options: `dtype` of the frozen weights; the others are SFTConfig's own."""
    job = read_job()
    options = dict(job["options"])
    net = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, options.pop("dtype")))
    net = PeftModel.from_pretrained(net, job["adapter"], is_trainable=True)
    rows = [{"input_ids": s["ids"], "completion_mask": [int(x) for x in s["learned"]]} for s in examples(job)]
    settings = trainer_settings(job) | {"completion_only_loss": True, "train_sampling_strategy": "sequential"}
    watch = trainer_watch(job)
    trainer = SFTTrainer(
        model=net,
        args=SFTConfig(**settings | options),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        callbacks=[watch],
    )
    trainer.train()
    report(watch.done(), (*TORCH, "trl", "peft"))


if __name__ == "__main__":
    main()
