"""Does searching over workflows pay, and does learning from a search help the next one? Five arms at equal numbers of model calls, several seeds.

    python benchmarks/workflows.py                          # SmolLM2-135M, starter problems, 3 seeds (about an hour on 2 cores)
    python benchmarks/workflows.py --reuse                  # go on where it was stopped, or only write the table again
    python benchmarks/workflows.py --task humaneval --model FOLDER --name qwen     # another model, other problems; by hand, or on a GPU
    python benchmarks/workflows.py --simulate --out benchmarks/results/workflows_simulated.json                # no model, no sandbox: many seeds in minutes (below)
    python benchmarks/workflows.py --seeds 0 --budget 60 --validation 3 --test 3 --steps 1 --out /dev/null      # does it work? (minutes)

Arms: single (one call a problem); best_of (as many calls as a workflow may make: the first program that passes the shown test); random (random workflows, the best on the validation problems is kept);
mcts (tree search from the single shot, edits by chance); mcts_trained (the policy is trained on the tree of `mcts`, then the same search with edits in the order of what it has learned).

Equal calls. On a test problem every workflow may make at most --calls calls. The three searching arms have the same budget of calls on the validation problems (--budget); a round that does not fit into what is left does not count. Programs that the policy or its
reference reads to sort edits count as calls of mcts_trained, too. Within one search an equal request (same words, same seed) is made once, and counts once. What another arm asked before counts in full for every arm; its answer is only not waited for again.
What training costs is not in calls; its seconds stand beside. Both searches and the random one try what is best again before they believe it (`search.confirm`), and pay for that. Every chosen workflow is tried --repeats times on each test problem; what is compared is the mean.

A workflow sees the shown test of a problem; what is counted is all tests, hidden ones included, on problems that no search has seen. Intervals: bootstrap over test problems and seeds together. Nothing was tuned on the test problems.

--simulate compares the arms where noise can be averaged away. The executor is a script: every problem has a chance of a right answer (beta distributed, mean 0.4, about what SmolLM2-135M does on easy starter problems), a tenth less with an instruction, 0.6 of it when the model is shown its own wrong program;
8 in 100 answers are wrong and pass the shown test. Workflows, search, trajectories and training are the real ones; the policy is a random Llama of 2 layers that learns from scratch. What these figures say is how well the search searches, not what any language model can do.

Every cell (arm, seed) writes outputs/workflows/<name>/<seed>/<arm>.json last. Writes benchmarks/results/workflows.json.
"""
import argparse
import json
import random
import shutil
import statistics
import sys
import time
from pathlib import Path

from measure import over_seeds, show_differences

ROOT = Path(__file__).resolve().parent.parent
ARMS = ("single", "best_of", "random", "mcts", "mcts_trained")


def settings_for(args):
    from grpo_lab.config import load_settings
    sets = [f"task={args.task}", *([f"student.model={args.model}"] if args.model else []), f"search.calls={args.calls}", f"search.max_calls={args.budget}", f"search.max_completion_length={args.tokens}",
            "search.rounds=200", "search.patience=0", f"search.problems={args.validation}", f"search.max_difficulty={args.difficulty}", f"search.children={args.children}", f"grpo.max_steps={args.steps}", *args.sets]
    return load_settings("workflows", sets=sets)


def chosen(settings, args):
    "Validation and test problems, the same for all arms and seeds; a benchmark without a training split gives every third problem to the search."
    from grpo_lab.tasks import open_task
    from grpo_lab.workflow_loop import search_problems
    task = open_task(settings)
    train, test = task.load("train"), task.load("heldout")
    if not train:
        train, test = test[::3], [p for i, p in enumerate(test) if i % 3]
    return task, search_problems(settings, train, args.validation), search_problems(settings, test, args.test)


