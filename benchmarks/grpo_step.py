"""A whole GRPO step on verified rewards: ours against plain TRL, split into its parts; then whether both learn the same.

    python benchmarks/grpo_step.py                     about 8 minutes on two quiet cores
    python benchmarks/grpo_step.py --gradient          direction of the gradient, lab against TRL; 2 minutes
    python benchmarks/grpo_step.py --curve 10          mean reward by step, lab against TRL, several seeds; about a quarter of an hour a seed
    python benchmarks/grpo_step.py --floor             floors beside the steps that were measured before; seconds
    python benchmarks/grpo_step.py --set grpo.prompts_per_step=2 --set grpo.num_generations=4 --out -     a quick look

All contestants get a step of GRPO alone, 12 problems x 8 completions of at most 160 tokens (circuits, otherwise as the laptop profile), the same student, LoRA, problems,
seed, reward function and verifier: real building, DRC and LVS. Nothing is shared between their processes.

    lab        grpo_lab
    float32    trl.GRPOTrainer as it must be set on a CPU unless one says more: bf16=False; no gradient checkpointing, which is faster
    defaults   trl.GRPOTrainer with its own defaults, which need use_cpu=True here: bfloat16 autocast, gradient checkpointing

The student is SmolLM2-135M after 40 steps of imitation of the reference programs, so that it writes programs of which some verify; it is made
once (`--student` takes another folder) and kept in the lab's cache. Peak memory is the training process's, from the step on; the verifier's
processes are the same for all and are not counted. The floor of sampling is the larger of: weights read once for each token of the longest answer, at the
rate of a large copy; one multiply-add a weight for every token of answers and of prompts, each prompt once. The floor of learning (log-probabilities and
backward pass) is two passes over the same tokens, since LoRA spares the gradient of the weights. Rates are those of rollout.json, from the same machine. Writes benchmarks/results/grpo_step.json; --gradient and --curve add to it.
"""
import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import measure

TIMED = {"_generate_single_turn": "sampling", "_calculate_rewards": "verification", "_get_per_token_logps_and_entropies": "log_probs"}


def student(steps: int = 40) -> Path:
    "The student: SmolLM2-135M after imitating reference programs."
    from grpo_lab.config import load_settings
    from grpo_lab.sft import train_sft
    from grpo_lab.student import cache_dir, load_model, load_tokenizer, weights_path
    from grpo_lab.tasks import open_task
    folder = cache_dir() / "bench-student" / str(steps)
    if not (folder / "merged" / "config.json").exists():
        print("making the student", flush=True)
        settings = load_settings("laptop", sets=[f"stage2.max_steps={steps}"])
        task = open_task(settings)
        rows = [{"prompt": task.messages(p), "completion": f"```python\n{p.reference}```"} for p in task.load("train")]
        train_sft(settings, settings.stage2, rows, load_model(settings), load_tokenizer(settings), folder, weights_path(settings))
    return folder / "merged"


def trainer_of(which: str, settings, folder: Path, seed: int, verifier):
    "A trainer as its users would make it."
    import torch
    from datasets import Dataset
    from grpo_lab.grpo import grpo_config, lab_grpo_trainer, order_problems
    from grpo_lab.logprobs import keep_freed_memory
    from grpo_lab.rewards import task_rewards
    from grpo_lab.student import for_training, load_model, load_tokenizer, lora_config
    from grpo_lab.tasks import open_task
    task, cfg, tok = open_task(settings), settings.grpo, load_tokenizer(settings)
    problems = task.load("train")
    rows = Dataset.from_list([{"prompt": task.messages(p), "problem_id": p.id} for p in order_problems(problems, cfg.max_steps, cfg, seed)])
    rewards, out = task_rewards(settings, problems, verifier), Path(tempfile.gettempdir()) / "grpo-lab-benchmark"
    how = dict(train_dataset=rows, processing_class=tok, peft_config=lora_config(settings))
    if which.startswith("lab"):
        keep_freed_memory()
        return lab_grpo_trainer()(for_training(load_model(settings, folder, dtype=torch.float32 if which == "lab32" else None)), rewards, grpo_config(cfg, out, seed), sampler=cfg.sampler, sample_seed=seed, **how)
    from trl import GRPOConfig, GRPOTrainer
    plain = which == "float32"
    own = dict(bf16=False, gradient_checkpointing=False) if plain else dict(use_cpu=True)
    n = cfg.prompts_per_step * cfg.num_generations
    args = GRPOConfig(output_dir=str(out), max_steps=cfg.max_steps, num_generations=cfg.num_generations, per_device_train_batch_size=cfg.micro_batch_size, gradient_accumulation_steps=n // cfg.micro_batch_size,
                      learning_rate=cfg.learning_rate, lr_scheduler_type=cfg.lr_scheduler_type, beta=cfg.beta, loss_type=cfg.loss_type, temperature=cfg.temperature, max_completion_length=cfg.max_completion_length,
                      max_grad_norm=cfg.max_grad_norm, seed=seed, shuffle_dataset=False, logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, **own)
    return GRPOTrainer(load_model(settings, folder, dtype=torch.float32), rewards, args, **how)


