"""One step of TRL's GRPOTrainer on the CPU: sampling, reference log-probabilities, gradient with LoRA, AdamW.

Every answer gets exactly `--tokens` tokens. The reward is made up, and differs within each group, so that every answer trains.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback, logging
from trl import GRPOConfig, GRPOTrainer

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--model", required=True)
options.add_argument("--prompts", required=True, help="a JSON file: a list of lists of token ids")
options.add_argument("--samples", type=int, required=True, help="answers to each prompt")
options.add_argument("--tokens", type=int, required=True, help="of each answer")
options.add_argument("--rows", type=int, required=True, help="answers in one forward and backward pass")
options.add_argument("--checkpointing", type=int, choices=[0, 1], default=0)
options.add_argument("--cache", choices=["dynamic", "static"], default="dynamic")
options.add_argument("--threads", type=int, required=True)
chosen = options.parse_args()

logging.set_verbosity_error()
torch.set_num_threads(chosen.threads)
tokenizer = AutoTokenizer.from_pretrained(chosen.model)
prompts = json.loads(Path(chosen.prompts).read_text())
texts = [tokenizer.decode(ids) for ids in prompts]
answers = len(prompts) * chosen.samples
rows = max(rows for rows in range(1, chosen.rows + 1) if answers % rows == 0)


class Timed(GRPOTrainer):
    """Notes how long sampling takes, and what it brought."""

    sampling_s = 0.0
    prompt_tokens = sampled_tokens = 0

    def _generate_single_turn(self, prompt_ids, *arguments, **named):
        began = time.perf_counter()
        completion_ids, logprobs = super()._generate_single_turn(prompt_ids, *arguments, **named)
        self.sampling_s += time.perf_counter() - began
        self.prompt_tokens += sum(map(len, prompt_ids))
        self.sampled_tokens += sum(map(len, completion_ids))
        return completion_ids, logprobs


class Clock(TrainerCallback):
    """From the start of the step to the end of the optimizer's."""

    def on_step_begin(self, *_, **__):
        self.began = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds = time.perf_counter() - self.began


def reward(completion_ids, **_):
    """Alternates, so that every group has spread."""
    return [float(index % 2) for index in range(len(completion_ids))]


clock = Clock()
with tempfile.TemporaryDirectory() as folder:
    trainer = Timed(
        model=chosen.model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=folder, use_cpu=True, bf16=False, model_init_kwargs={"dtype": torch.bfloat16}, max_steps=1, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, per_device_train_batch_size=rows,
            gradient_accumulation_steps=answers // rows, num_generations=chosen.samples, max_completion_length=chosen.tokens,
            generation_kwargs={"min_new_tokens": chosen.tokens}, temperature=0.8, top_p=0.95, beta=0.01, learning_rate=5e-5,
            gradient_checkpointing=bool(chosen.checkpointing), shuffle_dataset=False, max_grad_norm=1.0,
            cache_implementation="static" if chosen.cache == "static" else None,
        ),
        train_dataset=Dataset.from_dict({"prompt": texts}),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[clock],
    )
    trainer.train()
if trainer.sampled_tokens != answers * chosen.tokens:
    raise SystemExit(f"{trainer.sampled_tokens} tokens were sampled, not {answers * chosen.tokens}")
print(json.dumps({
    "seconds": clock.seconds,
    "sampling_s": trainer.sampling_s,
    "sampled_tokens": trainer.sampled_tokens,
    "trained_tokens": trainer.prompt_tokens + trainer.sampled_tokens,
    "answers": answers,
    "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
