"""Does the student learn? The main job, whole, several seeds: held-out shares by step, wall time by stage, tokens.

    python benchmarks/learning.py                       # 3 seeds of the laptop profile (an hour or more on 2 cores)
    python benchmarks/learning.py --seeds 0 --profile smoke --out /dev/null
    python benchmarks/learning.py --reuse               # read runs that are there already, train nothing that is done
    python benchmarks/learning.py --reuse --samples 2   # and sample two answers a held-out problem, too

Each seed is an ordinary `grpo-lab run` in a process of its own; every figure is read from its ledger and manifest. The run itself evaluates greedily, one answer a problem. What GRPO improves is the reward of what it
*samples*, at temperature 1: with --samples, `grpo-lab eval` measures that for the last model of stage 2 and for stage 3.
Writes benchmarks/results/learning.json.
"""
import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from measure import over_seeds, show_differences

ROOT = Path(__file__).resolve().parent.parent


def held_gib(pid: int) -> float:
    "Memory that a process and all below it hold now; what several share counts once."
    import psutil
    total = 0
    try: family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error: return 0.0
    for p in family:
        try: total += p.memory_full_info().pss
        except psutil.Error: pass
    return total / 2**30


def one(profile: str, seed: int, sets: list[str], reuse: bool, shared: bool) -> dict:
    "Run one seed and read what it left. What only its process could tell lies in the run folder as measured.json."
    from grpo_lab import evaluate
    from grpo_lab.ledger import Ledger
    run_id = f"learning-{profile}-{seed}"
    folder = ROOT / "outputs" / run_id
    command = [sys.executable, "-m", "grpo_lab.cli"]
    command += ["resume", run_id] if reuse and folder.exists() else ["run", "--profile", profile, "--run-id", run_id, "--set", f"seed={seed}"] + [a for s in sets for a in ("--set", s)]
    began, peak = time.time(), 0.0
    process = subprocess.Popen(command, cwd=ROOT)
    while process.poll() is None:
        peak = max(peak, held_gib(process.pid))
        time.sleep(1)
    if process.returncode: raise subprocess.CalledProcessError(process.returncode, command)
    measured = folder / "measured.json"
    if not measured.exists():
        measured.write_text(json.dumps({"wall_seconds": round(time.time() - began), "machine_was_shared": shared, "command": " ".join(["grpo-lab", *command[3:]]), "peak_gib": round(peak, 2),
                                        "largest_process_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2)}) + "\n")      # of this benchmark so far
    manifest = json.loads((folder / "run.json").read_text())
    df = Ledger(folder / "ledger").read()
    table = evaluate.table_by_step(df)
    last = [m for m in evaluate.step_order(evaluate.heldout(df)["model"].unique()) if m.startswith("2_")]
    numbers = lambda s: {"training_seconds" if m == "seconds" else m: v for m, v in (s.get("metrics") or {}).items() if isinstance(v, (int, float))}
    steps = {k: {**numbers(s), "seconds": s.get("seconds")} for k, s in manifest["steps"].items()}      # of the whole step; the training's own beside it
    return {"seed": seed, "run_id": run_id, **json.loads(measured.read_text()), "settings": manifest["settings"], "git_commit": manifest.get("git_commit"), "machine": manifest.get("machine"), "versions": manifest.get("versions"),
            "table": json.loads(table.to_json(orient="table", index=True))["data"], "by_kind": json.loads(evaluate.table_by_kind(df).to_json(orient="table"))["data"],
            "solved": {m: {k: round(float(v), 3) for k, v in rows.droplevel(0).items()} for m, rows in evaluate.per_problem(evaluate.heldout(df)).clean.groupby(level=0)},
            "stage3_against_stage2": evaluate.paired(df, last[-1], "3_grpo") if last else None, "steps": steps, "headline": evaluate.headline(df)}


def sampled(folder: Path, step: str, samples: int, profile: str, sets: list[str]) -> dict:
    "pass@1 of a step's model on the held-out problems from sampled answers, with its interval; kept in the run folder."
    file = folder / f"sampled-{step}.json"
    if not file.exists() or json.loads(file.read_text())["evaluate"]["num_samples"] != samples:
        more = [x for s in [*sets, "evaluate.temperature=1.0", f"evaluate.num_samples={samples}"] for x in ("--set", s)]
        subprocess.run([sys.executable, "-m", "grpo_lab.cli", "eval", "--model", str(folder / "models" / step / "merged"), "--profile", profile, "--task", "circuits", "--out", str(file), *more], cwd=ROOT, check=True)
    found = next(iter(json.loads(file.read_text())["models"].values()))
    return {**found["pass@1"], "solved": {k: t["pass@1"] for k, t in found["tasks"].items()}}


def shares(result: dict) -> dict[str, float]:
    "Share clean in both DRC and LVS by step of the run."
    key = next(k for k in result["table"][0] if "clean" in k.lower() and not any(w in k.lower() for w in ("drc", "lvs", "low", "high")))
    name = next(k for k in result["table"][0] if isinstance(result["table"][0][k], str))
    return {row[name]: row[key] for row in result["table"]}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="NAME=VALUE")
    parser.add_argument("--reuse", action="store_true", help="continue or read runs of the same name instead of refusing them")
    parser.add_argument("--samples", type=int, default=0, help="also sample so many answers a held-out problem, before and after stage 3")
    parser.add_argument("--shared", action="store_true", help="note in the results that other work ran at the same time: times are then upper bounds")
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "learning.json"))
    args = parser.parse_args(argv)
    results = [one(args.profile, seed, args.sets, args.reuse, args.shared) for seed in args.seeds]
    for r in results if args.samples else []:
        last = [k for k in r["steps"] if k.startswith("2_")][-1]
        r["sampled"] = {step: sampled(ROOT / "outputs" / r["run_id"], step, args.samples, args.profile, args.sets) for step in (last, "3_grpo")}
    steps = list(shares(results[0]))
    summary = {}
    print(f"\n{'held-out, clean in DRC and LVS':32}" + "".join(f"  seed {r['seed']}" for r in results) + "    mean  spread (sd)")
    for step in steps:
        values = [shares(r).get(step) for r in results]
        known = [v for v in values if v is not None]
        summary[step] = {"values": values, "mean": statistics.mean(known), "sd": statistics.stdev(known) if len(known) > 1 else None}
        print(f"{step:32}" + "".join(f"  {v:6.3f}" if v is not None else "       -" for v in values) + f"  {summary[step]['mean']:6.3f}" + (f"  {summary[step]['sd']:6.3f}" if summary[step]["sd"] is not None else ""))
    names, later = sorted(next(iter(results[0]["solved"].values()))), [m for m in steps if m.startswith(("2_", "3_"))]
    rate = {m: np.array([[r["solved"][m][n] for n in names] for r in results]) for m in steps}
    spans, differences = over_seeds(rate, tuple(zip(later[1:], later)))
    print("\nover problems and seeds together, 95 %: " + ", ".join(f"{m} {low:.3f} to {high:.3f}" for m, (low, high) in spans.items()))
    show_differences(differences)
    if args.samples:
        print(f"\n{'the same, sampled at temperature 1':36}" + "".join(f"  seed {r['seed']}" for r in results) + "    mean")
        rate = {f"{m}, sampled": np.array([[r["sampled"][m]["solved"][n] for n in names] for r in results]) for m in results[0]["sampled"]}
        for m, shares_ in rate.items():
            summary[m] = {"values": shares_.mean(1).tolist(), "mean": float(shares_.mean())}
            print(f"{m:36}" + "".join(f"  {v:6.3f}" for v in shares_.mean(1)) + f"  {shares_.mean():6.3f}")
        more, moved = over_seeds(rate, (tuple(rate)[::-1],))
        show_differences(moved)
        spans, differences = {**spans, **more}, {**differences, **moved}
    print(f"\n{'seconds':32}" + "".join(f"  seed {r['seed']}" for r in results))
    for step in results[0]["steps"]:
        print(f"{step:32}" + "".join(f"  {(r['steps'][step]['seconds'] or 0):6.0f}" for r in results))
    print(f"{'all':32}" + "".join(f"  {sum(s['seconds'] or 0 for s in r['steps'].values()):6.0f}" for r in results))
    print(f"{'whole command':32}" + "".join(f"  {r['wall_seconds']:6d}" for r in results))
    peak, whole = (max((r.get(k) or 0) for r in results) for k in ("largest_process_gib", "peak_gib"))
    print(f"\npeak memory of the largest process: {peak:.2f} GiB; of all processes together: {whole:.2f} GiB")
    if args.out != "/dev/null":
        out = {"command": "python benchmarks/learning.py " + " ".join(argv or sys.argv[1:]), "machine_was_shared": any(r["machine_was_shared"] for r in results), "largest_process_gib": peak, "peak_gib": whole, "summary": summary, "intervals": spans, "differences": differences, "runs": results}
        Path(args.out).write_text(json.dumps(out, indent=1, default=str) + "\n")
        print(f"written to {Path(args.out).name}")


if __name__ == "__main__":
    main()