class Bench:
    "What the arms share: models, problems, known answers."
    def __init__(self, args):
        from grpo_lab import student
        from grpo_lab.operators import LocalModel, Memo
        from grpo_lab.verify import open_verifier
        self.args, self.settings = args, settings_for(args)
        self.cfg = self.settings.search
        self.task, self.validation, self.test = chosen(self.settings, args)
        self.folder = Path(args.outputs) / args.name
        self.tokenizer, self.source = student.load_tokenizer(self.settings), student.weights_path(self.settings)
        self.fresh = lambda: student.load_model(self.settings, self.source)
        self.base = self.fresh()
        self.executor = LocalModel(self.base, self.tokenizer, args.name, batch_size=64)
        self.verifier, self.memo = open_verifier(self.settings, cache_dir=self.folder), Memo(self.folder / "memo.jsonl")

    def evaluator(self, seed):
        from grpo_lab.workflow_loop import workflow_evaluator
        return workflow_evaluator(self.validation, self.executor, self.verifier, self.cfg, 1000 + seed, self.memo, self.task.messages)

    def tested(self, workflow, seed: int, repeats: int) -> dict:
        "A workflow on the test problems: share solved of each, calls."
        from grpo_lab.operators import execute_pairs
        from grpo_lab.workflow_loop import budget_of, judged
        pairs = [(workflow, p) for p in self.test for _ in range(repeats)]
        seeds = [2000 + 100 * seed + r for _ in self.test for r in range(repeats)]
        runs = execute_pairs(pairs, self.executor, self.verifier, budget_of(self.cfg), seeds, temperature=self.cfg.temperature, max_completion_length=self.cfg.max_completion_length, messages=self.task.messages, memo=self.memo)
        clean = [v.clean for v in judged(runs, self.test, self.verifier)]
        return {"passed": {p.id: sum(clean[i * repeats:(i + 1) * repeats]) / repeats for i, p in enumerate(self.test)}, "test_calls": sum(r.calls for r in runs) / len(runs), "test_tokens": sum(r.tokens for r in runs) / len(runs)}

    def tree_search(self, folder, seed, propose=None):
        from grpo_lab.search import Store, random_proposals, search
        tree = search(folder, self.evaluator(seed), propose or random_proposals, self.cfg, seed, about={"problems": [p.id for p in self.validation], "model": self.executor.name},
                      progress=lambda n, note: print(f"    round {n}: {note}", flush=True))
        return tree, Store(folder).state()

    def random_search(self, folder, seed):
        "Random workflows after the single shot, until the budget is spent; kept like a tree in which the single shot is everybody's father."
        from grpo_lab.search import Node, Tree, evaluate_all, judge_node, Store, unconfirmed
        from grpo_lab.workflows import SINGLE_SHOT, random_workflow, workflow_id
        evaluate, store, tree, calls, drawn = self.evaluator(seed), Store(folder), Tree(), 0, 0
        while True:
            old, some = unconfirmed(tree, self.cfg), [] if len(tree) else [SINGLE_SHOT]
            while len(tree) and not old and len(some) < self.cfg.children:
                w, drawn = random_workflow(100_000 * seed + drawn), drawn + 1
                if workflow_id(w) not in tree.keys and w not in some:
                    some.append(w)
            found, cost = evaluate_all(store, [old.workflow] if old else some, evaluate, self.cfg, old.tries if old else 0)
            if len(tree) and calls + cost > self.cfg.max_calls:
                return tree, {"calls": calls, "rounds": []}
            calls += cost
            if old:
                tree.again(old, store.evaluations(old)[0] + found[0], self.cfg)
            for w, outcomes in zip(some, found):
                tree.add(judge_node(Node(id=len(tree), father=0 if len(tree) else None, workflow=w), outcomes, self.cfg))
            print(f"    {len(tree)} workflows, best {tree.winner().score:.3f}, {calls} calls", flush=True)

    def learned(self, seed):
        "A policy trained on the tree of `mcts`, as a proposer, and what training did."
        from grpo_lab.runs import seed_everything
        from grpo_lab.search import search_trajectories
        from grpo_lab.workflow_loop import PriorProposals, train_policy
        rows = search_trajectories([self.folder / str(seed) / "mcts"], self.validation, self.cfg)
        seed_everything(seed, self.settings.threads)
        policy, began = self.fresh(), time.time()
        got = train_policy(self.settings, rows, policy, self.tokenizer, seed=seed)
        cost = {"train_seconds": time.time() - began, "trajectories": len(rows), **{k: got[k] for k in ("steps", "groups", "zero_std", "before", "after")}}
        policy.eval()
        return PriorProposals(policy, self.base, self.tokenizer, self.validation, self.cfg.prior_scale, self.settings.grpo.max_completion_length), cost

    def cell(self, arm: str, seed: int) -> dict:
        "One arm, one seed."
        from grpo_lab.workflows import SINGLE_SHOT, best_of_n, to_python
        wall, cpu, more, tree, state = time.time(), time.process_time(), {}, None, {"calls": 0, "rounds": []}
        folder = self.folder / str(seed) / arm
        if arm == "random":
            tree, state = self.random_search(folder, seed)
        elif arm == "mcts":
            tree, state = self.tree_search(folder, seed)
        elif arm == "mcts_trained":
            propose, more = self.learned(seed)
            tree, state = self.tree_search(folder, seed, propose)
            more["opinion_calls"] = propose.calls
        workflow = tree.winner().workflow if tree else best_of_n(self.cfg.calls) if arm == "best_of" else SINGLE_SHOT
        if tree:
            more |= {"evaluated": len(tree), "validation": tree.winner().rate, "validation_score": tree.winner().score, "winner_tries": tree.winner().tries, "tries": sum(n.tries for n in tree.nodes), "scores": [round(n.score, 4) for n in tree.nodes],
                     "node_calls": [n.calls for n in tree.nodes], "edits": [n.modification for n in tree.nodes]}
        found = self.tested(workflow, seed, self.args.repeats)
        return {"arm": arm, "seed": seed, **found, "search_calls": state["calls"], "workflow": to_python(workflow), **more, "seconds": time.time() - wall, "cpu_seconds": time.process_time() - cpu}


