"""Writes a LoRA adapter of rank 16 on every linear layer of a Hugging Face folder, random and not zero, as a PEFT folder."""

import argparse
import json

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--model", required=True, help="a Hugging Face folder")
options.add_argument("--out", required=True, help="the folder to make")
chosen = options.parse_args()

torch.manual_seed(1)
model = AutoModelForCausalLM.from_pretrained(chosen.model, torch_dtype=torch.float32)
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))
with torch.no_grad():
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.normal_(0, 0.004)
model.save_pretrained(chosen.out)
print(json.dumps({"out": chosen.out}))
