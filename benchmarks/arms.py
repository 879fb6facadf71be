"""Which way of using a teacher and a verifier is best, at equal work? Five arms, several seeds, held-out problems.

    python benchmarks/arms.py                              # starter, 3 seeds: 66 minutes on one core beside other work
    python benchmarks/arms.py --reuse                      # go on where it was stopped, or only write the table again
    python benchmarks/arms.py --mbpp FOLDER_OR_FILE --heldout 100        # and MBPP, on 100 problems of its test split
    python benchmarks/arms.py --seeds 0 --work 3000 --train 6 --heldout 4 --samples 2 --out /dev/null    # does it work?

Arms: base (no training); sft (imitate the teacher's answers); grpo (verified rewards alone); sft_grpo (half the work each, one after the
other); dual (both, and the student's own best answers, in one loss: weights 1, 0.3, 0.2).

Equal work. Work is counted in forward passes of one token: a sampled token, and a prompt token read before sampling, cost 1; a trained
token costs 3 (forward, and a backward pass twice as long; LoRA saves the gradient of the frozen weights, in every arm alike). Prompt tokens
of trained rows count for each row. Every arm stops after the optimiser step in which it reaches the same number: with 4 problems of 8
answers a step, a step of GRPO is about 17 000 on starter and 10 000 on MBPP. Rows that GRPO leaves out because their advantage is 0 are not trained and not counted. What
the teacher's traces cost is counted nowhere: they are given. Verification is not counted either. Times stand beside, of the clock and of
the processor (the second means something on a machine that others use too), because sampling one token is slower than its share of work.

Learning rates (2e-4 for imitation, 3e-4 for GRPO and the mixture) are the same for all seeds and were not tuned
for this comparison. Intervals: bootstrap over held-out problems and seeds together.

Every cell (arm, seed) is a process of its own and writes outputs/arms/<task>/<arm>-<seed>/result.json last. benchmarks/results/arms.json is
written after every seed that is complete, so a comparison that is cut short still says what it found, with how many seeds.
"""
import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import over_seeds, show_differences

ROOT = Path(__file__).resolve().parent.parent
ARMS = ("base", "sft", "grpo", "sft_grpo", "dual")


def settings_for(args, task: str, seed: int):
    "Settings of one cell, from the profile `code`."
    from grpo_lab.config import load_settings
    sets = [f"task={task}", f"seed={seed}", "dual.thinking=false", f"evaluate.num_samples={args.samples}", f"dual.problems={args.train}",
            f"evaluate.problems={args.heldout}", "grpo.max_steps=500", "grpo.prompts_per_step=4", "grpo.learning_rate=3e-4",
            "dual.teacher_rows=4", "dual.self_rows=4", *([f"data={args.mbpp}"] if task == "mbpp" else []), *args.sets]
    return load_settings("code", sets=sets)


def chosen(settings):
    "Task, training problems and held-out problems: the same for every arm and seed."
    from grpo_lab.tasks import open_task, pick
    task = open_task(settings)
    some = lambda split, n: (lambda found: pick(found, n, 0) if 0 < n < len(found) else found)(task.load(split))
    return task, some("train", settings.dual.problems), some("heldout", settings.evaluate.problems)


def traces_of(settings, problems, folder: Path, verifier):
    "Verified traces, made once for all arms."
    from grpo_lab import dual
    from grpo_lab.records import Trace, read_jsonl, write_jsonl
    file = folder / "traces.jsonl"
    if not file.exists():
        found = dual.teacher_traces(settings, problems, journal=folder / "journal.jsonl")
        write_jsonl(file, dual.verified_traces(found, problems, verifier)[0])
    return [t for t in read_jsonl(file, Trace) if t.problem_id in {p.id for p in problems}]


