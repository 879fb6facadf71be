"""Which estimate of a log-probability is best for GRPO on a masked-diffusion model, at equal work? Three estimators, several seeds, held-out problems.

    python benchmarks/coupled.py                      # one small model trained from nothing, then 3 estimators x 3 seeds
    python benchmarks/coupled.py --reuse              # go on where it was stopped, or only write the table again
    python benchmarks/coupled.py --seeds 0 --work 40000 --pretrain 20 --samples 1 --outputs outputs/try --out /dev/null    # does it work?

The task is `oneliners` (nbs/38_oneliners.ipynb): one line of Python for an English phrase, judged by running it in the sandbox. The model (a Llama of a hundred thousand weights that looks both ways) is
trained from random weights on a corpus in which a piece of a program is wrong 45 % of the time, once, and every cell starts from it. Held out are combinations that were never seen.

Estimators: full (everything hidden, one pass), decoupled (everything hidden, and two independent random masks: three passes), coupled (everything hidden, and a mask and its complement: three passes). They differ
in nothing else; prompts are not hidden.

Equal work. Work is counted in forward passes of one token: a token that goes through the model while an answer is made (each round of denoising reads prompt and canvas) or is scored for the policy that sampled
costs 1, a trained one 3. Every cell stops after the optimiser step in which it reaches the same number, so the one-pass estimator makes more steps on more answers. Rows whose advantage is 0 are not trained and not counted. Rounds
that the decoder saves because an answer was finished early are counted all the same. Verification is not counted.

Learning rate (3e-4, constant: the work decides when a cell ends) and the rest are the same for all cells and are those of the profile `diffusion`
(found with the coupled estimator, on another seed). Intervals: bootstrap over held-out problems and seeds together.
Writes benchmarks/results/coupled.json. Cells are kept in outputs/coupled/<estimator>-<seed>/result.json.
"""
import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from measure import over_seeds, show_differences

ROOT = Path(__file__).resolve().parent.parent
ESTIMATORS = ("full", "decoupled", "coupled")


def settings_for(args, estimator: str, seed: int):
    from grpo_lab.config import load_settings
    return load_settings("diffusion", sets=[f"seed={seed}", f"coupled.estimator={estimator}", f"evaluate.num_samples={args.samples}", f"threads={args.threads}", "grpo.max_steps=2000", "grpo.lr_scheduler_type=constant",
                                            f"diffusion.max_steps={args.pretrain}", *args.sets])


def pretrained(settings, folder: Path) -> tuple[Path, dict]:
    "The model that all cells start from."
    from grpo_lab.oneliners import pretrain_oneliners
    file = folder / "base.json"
    if not file.exists():
        began, cpu = time.time(), time.process_time()
        got = pretrain_oneliners(settings, folder / "models" / "base", seed=0)
        file.write_text(json.dumps({**got, "seconds": time.time() - began, "cpu_seconds": time.process_time() - cpu}))
    return folder / "models" / "base" / "merged", json.loads(file.read_text())


def judged(settings, model, tokenizer, verifier, problems, messages, seed: int) -> dict:
    "Held-out answers of a model: sampled ones by problem, and the share of right greedy ones."
    from grpo_lab.coupled import evaluate_masked
    rows = evaluate_masked(settings, problems, messages, verifier, model, tokenizer, seed=seed)
    greedy = evaluate_masked(settings, problems, messages, verifier, model, tokenizer, temperature=0.0, num_generations=1)
    passed = {}
    for r in rows:
        passed[r["problem_id"]] = passed.get(r["problem_id"], 0) + int(r["clean"])
    return {"passed": passed, "reward": sum(r["reward"] for r in rows) / len(rows), "ran": sum(r["status"] == "ok" for r in rows) / len(rows), "greedy": sum(r["clean"] for r in greedy) / len(greedy)}


def cell(args, estimator: str, seed: int, folder: Path, base: Path) -> dict:
    "Train one estimator with one seed, judge it, write result.json last."
    import torch
    from grpo_lab.coupled import train_coupled
    from grpo_lab.ledger import Ledger
    from grpo_lab.masked_lm import load_masked_lm
    from grpo_lab.records import atomic_write
    from grpo_lab.tasks import open_task
    from grpo_lab.verify import open_verifier
    settings = settings_for(args, estimator if estimator != "base" else "coupled", seed)
    torch.set_num_threads(args.threads)
    task, (model, tokenizer) = open_task(settings), load_masked_lm(base)
    began, cpu, done = time.time(), time.process_time(), {"work": 0, "steps": 0}
    with open_verifier(settings, cache_dir=folder.parent / "verdicts") as verifier:
        if estimator != "base":
            done = train_coupled(settings, task.load("train"), model, tokenizer, folder / "models" / "3_grpo", None, verifier, Ledger(folder / "ledger", folder.name), task.messages, seed=seed, budget=args.work)
        trained, trained_cpu = time.time(), time.process_time()
        got = judged(settings, model, tokenizer, verifier, task.load("heldout"), task.messages, 1000 + seed)
    result = {"estimator": estimator, "seed": seed, **done, "seconds_train": trained - began, "cpu_seconds_train": trained_cpu - cpu, "seconds_evaluate": time.time() - trained, **got, "samples": args.samples,
              "budget": args.work if estimator != "base" else 0, "settings": settings.model_dump()}
    atomic_write(folder / "result.json", json.dumps(result, indent=1, default=str) + "\n")
    return json.loads((folder / "result.json").read_text())


