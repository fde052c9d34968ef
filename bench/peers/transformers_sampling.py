"""Samples one batch with Hugging Face transformers: tokens per second, with the time of prompt and step apart."""

import argparse
import json
import statistics
import time

import torch
from prompts import sequences
from transformers import AutoModelForCausalLM, CompileConfig, StoppingCriteria, logging


class Clock(StoppingCriteria):
    """Notes when each token is there. Stops after `limit` tokens, whatever length the cache was made for."""

    def __init__(self, limit):
        self.limit, self.times = limit, []

    def __call__(self, ids, scores, **_):
        self.times.append(time.perf_counter())
        return torch.full((ids.shape[0],), len(self.times) >= self.limit, dtype=torch.bool)


def cache_settings(cache):
    if cache == "dynamic":
        return {}
    if cache == "static":
        return {"cache_implementation": "static"}
    compiled = CompileConfig(mode=None, fullgraph=False)
    compiled._compile_all_devices = True  # without it, generate compiles on accelerators only
    return {"cache_implementation": "static", "compile_config": compiled}


def generate(model, ids, new, limit, settings):
    """Times at which the first `limit` of `new` tokens were there, in seconds from the start."""
    clock = Clock(limit)
    began = time.perf_counter()
    model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, stopping_criteria=[clock], **settings,
    )
    return [at - began for at in clock.times]


options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--model", required=True)
options.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
options.add_argument("--batch", type=int, required=True)
options.add_argument("--prompt", type=int, default=256)
options.add_argument("--new", type=int, default=256)
options.add_argument("--limit", type=int, default=0, help="stop after so many tokens, with a cache made for --new")
options.add_argument("--cache", choices=["dynamic", "static", "compiled"], default="dynamic")
options.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
options.add_argument("--threads", type=int, required=True)
chosen = options.parse_args()

logging.set_verbosity_error()
torch.set_num_threads(chosen.threads)
model = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=getattr(torch, chosen.dtype), attn_implementation=chosen.attention).eval()
ids = torch.tensor(sequences(model.config.vocab_size, chosen.batch, chosen.prompt))
settings = cache_settings(chosen.cache)
limit = chosen.limit or chosen.new
with torch.inference_mode():
    if chosen.cache == "compiled":  # compiling is not part of the rate
        generate(model, ids, chosen.new, 3, settings)
    else:
        generate(model, ids[:, :16], 4, 4, settings)
    times = generate(model, ids, chosen.new, limit, settings)
steps = [later - earlier for earlier, later in zip(times, times[1:])]
print(json.dumps({
    "tokens_per_s": chosen.batch * limit / times[-1],
    "seconds": times[-1],
    "prompt_s": times[0],
    "step_s": statistics.median(steps) if steps else 0.0,
    "new_tokens": limit,
}))