def sft_part(settings, rows, model, tokenizer, out, source, seed: int, budget: int) -> dict:
    "SFT until the budget is used; its work."
    from grpo_lab.config import SFT
    from grpo_lab.dual import encode_row, work
    from grpo_lab.sft import train_sft
    batch, lengths = 8, [len(encode_row(tokenizer, r["prompt"], r["completion"])["ids"]) for r in rows]
    steps = max(1, round(budget / (3 * statistics.mean(lengths) * min(batch, len(rows)))))
    cfg = SFT(max_steps=steps, per_device_train_batch_size=batch, max_length=1024)
    got = train_sft(settings, cfg, rows, model, tokenizer, out, source, seed=seed)
    tokens = {"trained": got["tokens"]}
    return {"sft_steps": got["steps"], "sft_loss_last": got["loss_last"], "tokens": tokens, "work": work(tokens)}


def grpo_part(settings, problems, traces, model, tokenizer, out, source, verifier, ledger, messages,
              seed: int, budget: int, weights: tuple) -> dict:
    "GRPO, with or without the other two terms, until the budget is used."
    from grpo_lab.dual import train_dual
    settings = settings.model_copy(deep=True)
    settings.dual.w_grpo, settings.dual.w_teacher, settings.dual.w_self = weights
    got = train_dual(settings, problems, traces, model, tokenizer, out, source, verifier, ledger, messages, stage="3_grpo", seed=seed,
                     budget=budget, log=out.parent.parent / "grpo.log.jsonl")
    tokens = {k.removeprefix("tokens_"): n for k, n in got.items() if k.startswith("tokens_")}
    return {"grpo_steps": got["steps"], **{k: got[k] for k in ("reward_first", "reward_last", "zero_std", "work")}, "tokens": tokens}


def train(arm: str, settings, folder: Path, seed: int, budget: int, verifier) -> tuple[Path | None, dict]:
    "Train one arm; its merged model (None: the base model) and what it cost."
    if arm == "base":
        return None, {"work": 0, "tokens": {}}
    from grpo_lab import dual, student
    from grpo_lab.ledger import Ledger
    from grpo_lab.runs import seed_everything
    task, problems, _ = chosen(settings)
    traces = traces_of(settings, problems, folder.parent, verifier)
    seed_everything(seed, settings.threads)
    tokenizer, source = student.load_tokenizer(settings), student.weights_path(settings)
    rows = dual.trace_rows(traces, problems, task.messages, tokenizer, settings)[0]
    model, parts, ledger = student.load_model(settings, source), [], Ledger(folder / "ledger", folder.name)
    if arm in ("sft", "sft_grpo"):
        share = budget if arm == "sft" else budget // 2
        parts.append(sft_part(settings, rows, model, tokenizer, folder / "models" / "sft", source, seed, share))
        source = folder / "models" / "sft" / "merged"
        model = student.load_model(settings, source) if arm == "sft_grpo" else model
    if arm != "sft":
        weights = (1.0, 0.3, 0.2) if arm == "dual" else (1.0, 0.0, 0.0)
        left = budget - sum(p["work"] for p in parts)
        parts.append(grpo_part(settings, problems, traces, model, tokenizer, folder / "models" / "grpo", source, verifier, ledger,
                               task.messages, seed, left, weights))
        source = folder / "models" / "grpo" / "merged"
    tokens = {}
    for part in parts:
        for k, n in part.pop("tokens").items():
            tokens[k] = tokens.get(k, 0) + n
    total = sum(p.pop("work") for p in parts)
    return source, {**{k: v for p in parts for k, v in p.items()}, "work": total, "tokens": tokens}


def cell(arm: str, settings, folder: Path, seed: int, budget: int) -> dict:
    "Train, evaluate, write result.json."
    import resource
    from grpo_lab import evaluate
    from grpo_lab.ledger import Ledger, _frame
    from grpo_lab.records import atomic_write
    from grpo_lab.verify import open_verifier
    task, _, problems = chosen(settings)
    began = time.time()
    with open_verifier(settings, cache_dir=folder.parent / "verdicts") as verifier:
        path, cost = train(arm, settings, folder, seed, budget, verifier)
        trained = time.time()
        rows = evaluate.evaluate_model(settings, problems, task.messages, verifier, path, arm, seed=1000 + seed)
    Ledger(folder / "ledger", folder.name).write("4_evaluate", rows, arm)
    each = evaluate.per_problem(_frame(rows)).loc[arm]
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {"arm": arm, "seed": seed, **cost, "seconds_train": trained - began, "seconds_evaluate": time.time() - trained,
              "seconds_processor": used.ru_utime + used.ru_stime, "peak_gib": used.ru_maxrss / 2**20,
              "samples": settings.evaluate.num_samples, "passed": {name: int(c) for name, c in each.c.items()},
              "settings": settings.model_dump(), "budget": budget}
    atomic_write(folder / "result.json", json.dumps(result, indent=1, default=str) + "\n")
    return result


