"""Judging layouts: candidates a second, what equal programs cost, and whether judging while sampling pays.

    python benchmarks/verification.py                    about 4 minutes on two quiet cores
    python benchmarks/verification.py --programs 4 --out -      a quick look

Candidates are the reference programs of training problems, spread over all families, each with its own sizes: every one is built, and goes through DRC
and LVS (the worst case: most of a student's programs fail earlier). Warming the workers up is not counted; it is given apart.

    workers     the same programs with 1, 2 and 4 workers
    twice       every program four times in the batch: equal programs are judged once
    overlap     SmolLM2-135M samples 64 completions of 64 tokens; the same programs are judged after that, or at the same time as `grpo.overlap=on` does
                it. What is saved is the most that overlap can save on this machine: all programs are there when sampling begins.

Writes benchmarks/results/verification.json.
"""
import argparse
import time

import measure


def candidates(n: int) -> list:
    "(problem, program): references of `n` problems, families in turn."
    from grpo_lab.circuits import load_problems, pick
    return [(p, p.reference) for p in pick(load_problems("train"), n, 0)]


def judged(items: list, workers: int) -> dict:
    "Time `items` with so many workers."
    from grpo_lab.config import load_settings
    from grpo_lab.verify import CircuitVerifier
    began = time.perf_counter()
    with CircuitVerifier(load_settings("laptop", sets=[f"layout.workers={workers}"])) as v:
        warm = load_warm()
        v.verify(warm)
        start = time.perf_counter() - began
        began = time.perf_counter()
        verdicts = v.verify(items)
        seconds = time.perf_counter() - began
    return {"workers": workers, "candidates": len(items), "different": len({c for _, c in items}), "families": len({p.family for p, _ in items}), "clean": sum(x.clean for x in verdicts),
            "seconds": round(seconds, 2), "per_second": round(len(items) / seconds, 2), "start_seconds": round(start, 2)}


def load_warm() -> list:
    "A candidate that is not measured."
    from grpo_lab.circuits import load_problems
    p = load_problems("heldout")[0]
    return [(p, p.reference)]


def overlap(n: int, workers: int, tokens: int) -> dict:
    "Sampling and judging, one after the other and at the same time."
    from grpo_lab.config import load_settings
    from grpo_lab.logprobs import keep_freed_memory
    from grpo_lab.rollout import LabSampler, encode, sample_ids
    from grpo_lab.student import load_model, load_tokenizer
    from grpo_lab.tasks import open_task
    from grpo_lab.verify import Ahead, CircuitVerifier
    settings = load_settings("laptop", sets=[f"layout.workers={workers}"])
    task, items = open_task(settings), candidates(n)
    keep_freed_memory()
    lab, ids = LabSampler(load_model(settings)), encode(load_tokenizer(settings), [task.messages(p) for p, _ in items[:8]])
    draw = lambda: sample_ids(lab, ids, 8, max_completion_length=tokens, eos=(), seeds=list(range(64)))
    draw()
    times = {}

    def timed(name, f):
        began = time.perf_counter()
        f()
        times[name] = round(time.perf_counter() - began, 2)

    def together(v):
        ahead = Ahead(v, [p for p, _ in items])
        for p, code in items: ahead.put(p.id, f"```python\n{code}\n```")
        draw()
        ahead.wait()
    timed("sampling", draw)
    for name, f in (("judging", lambda v: v.verify(items)), ("at the same time", together)):
        with CircuitVerifier(settings) as v:          # of its own: nothing is known from before
            v.verify(load_warm())
            timed(name, lambda: f(v))
    after = times["sampling"] + times["judging"]
    return {"workers": workers, "programs": n, "completions": 64, "tokens": tokens, **times, "one after the other": round(after, 2), "saved": round(1 - times["at the same time"] / after, 3)}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--programs", type=int, default=48); p.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4]); p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--no-overlap", action="store_true"); p.add_argument("--out", default="", help="results file; - for none")
    o = p.parse_args()
    before, items = measure.machine(), candidates(o.programs)
    doc = {"workers": []}
    for w in o.workers:
        doc["workers"].append(judged(items, w))
        print(doc["workers"][-1], flush=True)
    doc["slope_with_workers"] = round(measure.slope([r["workers"] for r in doc["workers"][:2]], [r["per_second"] for r in doc["workers"][:2]]), 3) if len(o.workers) > 1 else None
    doc["twice"] = judged(items * 4, min(2, max(o.workers)))
    print(doc["twice"], flush=True)
    if not o.no_overlap:
        doc["overlap"] = overlap(max(2, o.programs // 2), min(2, max(o.workers)), o.tokens)
        print(doc["overlap"], flush=True)
    measure.write("verification", doc, before, o.out)


if __name__ == "__main__": main()
