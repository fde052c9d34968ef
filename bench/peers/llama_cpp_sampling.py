"""Samples one batch with llama.cpp's server, one slot for each sequence, all asked at once."""

import argparse
import json
import threading
import time

import xllamacpp
from prompts import sequences

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--model", required=True)
options.add_argument("--vocab", type=int, required=True)
options.add_argument("--batch", type=int, required=True)
options.add_argument("--prompt", type=int, default=256)
options.add_argument("--new", type=int, default=256)
options.add_argument("--flash", choices=["auto", "on", "off"], default="auto")
options.add_argument("--threads", type=int, required=True)
chosen = options.parse_args()

params = xllamacpp.CommonParams()
params.model.path = chosen.model
params.n_parallel = chosen.batch
params.n_ctx = chosen.batch * (chosen.prompt + chosen.new + 8)
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = chosen.threads
params.flash_attn_type = {"auto": -1, "off": 0, "on": 1}[chosen.flash]
params.kv_unified = False
params.warmup = True
params.verbosity = 0
server = xllamacpp.Server(params)
answers = [None] * chosen.batch


def ask(slot, prompt):
    answer = server.handle_completions({
        "prompt": prompt, "n_predict": chosen.new, "ignore_eos": True, "cache_prompt": False,
        "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "samplers": ["temperature"],
    })
    answer = json.loads(answer) if isinstance(answer, str) else answer
    answers[slot] = answer[0] if isinstance(answer, list) else answer


prompts = sequences(chosen.vocab, chosen.batch, chosen.prompt)
threads = [threading.Thread(target=ask, args=(slot, prompt)) for slot, prompt in enumerate(prompts)]
began = time.perf_counter()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
seconds = time.perf_counter() - began
tokens = sum(answer["timings"]["predicted_n"] for answer in answers)
if tokens != chosen.batch * chosen.new:
    raise SystemExit(f"{tokens} tokens came out, not {chosen.batch * chosen.new}")
print(json.dumps({"tokens_per_s": tokens / seconds, "seconds": seconds}))
