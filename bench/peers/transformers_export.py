"""Reads an exported folder as any user of transformers does, and scores chats in f32. Ends with `rows`: ids, chat, logprobs of each text."""

import argparse
import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--model", required=True, help="an exported folder")
options.add_argument("--adapter", default=None, help="a PEFT folder to put on it")
options.add_argument("--texts", required=True, help="a JSON list of strings")
options.add_argument("--threads", type=int, required=True)
chosen = options.parse_args()
torch.set_num_threads(chosen.threads)
with open(chosen.texts) as file:
    texts = json.load(file)

tokenizer = AutoTokenizer.from_pretrained(chosen.model)
model, info = AutoModelForCausalLM.from_pretrained(chosen.model, torch_dtype=torch.float32, output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"], info
if chosen.adapter:
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, chosen.adapter)
model.eval()
rows = []
with torch.no_grad():
    for text in texts:
        written = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        chat = tokenizer(written, add_special_tokens=False)["input_ids"]
        logits = model(torch.tensor([chat])).logits[0, :-1].log_softmax(-1)
        logprobs = logits.gather(1, torch.tensor(chat[1:])[:, None])[:, 0]
        rows.append({"ids": tokenizer(text)["input_ids"], "chat": chat, "logprobs": logprobs.tolist()})
print(json.dumps({"rows": rows}))