class Simulated(Bench):
    "The same with a scripted executor and judge."
    def __init__(self, args):
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from grpo_lab.operators import Memo, ScriptedModel
        from grpo_lab.student import quiet_libraries, tiny_model
        quiet_libraries()
        self.args, self.settings, self.verifier = args, settings_for(args), self
        self.cfg, self.folder, self.memo = self.settings.search, Path(args.outputs) / args.name, Memo()
        self.executor, self.chances = ScriptedModel(self.answer, "simulated"), {}
        tiny_model(self.folder / "policy", hidden_size=64)
        self.tokenizer, self.fresh = AutoTokenizer.from_pretrained(self.folder / "policy"), lambda: AutoModelForCausalLM.from_pretrained(self.folder / "policy")
        self.base, self.task, self.test = self.fresh(), type("Task", (), {"messages": staticmethod(lambda p: [{"role": "system", "content": "Write a program."}, {"role": "user", "content": p.prompt}])}), self.made("test", args.test)

    def made(self, name: str, n: int) -> list:
        "n problems with chances."
        from grpo_lab.records import Problem
        rng = random.Random(name)
        ids = [f"{name}-{i}" for i in range(n)]
        self.chances |= {i: min(0.95, rng.betavariate(0.8, 1.2)) for i in ids}
        return [Problem(id=i, task="starter", family="simulated", prompt=f"Problem {i} :", entry_point="f", reference="known", tests=["assert f()"], spec={"shown": ["assert f()"]}) for i in ids]

    def answer(self, chat, seed):
        "A program that says whether it is right."
        name = chat[1]["content"].split()[1]
        rng, chance = random.Random(f"{seed} {len(chat)} {len(chat[-1]['content'])}"), self.chances[name]
        if "Write no program" in chat[-1]["content"]:
            return "It is wrong."
        chance *= 0.6 if len(chat) > 2 else 0.9 if len(chat[1]["content"].split()) > 3 else 1
        u = rng.random()
        kind = "right" if u < chance else "lucky" if u < chance + 0.08 else "broken" if u < chance + 0.3 else "wrong"
        return "Sorry." if rng.random() < 0.03 else f"```python\ndef f():\n    return '{kind} {0 if kind == 'right' else rng.randint(0, 3)}'\n```"

    def verify(self, items, progress=None):
        "The judge: lucky programs pass the shown test only."
        from grpo_lab.records import Verdict
        good = [code is not None and ("right" in code or "lucky" in code and not p.reference) for p, code in items]
        return [Verdict(status="no_code" if code is None else "runtime_error" if "broken" in code else "ok", passed=int(g), total=1) for g, (_, code) in zip(good, items)]

    def cell(self, arm, seed):
        self.validation = self.made(f"validation-{seed}", self.args.validation)
        return super().cell(arm, seed)


