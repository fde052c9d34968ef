#!/usr/bin/env python3
"""Tries a run's settings on a GPU in minutes: the same method in PyTorch, near enough to choose settings by, not to report results from.

It takes the settings of a run (`config.toml` in its folder), changes them as told, does the run and scores the executor after each iteration:

    python3 bench/trial.py --config runs/seed-1/config.toml --model model.gguf --tokenizer tokenizer.json --score gsm8k.jsonl probe.jsonl \\
        --out trials --name step-2e-4 --set executor.learning_rate=2e-4 --set iterations=2

With `--tasks` nobody writes tasks: the executor learns from these, by its own votes or by their true answers (`--labels true`). That bounds what a better
curriculum could bring.

What differs from the program: bf16 in place of 8 bits, other random numbers, a coarser grader, the ratio is always 1 (one update a step), and THE
MODEL'S PROGRAMS RUN WITHOUT A SANDBOX: only on a machine that may be lost. Several trials at once fill a GPU better than one.

Needs torch, gguf, tokenizers, nltk, scikit-learn, numpy and sympy, and a `tokenizer.json` (an exported model has one).
"""

import argparse
import json
import os
import random
import re
import tempfile
import time
import tomllib

import numpy as np
import torch
from peers.nltk_clustering import cluster, distances
from trials.answers import boxed, number, same, vote
from trials.model import Lora, Model, Sampler, logprobs
from trials.rollout import Codec, Limits, Roller, Trajectory
from trials.tool import Tool

MICRO_BATCH = 3  # sequences
SCORED = [("greedy", 1, 0.0), ("sampled", 4, 0.6)]


