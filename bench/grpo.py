"""One GRPO step end to end: ours against TRL's GRPOTrainer (bf16, CPU, peft LoRA), with the same counts.

Ours is the executor step of `agent0 evolve`: answers with the Python tool, graded against labels, reference
log-probabilities, gradient and AdamW. It runs first, and its run folder says what it did: the very prompts, the number of
answers to each, their mean length. TRL then takes these prompts, as many answers, and that length for every answer.

What each side sampled and trained still differs (ours leaves groups without spread untrained; its lengths vary), so TRL's
two parts are scaled to our tokens: its seconds of sampling by sampled tokens, the rest of its step by trained tokens.
"""

import json
import sqlite3
import statistics
import subprocess
import tempfile
from array import array
from pathlib import Path

from common import options
from common.environment import Failed, say
from common.rounds import finish, table

STEP = "iteration = 1 AND phase = 'executor' AND step = ?"


def evolve(settings, program, runs, seed):
    """Runs `agent0 evolve` up to the end of its executor steps and returns the run's folder.

    No curriculum step, and a frontier just large enough, of tasks that are neither always nor never answered alike.
    """
    chosen = {
        "model": settings.model, "engine.threads": settings.threads, "engine.dtype": settings.dtype, "seed": seed, "iterations": 1,
        "curriculum.steps": 0, "frontier.pool": 4 * settings.prompts, "frontier.max_pool": 16 * settings.prompts,
        "frontier.min_kept": settings.prompts, "frontier.samples": 4, "frontier.low": 0.25, "frontier.high": 0.8,
        "executor.steps": settings.steps, "executor.tasks_per_step": settings.prompts, "executor.group_size": settings.samples,
        "executor.updates_per_step": 1, "executor.objective": "grpo", "executor.beta": 0.01,
        "rollout.max_tokens": settings.tokens,
    }
    sets = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    command = [program, "evolve", "--preset", "laptop", *sets, "--runs", runs, "--name", "grpo", "--quiet", "--json"]
    run = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise Failed(" | ".join(run.stderr.strip().splitlines()[-3:]))
    return Path(runs) / "grpo"


def steps_of(folder):
    """The executor steps that trained, as the run's store has them."""
    with sqlite3.connect(folder / "run.db") as store:
        rows = store.execute(
            "SELECT step, seconds, tokens_trained FROM steps WHERE phase = 'executor' AND skipped IS NULL AND tokens_trained > 0"
        ).fetchall()
        return [described(store, *row) for row in rows]


def described(store, step, seconds, trained):
    """What one step did."""
    answers = store.execute(
        f"SELECT task, tokens_sampled, tool_calls, prompt_len, ids FROM trajectories WHERE {STEP} AND role = 'executor'", [step]
    ).fetchall()
    prompts = {}
    for task, _, _, length, ids in answers:
        prompts[task] = array("I", ids).tolist()[:length]
    return {
        "step": step, "seconds": seconds, "trained_tokens": trained, "answers": len(answers), "prompts": [prompts[task] for task in sorted(prompts)],
        "sampled_tokens": sum(answer[1] for answer in answers), "tool_calls": sum(len(json.loads(answer[2])) for answer in answers),
    }


def trl(environment, settings, hf, step, folder):
    """One step of GRPOTrainer on a step's prompts, and its seconds scaled to that step's tokens."""
    prompts = Path(folder) / "prompts.json"
    prompts.write_text(json.dumps(step["prompts"]))
    result = environment.peer(
        "trl_step", model=hf, prompts=prompts, samples=settings.samples, tokens=max(1, round(step["sampled_tokens"] / step["answers"])),
        rows=settings.rows, checkpointing=settings.checkpointing, cache=settings.cache, threads=settings.threads,
    )
    sampling = result["sampling_s"] * step["sampled_tokens"] / result["sampled_tokens"]
    training = (result["seconds"] - result["sampling_s"]) * step["trained_tokens"] / result["trained_tokens"]
    return {**result, "scaled_seconds": sampling + training}


def round_of(environment, settings, program, hf, number):
    """Ours, then TRL, on the step of a run that trained most."""
    with tempfile.TemporaryDirectory() as folder:
        steps = steps_of(evolve(settings, program, folder, number))
        if not steps:
            raise Failed("no executor step of this run had a group with spread: more --prompts, --samples or --tokens")
        step = max(steps, key=lambda step: step["trained_tokens"])
        say(f"round {number}, ours, step {step['step']}: {counts(step)}, {step['tool_calls']} tool calls")
        peer = trl(environment, settings, hf, step, folder)
        say(f"round {number}, TRL: {counts(peer)}; at our tokens {peer['scaled_seconds']:.1f} s")
    step["prompts"] = len(step["prompts"])
    return {"ours": step, "trl": peer, "ratio": peer["scaled_seconds"] / step["seconds"]}


def counts(step):
    return f"{step['seconds']:.1f} s, {step['sampled_tokens']} tokens sampled, {step['trained_tokens']} trained"


def main():
    parser = options.engine_parser(__doc__)
    parser.add_argument("--prompts", type=int, default=4, help="tasks of a step")
    parser.add_argument("--samples", type=int, default=8, help="answers to each task")
    parser.add_argument("--tokens", type=int, default=256, help="most tokens of an answer")
    parser.add_argument("--steps", type=int, default=2, help="executor steps of a run of ours; the one that trained most counts")
    parser.add_argument("--dtype", default="auto", help="ours")
    parser.add_argument("--rows", type=int, default=8, help="answers in one pass of TRL")
    parser.add_argument("--checkpointing", type=int, choices=[0, 1], default=0, help="TRL's gradient checkpointing (slower, smaller)")
    parser.add_argument("--cache", choices=["dynamic", "static"], default="dynamic", help="of TRL's sampling")
    settings = parser.parse_args()
    environment, program = options.environment(settings), options.agent0(settings).program
    hf = environment.model("hf", settings.model)
    rounds = []
    try:
        for number in range(1, settings.rounds + 1):
            try:
                rounds.append(round_of(environment, settings, program, hf, number))
            except Failed as reason:
                say(f"round {number}: failed ({reason})")
    except KeyboardInterrupt:
        say("stopped")
    if not rounds:
        raise SystemExit("no round was finished")
    print(f"{settings.prompts} prompts x {settings.samples} answers of at most {settings.tokens} tokens, {settings.threads} threads\n")
    header = ["round", "side", "prompts", "seconds", "sampled", "trained", "tool calls", "TRL's at our tokens", "ours is times"]
    table(header, [row for number, each in enumerate(rounds, 1) for row in rows(number, each)])
    ratio = statistics.median(each["ratio"] for each in rounds)
    print(f"\nmedian: ours is {ratio:.2f} times as fast")
    finish({"threads": settings.threads, "grpo": rounds, "median_ratio": ratio}, settings.out)


def rows(number, each):
    ours, trl = each["ours"], each["trl"]
    yield [number, "ours", ours["prompts"], ours["seconds"], ours["sampled_tokens"], ours["trained_tokens"], ours["tool_calls"], "", ""]
    yield [number, "TRL", ours["prompts"], trl["seconds"], trl["sampled_tokens"], trl["trained_tokens"], 0, trl["scaled_seconds"], each["ratio"]]


main()