def clock(trainer) -> dict:
    "Seconds by part, filled while the trainer works: sampling, verification, log-probabilities (forward), backward, whole steps."
    from transformers import TrainerCallback
    spent = {name: 0.0 for name in [*TIMED.values(), "backward", "step"]}

    def timed(f, name):
        def call(*a, **k):
            began = time.perf_counter()
            try: return f(*a, **k)
            finally: spent[name] += time.perf_counter() - began
        return call

    class Steps(TrainerCallback):
        def on_step_begin(self, *a, **k): self.began = time.perf_counter()
        def on_step_end(self, *a, **k): spent["step"] += time.perf_counter() - self.began
    for method, name in TIMED.items(): setattr(trainer, method, timed(getattr(trainer, method), name))
    trainer.accelerator.backward = timed(trainer.accelerator.backward, "backward")
    trainer.add_callback(Steps())
    return spent


def one(which: str, settings, folder: Path, seed: int) -> None:
    "Train `grpo.max_steps` steps with one contestant."
    from grpo_lab.verify import open_verifier
    with open_verifier(settings) as verifier:
        trainer = trainer_of(which, settings, folder, seed, verifier)
        spent, cpu = clock(trainer), time.process_time()
        measure.reset_peak()
        trainer.train()
        cpu = time.process_time() - cpu
    curve = [h for h in trainer.state.log_history if "reward" in h]
    n, rows = trainer.state.global_step, settings.grpo.prompts_per_step * settings.grpo.num_generations
    row = {"contestant": which, "seed": seed, "steps": n, "rows": rows, **{k: round(v / n, 3) for k, v in spent.items()}}
    row["rest"] = round(row["step"] - sum(row[k] for k in [*TIMED.values(), "backward"]), 3)
    measure.report({**row, "cpu_seconds": round(cpu / n, 1), "peak_gib": measure.peak_gib(), "mean_tokens": round(statistics.mean(h["completions/mean_length"] for h in curve), 1),
                    "rewards": [round(h["reward"], 4) for h in curve], "zero_std": [round(h.get("frac_reward_zero_std", 0), 3) for h in curve], "grad_norm": [round(h["grad_norm"], 4) for h in curve]})


