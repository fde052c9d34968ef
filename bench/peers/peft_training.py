"""Training steps of transformers + peft: LoRA of rank 16 on every linear layer, the second half of each sequence trained."""

import argparse
import json
import resource
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from prompts import sequences
from transformers import AutoModelForCausalLM, logging

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--model", required=True)
options.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
options.add_argument("--sequences", type=int, required=True)
options.add_argument("--length", type=int, required=True)
options.add_argument("--steps", type=int, default=1)
options.add_argument("--checkpointing", type=int, choices=[0, 1], default=0)
options.add_argument("--threads", type=int, required=True)
chosen = options.parse_args()

logging.set_verbosity_error()
torch.set_num_threads(chosen.threads)
model = AutoModelForCausalLM.from_pretrained(chosen.model, dtype=getattr(torch, chosen.dtype))
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
model.train()
if chosen.checkpointing:
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)


def step(ids):
    labels = ids.clone()
    labels[:, : chosen.length // 2] = -100
    began = time.perf_counter()
    model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - began


ids = torch.tensor(sequences(model.config.vocab_size, chosen.sequences, chosen.length))
step(ids[:1])  # warms up
seconds = statistics.median(step(ids) for _ in range(chosen.steps))
print(json.dumps({
    "tokens_per_s": ids.numel() / seconds,
    "seconds": seconds,
    "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
