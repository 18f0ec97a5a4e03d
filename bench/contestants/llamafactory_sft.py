"""LLaMA-Factory on a LoRA job: `python llamafactory_sft.py JOB REPORT`, in an environment with llamafactory."""

import importlib.machinery
import importlib.util
import sys
import types

from watching import TORCH, examples, read_job, report, trainer_settings, trainer_watch

if importlib.util.find_spec("torchaudio") is None:
    # It is imported for sound, of which this job has none; the usual index has no CPU build of it.
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)

from datasets import Dataset, DatasetDict
from llamafactory.train.tuner import run_exp


def main() -> None:
    """Teach the job's adapter. Options are LLaMA-Factory's own settings."""
    job = read_job()
    rows = [
        {
            "input_ids": s["ids"],
            "attention_mask": [1] * len(s["ids"]),
            "labels": [i if learned else -100 for i, learned in zip(s["ids"], s["learned"], strict=True)],
        }
        for s in examples(job)
    ]
    tokenized = job["scratch"] + "/tokenized"
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(tokenized)
    settings = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": job["model"],
        "adapter_name_or_path": job["adapter"],
        "finetuning_type": "lora",
        "lora_target": "all",
        "lora_rank": job["rank"],
        "lora_alpha": job["alpha"],
        "template": "chatml",  # unused: the examples are tokens already
        "dataset": "none",
        "tokenized_path": tokenized,
        "disable_shuffling": True,
    }
    watch = trainer_watch(job)
    run_exp(args=settings | trainer_settings(job) | job["options"], callbacks=[watch])
    report(watch.done(), (*TORCH, "llamafactory", "trl", "peft"))


if __name__ == "__main__":
    main()
