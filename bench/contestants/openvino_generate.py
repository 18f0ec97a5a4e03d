"""OpenVINO GenAI: `python openvino_generate.py JOB REPORT`.

Its pipeline with continuous batching, token ids in and out.
"""

import os

import numpy as np
import openvino as ov
import openvino_genai
from generating import race, read_job


def main() -> None:
    """Options: `precision` to compute in. `job["openvino"]` holds the weights."""
    job = read_job()
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 2  # GB, of keys and values
    scheduler.enable_prefix_caching = False
    properties = {"INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]), "NUM_STREAMS": 1}
    properties["INFERENCE_PRECISION_HINT"] = job["options"]["precision"]
    pipeline = openvino_genai.ContinuousBatchingPipeline(job["openvino"], scheduler, "CPU", properties)

    def generate(prompts: list, most: int) -> list:
        settings = openvino_genai.GenerationConfig()
        settings.max_new_tokens = most
        settings.do_sample = False
        settings.stop_token_ids = set(job["ends"])
        settings.eos_token_id = job["ends"][0]
        tensors = [ov.Tensor(np.array([prompt], dtype=np.int64)) for prompt in prompts]
        said = pipeline.generate(tensors, [settings] * len(prompts))
        return [answer.m_generation_ids[0] for answer in said]

    race(generate, job, ("openvino", "openvino-genai"))


if __name__ == "__main__":
    main()