def gradient(settings, folder: Path, seed: int) -> None:
    "Cosines between gradients of the same completions: ours as it trains, ours in float32, TRL in float32, TRL by its defaults; beside it another draw of completions."
    import torch
    from grpo_lab.verify import open_verifier
    with open_verifier(settings) as verifier:
        trainers = {which: trainer_of(which, settings, folder, seed, verifier) for which in ("lab", "lab32", "float32", "defaults")}
        adapter = {k: v.detach().float().clone() for k, v in trainers["float32"].model.named_parameters() if v.requires_grad}
        torch.manual_seed(seed)
        for k, v in adapter.items():
            if "lora_B" in k: torch.nn.init.normal_(v, std=0.01)            # at B = 0 half the gradient is 0 for everybody
        for t in trainers.values():
            t.model.train()
            t.current_gradient_accumulation_steps = t.args.steps_per_generation
            for k, v in t.model.named_parameters():
                if v.requires_grad: v.data.copy_(adapter[k])
        inputs = next(iter(trainers["lab"].get_train_dataloader()))
        draws = []
        for again in range(2):
            trainers["lab"].sample_seed = seed + again
            draws.append(trainers["lab"]._generate_and_score_completions(inputs))
    if not any((d["advantages"] != 0).any() for d in draws): raise SystemExit("every group has equal rewards: take more rows")
    found = {}
    for which, t in trainers.items():
        for n, draw in enumerate(draws):
            given = draw if which == "lab" else {k: v for k, v in draw.items() if k not in ("old_per_token_logps", "sampling_per_token_logps")}
            t.model.zero_grad()
            size = settings.grpo.micro_batch_size
            whole = lambda v: isinstance(v, torch.Tensor) and v.dim() > 0
            for i in range(0, len(draw["advantages"]), size):
                t.compute_loss(t.model_wrapped, {k: v[i:i + size] if whole(v) else v for k, v in given.items()}).backward()
            found[which, n] = torch.cat([v.grad.flatten().float() for v in t.model.parameters() if v.requires_grad])
    cos = lambda a, b: round(float(torch.nn.functional.cosine_similarity(found[a], found[b], dim=0)), 5)
    size = lambda a, b: round(float(found[a].norm() / found[b].norm()), 5)
    measure.report({"rows": len(draws[0]["advantages"]), "groups with a signal": int((draws[0]["advantages"].view(-1, settings.grpo.num_generations) != 0).any(1).sum()),
                    "lab, TRL float32": {"cosine": cos(("lab", 0), ("float32", 0)), "norm_ratio": size(("lab", 0), ("float32", 0))},
                    "lab with float32 weights, TRL float32": {"cosine": cos(("lab32", 0), ("float32", 0)), "norm_ratio": size(("lab32", 0), ("float32", 0))},
                    "TRL defaults, TRL float32": {"cosine": cos(("defaults", 0), ("float32", 0)), "norm_ratio": size(("defaults", 0), ("float32", 0))},
                    "TRL float32, TRL float32 on other completions of the same problems": {"cosine": cos(("float32", 1), ("float32", 0)), "norm_ratio": size(("float32", 1), ("float32", 0))}})


def with_floors(row: dict, settings) -> dict:
    "A measured step with its rate of sampling and its floors."
    from grpo_lab.grpo import order_problems
    from grpo_lab.memory import KNOWN, parameters
    from grpo_lab.rollout import encode
    from grpo_lab.student import load_tokenizer
    from grpo_lab.tasks import open_task
    task, n = open_task(settings), parameters(KNOWN["SmolLM2-135M"])
    asked = order_problems(task.load("train"), 1, settings.grpo, row["seed"])
    found = json.loads((measure.RESULTS / "rollout.json").read_text())["floors"]
    kind, size = ("float32", 4) if row["contestant"] == "float32" else ("bfloat16", 2)
    rate, read = found[f"matmul_{kind}_tflop_s"] * 1e12, n * size / (found["copy_gb_s"] * 1e9 / 2)          # half of a copy's bytes are reads
    sampled = row["rows"] * row["mean_tokens"]
    tokens = sampled + sum(map(len, encode(load_tokenizer(settings), [task.messages(p) for p in asked])))
    sampling, learning = max(settings.grpo.max_completion_length * read, 2 * n * tokens / rate), 4 * n * tokens / rate
    return {**row, "sampled_per_second": round(sampled / row["sampling"], 1), "sampling_floor": round(sampling, 2), "sampling_share_of_floor": round(sampling / row["sampling"], 3),
            "learning_floor": round(learning, 2), "learning_share_of_floor": round(learning / (row["log_probs"] + row["backward"]), 3)}


