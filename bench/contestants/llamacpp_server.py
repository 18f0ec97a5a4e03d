"""llama.cpp's own server, by the bindings xllamacpp: `python llamacpp_server.py GGUF SLOTS TOKENS`."""

import os
import sys

import xllamacpp


def main() -> None:
    """Say the address and serve until stdin is closed: continuous batching, SLOTS slots of TOKENS tokens each."""
    file, slots, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    settings = xllamacpp.CommonParams()
    settings.model.path = file
    settings.n_parallel = slots
    settings.n_ctx = slots * tokens
    settings.n_gpu_layers = 0
    settings.warmup = True
    settings.kv_unified = False
    settings.verbosity = -1
    for of in (settings.cpuparams, settings.cpuparams_batch):
        of.n_threads = int(os.environ["OMP_NUM_THREADS"])
        of.poll = 0
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