def summary(results: list[dict]) -> dict:
    "By arm: share solved with an interval over problems and seeds, calls; paired differences."
    import numpy as np
    arms = [a for a in ARMS if any(r["arm"] == a for r in results)]
    names = sorted(results[0]["passed"])
    rate = {a: np.array([[r["passed"][n] for n in names] for r in sorted(results, key=lambda r: r["seed"]) if r["arm"] == a]) for a in arms}    # seeds x problems
    seeds = min(len(x) for x in rate.values())
    pairs = (("mcts", "single"), ("mcts", "best_of"), ("mcts", "random"), ("mcts_trained", "single"), ("mcts_trained", "random"), ("mcts_trained", "mcts"), ("best_of", "single"))
    spans, differences = over_seeds(rate, pairs)
    mean = lambda a, k: statistics.mean([r[k] for r in results if r["arm"] == a and r.get(k) is not None] or [0])
    out = {"problems": len(names), "seeds": seeds, "arms": {}, "differences": differences}
    for a in arms:
        out["arms"][a] = {"solved": float(rate[a].mean()), "interval": spans[a], "by_seed": [float(m) for m in rate[a].mean(1)], "test_calls": mean(a, "test_calls"), "search_calls": mean(a, "search_calls"),
                          "evaluated": mean(a, "evaluated"), "validation": mean(a, "validation"), "seconds": mean(a, "seconds"), "cpu_seconds": mean(a, "cpu_seconds")}
    searched = {(r["arm"], r["seed"]): r["scores"] for r in results if "scores" in r}
    if any(a == "mcts_trained" for a, _ in searched):      # is the policy's opinion good, apart from what it costs? the same number of workflows of both searches
        both = [(searched["mcts", s], searched["mcts_trained", s]) for a, s in searched if a == "mcts_trained" and ("mcts", s) in searched]
        out["equal_workflows"] = [{"workflows": n, **{k: {"best": max(x[:n]), "mean": statistics.mean(x[1:n] or x[:n])} for k, x in (("mcts", a), ("mcts_trained", b))}} for a, b in both for n in [min(len(a), len(b))]]
    return out


def show(s: dict) -> None:
    print(f"\nshare of {s['problems']} test problems solved, {s['seeds']} seeds, 95 % interval over problems and seeds")
    base = s["arms"].get("single", {}).get("solved")
    print(f"{'arm':13} {'solved':>7} {'interval':^16} {'ratio':>6}  {'calls a problem':>15}  {'search calls':>12}  {'workflows':>9}  {'validation':>10}  {'cpu s':>6}  by seed")
    for a, r in s["arms"].items():
        low, high = r["interval"]
        ratio = f"{r['solved'] / base:6.2f}" if base else " " * 6
        print(f"{a:13} {r['solved']:7.3f} {low:7.3f} to {high:5.3f} {ratio}  {r['test_calls']:15.2f}  {r['search_calls']:12.0f}  {r['evaluated']:9.1f}  {r['validation']:10.3f}  {r['cpu_seconds']:6.0f}  " + " ".join(f"{v:.3f}" for v in r["by_seed"]))
    for k in ("best", "mean") if s.get("equal_workflows") else ():
        rows = s["equal_workflows"]
        print(f"{k} validation score of the first {statistics.mean(r['workflows'] for r in rows):.0f} workflows: " + ", ".join(f"{a} {statistics.mean(r[a][k] for r in rows):.3f}" for a in ("mcts", "mcts_trained")) + f" ({sum(r['mcts_trained'][k] > r['mcts'][k] for r in rows)} of {len(rows)} seeds higher with the policy)")
    show_differences(s["differences"])