def keep(out: str) -> dict:
    "What the results file has already."
    file = Path(out) if out and out != "-" else measure.RESULTS / "grpo_step.json"
    return json.loads(file.read_text()) if file.exists() else {}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--contestants", nargs="+", default=["lab", "float32", "defaults"]); p.add_argument("--repeats", type=int, default=1, help="measurements of each; the lab has one more")
    p.add_argument("--gradient", action="store_true"); p.add_argument("--floor", action="store_true"); p.add_argument("--curve", type=int, default=0, metavar="STEPS"); p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--set", action="append", default=[], dest="sets", metavar="NAME=VALUE"); p.add_argument("--student", default=""); p.add_argument("--out", default="", help="results file; - for none")
    p.add_argument("--one", help=argparse.SUPPRESS); p.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    o = p.parse_args()
    small = ["grpo.prompts_per_step=6", "grpo.micro_batch_size=8", "grpo.max_completion_length=128"] if o.curve or o.gradient else ["grpo.prompts_per_step=12"]
    sets = [f"grpo.max_steps={o.curve or 1}", "grpo.learning_rate=3e-4", "grpo.lr_scheduler_type=constant", *small, *o.sets]
    if o.one:
        from grpo_lab.config import load_settings
        settings = load_settings("laptop", sets=sets)
        (gradient(settings, Path(o.student), o.seed) if o.one == "gradient" else one(o.one, settings, Path(o.student), o.seed)); return
    from grpo_lab.config import load_settings
    if o.floor:
        doc = keep(o.out)
        doc["step"]["floors"] = [with_floors(r, load_settings("laptop", sets=sets)) for r in doc["step"]["rows"]]
        print(measure.table(doc["step"]["floors"], ["contestant", "sampling", "sampling_floor", "sampled_per_second", "sampling_share_of_floor", "log_probs", "backward", "learning_floor", "learning_share_of_floor"]))
        from grpo_lab.records import atomic_write
        if o.out != "-": atomic_write(o.out or measure.RESULTS / "grpo_step.json", json.dumps(doc, indent=1) + "\n")
        return
    before, folder = measure.machine(), o.student or student()
    same = ["--student", folder, *(x for s in o.sets for x in ("--set", s)), *(["--curve", o.curve] if o.curve else [])]
    doc = {k: v for k, v in keep(o.out).items() if k in ("step", "gradient", "curve", "ratios")}
    part = {"command": " ".join(["python benchmarks/grpo_step.py", *sys.argv[1:]]), "busy_before": before["busy_before"]}      # the three parts are measured at different times
    if o.gradient:
        doc["gradient"] = part | measure.child(__file__, "--one", "gradient", "--gradient", *same)
        print(json.dumps(doc["gradient"], indent=1))
    elif o.curve:
        rows = [measure.child(__file__, "--one", c, "--seed", s, *same) for s in o.seeds for c in ("lab", "float32")]
        half = o.curve // 2
        for r in rows: r["last_half"] = round(statistics.mean(r["rewards"][half:]), 4)
        doc["curve"] = part | {"rows": rows, "last_half": {c: {"mean": round(statistics.mean(r["last_half"] for r in rows if r["contestant"] == c), 4), "by_seed": [r["last_half"] for r in rows if r["contestant"] == c]} for c in ("lab", "float32")}}
        for r in rows: print(r["contestant"].ljust(9), r["seed"], " ".join(f"{x:6.3f}" for x in r["rewards"]), f"  last half {r['last_half']:.3f}   {r['step']:.1f} s a step")
    else:
        rows = measure.turns(__file__, o.contestants, o.repeats, *same)
        rows["lab"].append(measure.child(__file__, "--one", "lab", *same))          # at both ends, so that a machine that changes shows
        parts = ["step", *TIMED.values(), "backward", "rest", "cpu_seconds"]
        best = {c: {"contestant": c, **{k: round(measure.middle(r, k), 3) for k in parts}, "peak_gib": max(x["peak_gib"] for x in r)} for c, r in rows.items()}
        doc["step"] = part | {"summary": list(best.values()), "rows": (every := [x for r in rows.values() for x in r]), "floors": [with_floors(r, load_settings("laptop", sets=sets)) for r in every]}
        doc["ratios"] = {c: {**{k: round(best[c][k] / best["lab"][k], 2) for k in parts if best["lab"][k] > 0.01}, "peak_gib": round(best[c]["peak_gib"] / best["lab"]["peak_gib"], 2)} for c in best if c != "lab"}
        print("\n" + measure.table(list(best.values())))
        print("times of the lab's:", json.dumps(doc["ratios"], indent=1))
    measure.write("grpo_step", doc, before, o.out)


if __name__ == "__main__": main()
