"""What every contestant measures and reports. Stands alone: it runs in the environments of other projects too.

A report is {"steps": [{"seconds", "loss", "tokens", "computed", "learned"}], "peak_bytes", "versions"}: real tokens
are those of the examples, computed ones include the padding, learned ones are the targets of the loss. Seconds are
those of the processor in this process, or of the clock on the wall where the job says so ("clock": "wall", on a GPU).
"""

import importlib.metadata
import json
import sys
import time
from pathlib import Path

TORCH = ("torch", "transformers")  # whose versions count wherever torch computes


def read_job() -> dict:
    """The job that was given as the first argument."""
    return json.loads(Path(sys.argv[1]).read_text())


def report(steps: list, packages: tuple, **more) -> None:
    """Write the report to the file that was given as the second argument."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    found = {"steps": steps, "peak_bytes": peak_bytes(), "versions": versions} | more
    Path(sys.argv[2]).write_text(json.dumps(found))


def peak_bytes() -> int:
    """The most memory that this process has held, loading included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's peak memory")


def clock_of(job: dict):
    """The clock to measure with; on a GPU it waits until all work is done."""
    if job.get("clock") != "wall":
        return time.process_time
    import torch

    def wall() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def forget_loading() -> None:
    """Count a GPU's peak memory from here on."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def examples(job: dict) -> list:
    """The job's sequences in the order in which they are to be learned, `batch` of them a step."""
    return [sequence for step in job["steps"] for sequence in step]


def trainer_watch(job: dict):
    """A callback for transformers' Trainer that measures its steps and gives each the job's learning rate."""
    from transformers import TrainerCallback

    clock = clock_of(job)

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.steps, self.losses = [], []

        def on_train_begin(self, args, state, control, model=None, **_):
            model.register_forward_pre_hook(self._count, with_kwargs=True)
            forget_loading()
            self.mark = clock()

        def on_step_begin(self, args, state, control, optimizer=None, **_):
            self.tokens = self.computed = self.learned = 0
            for group in optimizer.param_groups:
                group["lr"] = job["rates"][state.global_step]

        def on_step_end(self, args, state, control, **_):
            now = clock()  # from the end of the step before: fetching the batch is part of a step
            counted = {"tokens": self.tokens, "computed": self.computed, "learned": self.learned}
            self.steps.append({"seconds": now - self.mark, **counted})
            self.mark = now

        def on_log(self, args, state, control, logs=None, **_):
            if "loss" in logs:
                self.losses.append(float(logs["loss"]))

        def _count(self, model, given, named):
            ids, mask, labels = (named.get(name) for name in ("input_ids", "attention_mask", "labels"))
            self.computed += ids.numel()
            self.tokens += int((mask != 0).sum()) if mask is not None else ids.numel()
            self.learned += int((labels != -100).sum()) if labels is not None else 0

        def done(self) -> list:
            if len(self.losses) != len(self.steps):
                raise RuntimeError(f"{len(self.steps)} steps, but {len(self.losses)} losses")
            return [{**step, "loss": loss} for step, loss in zip(self.steps, self.losses, strict=True)]

    return Watch()


def trainer_settings(job: dict) -> dict:
    """Settings of transformers' TrainingArguments that put every contestant before the same task."""
    return {
        "output_dir": job["scratch"] + "/out",
        "per_device_train_batch_size": job["batch"],
        "gradient_accumulation_steps": job.get("accumulate", 1),
        "max_steps": len(job["rates"]),
        "learning_rate": job["rates"][0],
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "adam_beta1": job["betas"][0],
        "adam_beta2": job["betas"][1],
        "weight_decay": 0.0,
        "max_grad_norm": job["clip"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": job.get("use_cpu", True),
        "seed": 0,
    }
