"""TRL's DPOTrainer on a preference job: `python trl_dpo.py JOB REPORT`, in an environment with trl and peft."""

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
from watching import TORCH, examples, read_job, report, trainer_settings, trainer_watch


class Tokenised(DPOTrainer):
    """The trainer as it is, given token ids: everyone has to learn from the same ones, in the same order."""

    def _prepare_dataset(self, dataset, *_):
        return dataset

    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def main() -> None:
    """Teach the job's adapter. Options: `dtype` of the frozen weights; the others are DPOConfig's own."""
    job = read_job()
    options = dict(job["options"])
    net = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, options.pop("dtype")))
    net = PeftModel.from_pretrained(net, job["adapter"], is_trainable=True)
    rows = [
        {"prompt_ids": p["prompt"], "chosen_ids": p["chosen"], "rejected_ids": p["rejected"]} for p in examples(job)
    ]
    settings = trainer_settings(job) | {"beta": job["beta"], "max_length": None}
    watch = trainer_watch(job)
    trainer = Tokenised(
        model=net,
        args=DPOConfig(**settings | options),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        callbacks=[watch],
    )
    trainer.train()
    steps = [step | counted(pairs) for step, pairs in zip(watch.done(), job["steps"], strict=True)]
    report(steps, (*TORCH, "trl", "peft"))


def counted(pairs: list) -> dict:
    """A step's real tokens, and those computed once: the reference reads them all a second time."""
    sizes = [len(p["prompt"]) + len(p[side]) for side in ("chosen", "rejected") for p in pairs]
    return {"tokens": sum(sizes), "computed": len(sizes) * max(sizes), "learned": len(pairs)}


if __name__ == "__main__":
    main()