def summary(results: list[dict]) -> dict:
    "By arm: pass@1 with an interval over problems and seeds; paired differences of all arms to the base and between the mixed ones."
    import numpy as np
    arms = [a for a in ARMS if any(r["arm"] == a for r in results)]
    names = sorted(results[0]["passed"])
    ordered = sorted(results, key=lambda r: r["seed"])
    share = lambda r: [r["passed"][n] / r["samples"] for n in names]
    rate = {a: np.array([share(r) for r in ordered if r["arm"] == a]) for a in arms}      # seeds x problems
    seeds = min(len(x) for x in rate.values())
    pairs = (("sft", "base"), ("grpo", "base"), ("sft_grpo", "base"), ("dual", "base"), ("dual", "sft"), ("sft_grpo", "sft"), ("dual", "grpo"), ("dual", "sft_grpo"))
    spans, differences = over_seeds(rate, pairs)
    out = {"problems": len(names), "seeds": seeds, "arms": {}, "differences": differences}
    for a in arms:
        mine = [r for r in results if r["arm"] == a]
        by_seed = [float(m) for m in rate[a].mean(1)]
        mean = lambda key: statistics.mean(r.get(key, float("nan")) for r in mine)
        out["arms"][a] = {"pass@1": float(rate[a].mean()), "interval": spans[a], "by_seed": by_seed,
                          "sd_over_seeds": statistics.stdev(by_seed) if len(by_seed) > 1 else None,
                          "solved_at_least_once": float((rate[a] > 0).mean()),
                          **{k: mean(k) for k in ("parses", "runs", "ended", "answer_tokens", "work", "seconds_train", "seconds_evaluate", "seconds_processor")},
                          "tokens": {k: statistics.mean(r["tokens"].get(k, 0) for r in mine)
                                     for k in ("trained", "sampled", "prompt", "scored")}}
    return out