def summary(results: list[dict]) -> dict:
    import numpy as np
    names = sorted(results[0]["passed"])
    arms = [a for a in ("base", *ESTIMATORS) if any(r["estimator"] == a for r in results)]
    rate = {a: np.array([[r["passed"][n] / r["samples"] for n in names] for r in sorted(results, key=lambda r: r["seed"]) if r["estimator"] == a]) for a in arms}     # seeds x problems
    seeds = min(len(x) for a, x in rate.items() if a != "base")
    spans, differences = over_seeds(rate, (("full", "base"), ("decoupled", "base"), ("coupled", "base"), ("coupled", "decoupled"), ("coupled", "full")), 4000)
    mean = lambda rs, k: float(np.mean([r[k] for r in rs]))
    out = {"problems": len(names), "seeds": seeds, "estimators": {}, "differences": differences}
    for a in arms:
        mine = [r for r in results if r["estimator"] == a]
        out["estimators"][a] = {"pass@1": float(rate[a].mean()), "interval": spans[a], "by_seed": [float(m) for m in rate[a].mean(1)],
                                **{k: mean(mine, k) for k in ("greedy", "reward", "ran", "work", "steps", "seconds_train", "cpu_seconds_train")}}
    return out


def show(s: dict) -> None:
    print(f"\npass@1 on {s['problems']} held-out problems, {s['seeds']} seeds, 95 % interval over problems and seeds")
    print(f"{'estimator':10} {'pass@1':>7}  {'interval':^15}  {'x base':>6}  {'greedy':>6}  {'runs':>5}  {'work':>8}  {'steps':>5}  {'train s':>8}  {'cpu s':>7}  by seed")
    base = s["estimators"].get("base", {}).get("pass@1")
    for a, r in s["estimators"].items():
        low, high = r["interval"]
        print(f"{a:10} {r['pass@1']:7.3f}  {low:6.3f} to {high:5.3f}  {r['pass@1'] / base if base else float('nan'):6.2f}  {r['greedy']:6.3f}  {r['ran']:5.2f}  {r['work']:8.0f}  {r['steps']:5.0f}  {r['seconds_train']:8.0f}  {r['cpu_seconds_train']:7.1f}  "
              + " ".join(f"{v:.3f}" for v in r["by_seed"]))
    show_differences(s["differences"])


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS))
    p.add_argument("--work", type=int, default=2_000_000, help="work of every cell, in forward passes of one token (default: 2000000)")
    p.add_argument("--pretrain", type=int, default=400, help="optimiser steps on the corpus (default: 400)")
    p.add_argument("--samples", type=int, default=4, help="answers to each held-out problem (default: 4)")
    p.add_argument("--threads", type=int, default=1, help="torch threads (default: 1; the model is too small for more to help much)")
    p.add_argument("--set", action="append", dest="sets", default=[], metavar="NAME=VALUE", help="further settings of every cell")
    p.add_argument("--reuse", action="store_true", help="keep what is done")
    p.add_argument("--shared", action="store_true", help="note that other work ran at the same time: wall times are then upper bounds")
    p.add_argument("--outputs", default=str(ROOT / "outputs" / "coupled"))
    p.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "coupled.json"))
    args = p.parse_args(argv)
    from grpo_lab.runs import git_state, machine, versions
    root = Path(args.outputs)
    if not args.reuse:
        shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    doc = {"command": "python benchmarks/coupled.py " + " ".join(argv or sys.argv[1:]), "machine_was_shared": args.shared, "load_average": os.getloadavg(), "versions": versions(), "machine": machine(), **git_state()}
    base, cost = pretrained(settings_for(args, "coupled", 0), root)
    results = []
    for estimator, seed in [("base", 0), *((e, s) for s in args.seeds for e in args.estimators)]:
        folder = root / f"{estimator}-{seed}"
        file = folder / "result.json"
        if not (args.reuse and file.exists()):
            print(f"{estimator} seed {seed}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            cell(args, estimator, seed, folder, base)
        r = json.loads(file.read_text())
        wanted = json.loads(json.dumps(settings_for(args, estimator if estimator != "base" else "coupled", seed).model_dump(), default=str))
        if r["budget"] not in (0, args.work) or wanted != r["settings"]:
            sys.exit(f"{file} was made with other settings; run without --reuse, or with another --outputs")
        results.append(r)
        print(f"  pass@1 {sum(r['passed'].values()) / r['samples'] / len(r['passed']):.3f}, greedy {r['greedy']:.3f}, work {r['work']}, {r['steps']} steps, {r['seconds_train']:.0f} s ({r['cpu_seconds_train']:.0f} s of processor time)", flush=True)
    s = summary(results)
    show(s)
    doc = {**doc, "load_average_at_the_end": os.getloadavg(), "pretraining": cost, **s, "cells": [{k: v for k, v in r.items() if k != "settings"} for r in results], "settings": {k: v for k, v in results[-1]["settings"].items() if k != "outputs"}}
    if args.out != "/dev/null":
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(json.dumps(doc, indent=1, default=str) + "\n")
        print(f"written to {Path(args.out).name}")


if __name__ == "__main__":
    main()
