"""llama.cpp, by the bindings xllamacpp: `python llamacpp_generate.py JOB REPORT`.

As its server runs it: one slot for each prompt of a batch, continuous batching, token ids in and out. Nothing of a
prompt is kept for the next one.
"""

import json
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import xllamacpp
from generating import race, read_job


def main() -> None:
    """Options: none; `job["gguf"]` holds the weights."""
    job = read_job()
    most = max(job["sizes"])
    settings = xllamacpp.CommonParams()
    settings.model.path = job["gguf"]
    settings.n_parallel = most
    settings.n_ctx = most * (max(map(len, job["prompts"])) + job["most"] + 16)
    settings.n_gpu_layers = 0
    settings.cache_prompt = False
    settings.warmup = True
    settings.kv_unified = False
    settings.verbosity = -1
    for of in (settings.cpuparams, settings.cpuparams_batch):
        of.n_threads = int(os.environ["OMP_NUM_THREADS"])
        of.poll = 0  # wait without spinning, as the others were told to
    server = xllamacpp.Server(settings)

    def answer(prompt: list, tokens: int) -> list:
        asked = {
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "repeat_penalty": 1.0,
            "cache_prompt": False,
            "return_tokens": True,
        }
        request = urllib.request.Request(
            f"{server.listening_address}/completion", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as said:
            return json.load(said)["tokens"]

    def generate(prompts: list, tokens: int) -> list:
        with ThreadPoolExecutor(len(prompts)) as pool:
            return list(pool.map(lambda prompt: answer(prompt, tokens), prompts))

    race(generate, job, ("xllamacpp",))


if __name__ == "__main__":
    main()