class Agent:
    """An adapter in training."""

    def __init__(self, model: Model, config: dict, seed: int):
        self.model, self.config = model, config
        self.lora = Lora(model, config["lora"]["rank"], config["lora"]["alpha"], seed)
        training = config["training"]
        betas = training["beta1"], training["beta2"]
        self.optimizer = torch.optim.AdamW(self.lora.parameters(), betas=betas, eps=1e-8, weight_decay=training["weight_decay"])
        self.tables = model.rope_tables(8192)
        self.begin_phase()

    def begin_phase(self) -> None:
        self.reference, self.moved = self.lora.copy(), False

    def learn(self, scored: list[tuple[Trajectory, float]], phase: dict, temperature: float, budget: int) -> float:
        """One update from trajectories and their advantages; the KL a token."""
        scored = sorted(scored, key=lambda pair: len(pair[0].ids))
        batches = [scored[at : at + MICRO_BATCH] for at in range(0, len(scored), MICRO_BATCH)]
        score = lambda batch: logprobs(
            self.model, [t.ids for t, _ in batch], [t.mask for t, _ in batch], self.lora.fused(), self.tables, temperature
        )
        references = None
        if self.moved:
            now = self.lora.copy()
            self.lora.set(self.reference)
            with torch.no_grad():
                references = [score(batch)[0] for batch in batches]
            self.lora.set(now)
        kl, tokens = 0.0, sum(t.sampled for t, _ in scored)
        for i, batch in enumerate(batches):
            logp, lengths = score(batch)
            of_tokens = lambda values: torch.repeat_interleave(torch.as_tensor(values, dtype=torch.float32, device=logp.device), lengths)
            weight = {
                "token_mean": lambda: 1 / tokens,
                "seq_mean_token_mean": lambda: of_tokens(1 / (len(scored) * lengths.float())),
                "seq_sum_const": lambda: 1 / (len(scored) * budget),
            }[self.config["training"]["aggregation"]]()
            ratio = (logp - logp.detach()).exp()
            difference = (references[i] if references else logp.detach()) - logp
            k3 = difference.exp() - difference - 1
            (weight * (-ratio * of_tokens([a for _, a in batch]) + phase["beta"] * k3)).sum().backward()
            kl += k3.detach().sum().item()
        torch.nn.utils.clip_grad_norm_(self.lora.parameters(), self.config["training"]["max_grad_norm"])
        self.optimizer.param_groups[0]["lr"] = phase["learning_rate"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.moved = True
        torch.cuda.empty_cache()  # other trials want it
        return kl / tokens


def advantages(rewards: list[float]) -> list[float] | None:
    """None where they are all the same."""
    if min(rewards) == max(rewards):
        return None
    return [(reward - np.mean(rewards)) / (np.std(rewards, ddof=1) + 1e-6) for reward in rewards]


def cluster_sizes(questions: list[str]) -> list[int]:
    """How many questions each one's cluster holds."""
    labels = cluster(distances(questions)) if len(questions) > 1 else [0] * len(questions)
    return [labels.count(label) for label in labels]


def proposal(text: str) -> tuple[str, str] | None:
    """The last question element and the box after it."""
    match = re.search(r".*<question>(.*?)</question>(.*)", text, re.DOTALL)
    question, answer = (match[1].strip(), boxed(match[2])) if match else ("", None)
    return (question, answer) if question and answer else None


def mean(values) -> float | None:
    values = list(values)
    return round(float(np.mean(values)), 4) if values else None


class Trial:
    """One run. Every step and score is a line of JSON in `log`."""

    def __init__(self, config: dict, model: Model, codec: Codec, roller: Roller, log, questions: dict[str, list[dict]], given: list[dict], labels: str):
        self.config, self.codec, self.roller, self.log, self.questions = config, codec, roller, log, questions
        self.given, self.labels = given, labels
        self.random = random.Random(config["seed"])
        torch.manual_seed(config["seed"])
        self.curriculum, self.executor = (Agent(model, config, 2 * config["seed"] + agent) for agent in (0, 1))
        self.begun, self.iteration = time.monotonic(), 0

    def run(self) -> None:
        for self.iteration in range(1, self.config["iterations"] + 1):
            frontier, seen = [], set()
            if self.given:
                self.label(frontier)
            else:
                self.curriculum_phase(frontier, seen)
                self.build_frontier(frontier, seen)
            self.executor_phase(frontier)
            self.score()

    def curriculum_phase(self, frontier: list, seen: set) -> None:
        phase = self.config["curriculum"]
        reward = phase["reward"]
        self.curriculum.begin_phase()
        for step in range(1, phase["steps"] + 1):
            texts, tasks = self.propose(phase["tasks_per_step"])
            live = [i for i, task in enumerate(tasks) if task]
            groups = self.answer([tasks[i][0] for i in live], phase["samples"])
            rewards, kept = [0.0] * len(texts), 0
            for i, group, size in zip(live, groups, cluster_sizes([tasks[i][0] for i in live])):
                label, p = vote([t.answer for t in group])
                uncertainty = p / reward["peak"] if p <= reward["peak"] else (1 - p) / (1 - reward["peak"])
                calls = reward["gamma"] * np.mean([min(t.calls, reward["tool_cap"]) for t in group])
                repetition = reward["lambda_rep"] * size / len(texts)
                rewards[i] = float(max(0.0, reward["lambda_unc"] * uncertainty + reward["lambda_tool"] * calls - repetition))
                if self.config["frontier"]["include_curriculum"] and tasks[i][0] not in seen:
                    kept += self.keep(frontier, tasks[i][0], label, p)
                seen.add(tasks[i][0])
            scored = advantages(rewards)
            kl = scored and self.curriculum.learn(list(zip(texts, scored)), phase, phase["temperature"], phase["max_tokens"])
            formed = len(live) / len(texts)
            self.tell("curriculum", step=step, reward=mean(rewards), formed=formed, kept=kept, kl=kl, **self.of_answers(groups))

    def build_frontier(self, frontier: list, seen: set) -> None:
        config, written = self.config["frontier"], 0
        while written < config["pool"] or (len(frontier) < config["min_kept"] and written < config["max_pool"]):
            count = min(config["pool"], config["max_pool"] - written)
            written += count
            questions = [task[0] for task in self.propose(count)[1] if task]
            questions = [question for question in dict.fromkeys(questions) if question not in seen]
            seen.update(questions)
            for question, group in zip(questions, self.answer(questions, config["samples"])):
                self.keep(frontier, question, *vote([t.answer for t in group]))
        self.tell("frontier", written=written, size=len(frontier), examples=[list(map(str, task)) for task in frontier[:6]])

    def label(self, frontier: list) -> None:
        """The given tasks, all of them with their true answers or those that a frontier takes with their votes."""
        if self.labels == "true":
            frontier += [(row["question"], str(row["answer"]), 1.0) for row in self.given]
            return
        groups, right = self.answer([row["question"] for row in self.given], self.config["frontier"]["samples"]), []
        for row, group in zip(self.given, groups):
            label, p = vote([t.answer for t in group])
            if self.keep(frontier, row["question"], label, p):
                right.append(same(label, str(row["answer"])))
        self.tell("frontier", written=len(self.given), size=len(frontier), right=mean(right), **self.of_answers(groups))

    def executor_phase(self, frontier: list) -> None:
        phase = self.config["executor"]
        self.executor.begin_phase()
        waiting = []
        for step in range(1, phase["steps"] + 1 if frontier else 1):
            count = min(phase["tasks_per_step"], len(frontier))
            if len(waiting) < count:
                waiting = self.random.sample(frontier, len(frontier))
            tasks, waiting = waiting[:count], waiting[count:]
            groups = self.answer([question for question, _, _ in tasks], phase["group_size"])
            scored, rewards = [], []
            for (_, label, p), group in zip(tasks, groups):
                right = [float(same(t.answer, label)) for t in group]
                rewards += right
                adpo = phase["adpo"]
                trust = min(1.0, max(0.0, (p - adpo["p_low"]) / (adpo["p_high"] - adpo["p_low"])))
                scale = adpo["scale_min"] + (1 - adpo["scale_min"]) * trust if phase["objective"] == "adpo" else 1.0
                scored += [(t, a * scale) for t, a in zip(group, advantages(right) or [])]
            rollout = self.config["rollout"]
            kl = scored and self.executor.learn(scored, phase, rollout["temperature"], rollout["max_tokens"])
            self.tell("executor", step=step, reward=mean(rewards), kl=kl or None, **self.of_answers(groups))

    def propose(self, count: int):
        """Texts of the curriculum agent, and the task in each, if it has one that may be asked."""
        config, prompts = self.config["curriculum"], self.config["prompts"]
        topics = self.random.sample(prompts["topics"], len(prompts["topics"]))
        users = [prompts["curriculum_user"].replace("{topic}", topics[i % len(topics)]) for i in range(count)]
        chats = [self.codec.chat(prompts["curriculum_system"], user) for user in users]
        texts = self.roller.run(self.curriculum.lora, chats, Limits(config["temperature"], config["max_tokens"]), plain=True)
        tasks = [proposal(self.codec.decode(t.ids[t.prompt :])) for t in texts]
        fits = lambda task: task and task[0] not in prompts["curriculum_user"] and number(task[1]) is not None
        return texts, [task if fits(task) else None for task in tasks]

    def answer(self, questions: list[str], samples: int, limits: Limits | None = None) -> list[list[Trajectory]]:
        prompts, rollout = self.config["prompts"], self.config["rollout"]
        limits = limits or Limits(rollout["temperature"], rollout["max_tokens"], rollout["max_turns"], rollout["tool_output_tokens"])
        chats = [self.codec.chat(prompts["executor_system"], prompts["executor_user"].replace("{question}", q)) for q in questions]
        answers = self.roller.run(self.executor.lora, [chat for chat in chats for _ in range(samples)], limits)
        return [answers[i * samples : (i + 1) * samples] for i in range(len(questions))]

    def keep(self, frontier: list, question: str, label: str | None, p: float) -> bool:
        config = self.config["frontier"]
        kept = label is not None and number(label) is not None and config["low"] <= p <= config["high"]
        if kept:
            frontier.append((question, label, p))
        return kept

    def score(self) -> None:
        """The executor on questions with known answers, with 1,024 tokens."""
        for name, rows in self.questions.items():
            for how, samples, temperature in SCORED:
                groups = self.answer([row["question"] for row in rows], samples, Limits(temperature, 1024, self.config["rollout"]["max_turns"], 512))
                right = [mean(same(t.answer, str(row["answer"])) for t in group) for row, group in zip(rows, groups)]
                kinds = {row["id"].rsplit("-", 2)[0] if "subject" in row else "" for row in rows}
                by_kind = {kind: mean(r for r, row in zip(right, rows) if row["id"].startswith(kind)) for kind in sorted(kinds) if kind}
                self.tell("score", questions=name, how=how, accuracy=mean(right), by_kind=by_kind, **self.of_answers(groups))

    def of_answers(self, groups: list[list[Trajectory]]) -> dict:
        answers = [t for group in groups for t in group]
        return {
            "answered": mean(t.answer is not None for t in answers),
            "calls": mean(t.calls for t in answers),
            "length": mean(t.sampled for t in answers),
        }

    def tell(self, what: str, **facts) -> None:
        line = {"what": what, "iteration": self.iteration, **facts, "seconds": round(time.monotonic() - self.begun), "tokens": self.roller.tokens}
        print(json.dumps(line), file=self.log, flush=True)


def read_rows(path: str) -> list[dict]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def settings(path: str, changes: list[str]) -> dict:
    """A run's settings with `a.b=value` changes to keys that exist."""
    with open(path, "rb") as file:
        config = tomllib.load(file)
    for change in changes:
        key, value = change.split("=", 1)
        *tables, last = key.split(".")
        table = config
        for name in tables:
            table = table[name]
        if last not in table:
            raise SystemExit(f"no setting {key}")
        table[last] = tomllib.loads(f"v = {value}")["v"]
    curriculum = config["curriculum"]
    unknown = curriculum["reward"]["formula"] != "paper" or curriculum["group_size"] or config["executor"]["reuse_answers"]
    if unknown or {curriculum["updates_per_step"], config["executor"]["updates_per_step"]} != {1} or not config["prompts"]["topics"]:
        raise SystemExit("a trial knows the paper's reward, topics, one group and one update a step, and no reused answers")
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="config.toml of a run")
    parser.add_argument("--model", required=True, help="GGUF of a Qwen2 model")
    parser.add_argument("--tokenizer", required=True, help="its tokenizer.json")
    parser.add_argument("--score", nargs="*", default=[], metavar="FILE", help="questions to score the executor by: {id, question, answer}")
    parser.add_argument("--untrained", action="store_true", help="score it before all training too")
    parser.add_argument("--tasks", metavar="FILE", help="tasks to learn from in place of written ones: {question, answer}")
    parser.add_argument("--labels", choices=["vote", "true"], default="vote", help="of these tasks")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting")
    parser.add_argument("--out", required=True, help="the folder for NAME.jsonl")
    parser.add_argument("--name", required=True, help="what to call it")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--slots", type=int, default=256, help="sequences at once")
    args = parser.parse_args()
    config = settings(args.config, args.set)
    with tempfile.TemporaryDirectory() as folder:
        tool = Tool(os.path.join(folder, "tool"))
        try:
            questions = {os.path.splitext(os.path.basename(path))[0]: read_rows(path) for path in args.score}
            given = read_rows(args.tasks) if args.tasks else []
            model, codec = Model(args.model, args.device), Codec(args.tokenizer)
            roller = Roller(codec, Sampler(model, args.slots, 1792, 8), tool, 4)
            os.makedirs(args.out, exist_ok=True)
            with open(os.path.join(args.out, f"{args.name}.jsonl"), "w", encoding="utf-8") as log:
                trial = Trial(config, model, codec, roller, log, questions, given, args.labels)
                if args.untrained:
                    trial.score()
                trial.run()
        finally:
            tool.close()


if __name__ == "__main__":
    main()