def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--task", default="starter", choices=("starter", "humaneval", "mbpp"))
    p.add_argument("--model", default="", metavar="FOLDER", help="default: SmolLM2-135M-Instruct")
    p.add_argument("--name", default="smollm2", help="of the model, in files")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    p.add_argument("--calls", type=int, default=4, help="model calls on one problem at most (default: 4)")
    p.add_argument("--budget", type=int, default=600, help="model calls of one search (default: 600)")
    p.add_argument("--validation", type=int, default=16, help="problems that a search tries workflows on (default: 16)")
    p.add_argument("--test", type=int, default=40, help="held-out problems (default: 40)")
    p.add_argument("--repeats", type=int, default=4, help="times the chosen workflow is tried on each of them, with seeds of their own (default: 4)")
    p.add_argument("--difficulty", type=int, default=2, help="hardest problems (default: 2 of 4); 0: all")
    p.add_argument("--tokens", type=int, default=128, help="of one call (default: 128)")
    p.add_argument("--children", type=int, default=2, help="workflows tried in a round (default: 2)")
    p.add_argument("--steps", type=int, default=12, help="optimiser steps of the training (default: 12)")
    p.add_argument("--set", action="append", dest="sets", default=[], metavar="NAME=VALUE", help="further settings")
    p.add_argument("--simulate", action="store_true", help="a scripted executor; without further words 12 seeds, 100 test problems and a budget of 800 calls on 12 validation problems")
    p.add_argument("--reuse", action="store_true", help="keep what is done")
    p.add_argument("--note", default="", help="on the machine, for the results: what else ran")
    p.add_argument("--outputs", default=str(ROOT / "outputs" / "workflows"))
    p.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "workflows.json"))
    if "--simulate" in (argv or sys.argv[1:]):
        p.set_defaults(name="simulated", seeds=list(range(12)), budget=800, validation=12, test=100, children=1, steps=20, sets=["grpo.learning_rate=0.003"])
    args = p.parse_args(argv)
    from grpo_lab.records import atomic_write
    from grpo_lab.runs import git_state, machine, versions
    settings = settings_for(args).model_dump()
    folder, results, bench = Path(args.outputs) / args.name, [], None
    if not args.reuse:
        shutil.rmtree(folder, ignore_errors=True)
    doc = {"command": "python benchmarks/workflows.py " + " ".join(argv or sys.argv[1:]), "machine_note": args.note, "machine": machine(), "versions": versions(), **git_state()}
    for seed in args.seeds:
        for arm in args.arms:
            file = folder / str(seed) / f"{arm}.json"
            if not file.exists():
                print(f"seed {seed}, {arm}", flush=True)
                bench = bench or (Simulated if args.simulate else Bench)(args)
                atomic_write(file, json.dumps({**bench.cell(arm, seed), "settings": settings, **git_state()}, indent=1) + "\n")
            result = json.loads(file.read_text())
            parts = ("student", "search", "grpo", "sandbox")      # what a cell depends on; a setting that came later does not count
            if any(settings[k][n] != v for k in parts for n, v in result["settings"][k].items() if n in settings[k]) or settings["task"] != result["settings"]["task"]:
                sys.exit(f"{file} was made with other settings; run without --reuse, or with another --name")
            results.append(result)
            print(f"  seed {seed}, {arm}: {statistics.mean(result['passed'].values()):.3f} solved, {result['test_calls']:.2f} calls a problem, {result['search_calls']} calls in the search, {result['seconds']:.0f} s", flush=True)
    s = summary(results)
    show(s)
    if args.out != "/dev/null":
        doc |= {**s, "settings": {k: v for k, v in settings.items() if k in ("task", "search", "grpo", "student")}, "cells": [{k: v for k, v in r.items() if k != "settings"} for r in results]}
        atomic_write(args.out, json.dumps(doc, indent=1, default=str) + "\n")
        print(f"written to {Path(args.out).name}")


if __name__ == "__main__":
    main()