def show(task: str, s: dict) -> None:
    print(f"\n{task}: pass@1 on {s['problems']} held-out problems, {s['seeds']} seeds, 95 % interval over problems and seeds")
    print(f"{'arm':10} {'pass@1':>7}  {'interval':^15}  {'sd seeds':>8}  {'ever':>6}  {'parses':>6}  {'runs':>6}  {'ended':>6}  {'tokens':>6}  {'work':>8}  {'trained':>8}  {'sampled':>8}  "
          f"{'train s':>8}  {'cpu s':>7}  by seed")
    for a, r in s["arms"].items():
        low, high = r["interval"]
        sd = f"{r['sd_over_seeds']:8.3f}" if r["sd_over_seeds"] is not None else " " * 8
        print(f"{a:10} {r['pass@1']:7.3f}  {low:6.3f} to {high:5.3f}  {sd}  {r['solved_at_least_once']:6.3f}  {r['parses']:6.3f}  {r['runs']:6.3f}  {r['ended']:6.3f}  {r['answer_tokens']:6.1f}  {r['work']:8.0f}  "
              f"{r['tokens']['trained']:8.0f}  {r['tokens']['sampled']:8.0f}  {r['seconds_train']:8.0f}  {r['seconds_processor']:7.0f}  "
              + " ".join(f"{v:.3f}" for v in r["by_seed"]))
    show_differences(s["differences"])


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    p.add_argument("--work", type=int, default=120_000, help="work of every arm, in forward passes of one token (default: 120000)")
    p.add_argument("--train", type=int, default=0, help="training problems; 0: all")
    p.add_argument("--heldout", type=int, default=0, help="held-out problems; 0: all")
    p.add_argument("--samples", type=int, default=2, help="answers to each held-out problem (default: 2)")
    p.add_argument("--mbpp", default="", metavar="PATH", help="folder or file with MBPP: run it too")
    p.add_argument("--only", choices=("starter", "mbpp"), help="one of the tasks")
    p.add_argument("--set", action="append", dest="sets", default=[], metavar="NAME=VALUE", help="further settings of every cell")
    p.add_argument("--reuse", action="store_true", help="keep the cells that are done")
    p.add_argument("--shared", action="store_true", help="note that other work ran at the same time: times are then upper bounds")
    p.add_argument("--outputs", default=str(ROOT / "outputs" / "arms"))
    p.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "arms.json"))
    p.add_argument("--cell", help=argparse.SUPPRESS)      # task/arm/seed, in a process of its own
    args = p.parse_args(argv)
    if args.cell:
        task, arm, seed = args.cell.split("/")
        cell(arm, settings_for(args, task, int(seed)), Path(args.outputs) / task / f"{arm}-{seed}", int(seed), args.work)
        return
    from grpo_lab.runs import git_state, machine, versions
    tasks = [t for t in ("starter", *(["mbpp"] if args.mbpp else [])) if args.only in (None, t)]
    given = argv or sys.argv[1:]
    said = " ".join(Path(a).name if Path(a).is_absolute() else a for a in given)
    doc = {"command": f"python benchmarks/arms.py {said}", "machine_was_shared": args.shared, "versions": versions(),
           "machine": machine(), **git_state(), "tasks": {}}
    for task in tasks:
        results = []
        for seed in args.seeds:
            results += [done(args, given, task, arm, seed) for arm in args.arms]
            s = summary(results)
            kept = [{k: v for k, v in r.items() if k != "settings"} for r in results]
            used = {k: v for k, v in results[0]["settings"].items() if k not in ("outputs", "data")}       # no paths of this machine
            doc["tasks"][task] = {**s, "cells": kept, "settings": used}
            if args.out != "/dev/null":
                Path(args.out).parent.mkdir(parents=True, exist_ok=True)
                Path(args.out).write_text(json.dumps(doc, indent=1, default=str) + "\n")
        show(task, s)
    if args.out != "/dev/null":
        print(f"written to {Path(args.out).name}")


def done(args, given: list[str], task: str, arm: str, seed: int) -> dict:
    "The result of one cell: made now, or read where --reuse finds it."
    folder = Path(args.outputs) / task / f"{arm}-{seed}"
    file, wanted = folder / "result.json", settings_for(args, task, seed).model_dump()
    if not (args.reuse and file.exists()):
        shutil.rmtree(folder, ignore_errors=True)
        if not args.reuse and seed == args.seeds[0] and arm == args.arms[0]:
            (folder.parent / "traces.jsonl").unlink(missing_ok=True)
        print(f"{task} {arm} seed {seed}", flush=True)
        subprocess.run([sys.executable, __file__, *given, "--cell", f"{task}/{arm}/{seed}"], check=True)
    result = json.loads(file.read_text())
    from grpo_lab.runs import _flat
    now, then = (_flat(json.loads(json.dumps(d, default=str))) for d in (wanted, result["settings"]))
    if result["budget"] != args.work or any(now[k] != v for k, v in then.items() if k in now):          # a setting that came later does not count
        sys.exit(f"{file} was made with other settings; run without --reuse, or with another --outputs")
    from grpo_lab.ledger import Ledger
    rows = Ledger(folder / "ledger", folder.name).read("4_evaluate", ["status", "tokens", "finish_reason"])
    result |= {"parses": float((~rows.status.isin(["no_code", "syntax_error"])).mean()), "runs": float((rows.status == "ok").mean()), "ended": float((rows.finish_reason == "stop").mean()), "answer_tokens": float(rows.tokens.mean())}
    rate = sum(result["passed"].values()) / result["samples"] / len(result["passed"])
    print(f"  pass@1 {rate:.3f}, work {result['work']}, {result['seconds_train']:.0f} s training, "
          f"{result['seconds_evaluate']:.0f} s evaluation", flush=True)
    return result


if __name__ == "__main__":
    main()
