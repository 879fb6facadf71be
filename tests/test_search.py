"""The search goes on from wherever it was stopped, keeps to its budget, and what it finds can be learned from."""
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from faulty_server import FaultyServer
from grpo_lab import search as chapter
from grpo_lab.config import Search, load_settings
from grpo_lab.operators import ScriptedModel
from grpo_lab.search import Node, Outcome, Store, search, search_trajectories
from grpo_lab.tasks import load_problems
from grpo_lab.verify import open_verifier
from grpo_lab.workflow_loop import PriorProposals, compare_workflows, edit_messages, open_proposer, train_policy, workflow_evaluator
from grpo_lab.workflows import SINGLE_SHOT, best_of_n, from_python, to_python, walk


def toy(workflows, r):
    "More kinds of steps are better, more steps are dearer; the same on every machine."
    return [[Outcome(problem_id=f"p{i}", solved=len({s.op for s in walk(w.steps)}) > i + 1, correctness=1.0, calls=len(walk(w.steps)), seconds=0.5) for i in range(3)] for w in workflows]


class Asking:
    "The same, with requests that workflows share: a step asks what equal steps before it in other workflows asked."
    def __init__(self): self.asked = set()
    def __call__(self, workflows, r):
        self.asked |= {f"{i} {s.op}" for w in workflows for i, s in enumerate(walk(w.steps))}
        return toy(workflows, r)


CFG = Search(rounds=10, patience=0, calls=8, weight_calls=0.05, children=2)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(Path(folder).rglob("*")) if p.is_file() and not p.name.endswith(".tmp")}


@pytest.mark.parametrize("selection", ["uct", "mixed"])
def test_a_search_stopped_at_any_write_ends_with_the_same_files(tmp_path, monkeypatch, selection):
    cfg, real, writes = CFG.model_copy(update={"rounds": 3, "confirm": 2, "selection": selection}), chapter.atomic_write, []
    monkeypatch.setattr(chapter, "atomic_write", lambda path, data: (writes.append(path), real(path, data)))
    search(tmp_path / "whole", Asking(), cfg=cfg, seed=3)
    whole, n = contents(tmp_path / "whole"), len(writes)
    state = json.loads(whole["state.json"]); asked = [k for name, text in whole.items() if name.startswith("evaluations") for k in json.loads(text)["asked"]]
    assert n > 20 and state["nodes"] == 7 and len(asked) == len(set(asked)) == state["calls"] > 5, "a request counts once"
    assert any(r["again"] is not None for r in state["rounds"]), "the best was tried again"

    class Power(Exception): pass
    for stop in range(n):
        folder, left = tmp_path / f"stop{stop}", [stop]

        def write(path, data):
            if not left[0]: raise Power
            left[0] -= 1
            return real(path, data)
        monkeypatch.setattr(chapter, "atomic_write", write)
        with pytest.raises(Power): search(folder, Asking(), cfg=cfg, seed=3)
        left[0] = -1                                              # never again
        search(folder, Asking(), cfg=cfg, seed=3)
        assert contents(folder) == whole, f"stopped before write {stop + 1}, {writes[stop]}"


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import test_search as t
from grpo_lab.search import search
def slow(workflows, r): time.sleep(0.04); return t.toy(workflows, r)
search(sys.argv[1], slow, cfg=t.CFG, seed=5)
"""


def test_a_search_that_is_killed_goes_on(tmp_path):
    search(tmp_path / "whole", toy, cfg=CFG, seed=5)
    script, folder, rng, kills = tmp_path / "run.py", tmp_path / "killed", random.Random(0), 0
    script.write_text(KILLED.format(tests=str(Path(__file__).parent)))
    rounds = lambda: len((Store(folder).state() or {"rounds": []})["rounds"])
    for _ in range(3):
        before, process = rounds(), subprocess.Popen([sys.executable, str(script), str(folder)], stderr=subprocess.PIPE)
        end = time.time() + 120
        while process.poll() is None and rounds() < before + 2 and time.time() < end: time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        if process.poll() is None: process.send_signal(signal.SIGKILL); kills += 1
        process.communicate()
    assert kills >= 2 and 0 < rounds() < CFG.rounds, "it was killed in the middle"
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert contents(folder) == contents(tmp_path / "whole")


def test_what_is_propagated_is_the_sum_of_the_subtree(tmp_path):
    tree = search(tmp_path, toy, cfg=CFG, seed=1)
    below = lambda i: [tree[i], *(n for c in tree.children(i) for n in below(c.id))]
    for n in tree.nodes:
        assert n.visits == sum(x.tries for x in below(n.id)) and n.value == pytest.approx(sum(x.tries * x.score for x in below(n.id)))
        kept = Node.model_validate_json((tmp_path / "nodes" / f"{n.name}.json").read_text())
        assert kept == n, "the files say what the tree says"
    assert len({n.key for n in tree.nodes}) == len(tree) and len({(n.father, n.modification) for n in tree.nodes}) == len(tree)


def test_luck_is_found_out(tmp_path):
    "All workflows are equally good, and scores are noise: without trying again the search reports the luckiest, with it nearly the truth; and what it reports was really tried so often."
    def noisy(workflows, r): return [[Outcome(problem_id=f"p{i}", solved=random.Random(f"{r} {i} {to_python(w)}").random() < 0.5, correctness=1.0, calls=1) for i in range(12)] for w in workflows]
    said = {}
    for confirm in (0, 6):
        cfg = Search(rounds=25, patience=0, weight_calls=0.0, confirm=confirm)
        trees = [search(tmp_path / f"{confirm}-{s}", noisy, cfg=cfg, seed=s) for s in range(3)]
        assert all(t.winner().tries == max(1, confirm) and len(t) == 26 for t in trees), "every round tried something new, and the winner is tried enough"
        for s, t in enumerate(trees): assert Store(tmp_path / f"{confirm}-{s}").load().nodes == t.nodes
        said[confirm] = sum(t.winner().score for t in trees) / len(trees)
    assert said[0] > 0.75 and said[6] < 0.68, said


@pytest.mark.parametrize("budget", [10, 37, 90])
def test_a_budget_of_calls_is_kept(tmp_path, budget):
    state = (search(tmp_path, toy, cfg=CFG.model_copy(update={"max_calls": budget, "rounds": 99}), seed=1), Store(tmp_path).state())[1]
    assert state["stopped"] == f"the budget of {budget} calls" and 0 < state["calls"] <= budget


def test_searching_the_tree_beats_guessing(tmp_path):
    "On the toy, with as many evaluations: the mean over seeds of the best score, by UCT and by the published selection, against expanding the root only."
    best = lambda name, **more: [search(tmp_path / f"{name}{s}", toy, cfg=CFG.model_copy(update={"rounds": 12, "weight_calls": 0.0, **more}), seed=s).best()[0].score for s in range(6)]
    uct, mixed, flat = best("u", selection="uct"), best("m", selection="mixed"), best("f", selection="mixed", candidates=1)
    assert sum(uct) > sum(flat) and sum(mixed) > sum(flat), (uct, mixed, flat)


def test_scribbles_cost_a_count_and_nothing_else(tmp_path):
    rng, scribbles = random.Random(0), ["", "I am sorry.", "append 1: Nothing()", "delete 1", "loop 1: 99", "append 77: Test()", "```python\nimport os\n```", "{" * 500, "append 1: Test()"]
    propose = lambda parent, tree, n, seed: rng.sample(scribbles, n)
    tree = search(tmp_path, toy, propose, CFG.model_copy(update={"fallback": 0}), seed=1)
    state = Store(tmp_path).state(); refused = Counter()
    for r in state["rounds"]: refused.update(r["refused"])
    for n in tree.nodes: refused.update(n.refused)
    assert len(tree) > 1 and {n.modification for n in tree.nodes[1:]} == {"append 1: Test()"}
    assert refused["unparsed"] > 20 and refused["misfit"] > 5 and refused["duplicate"] > 0 and state["calls"] == sum(n.calls for n in tree.nodes)


# ------------------------------------------------------------------ with a verifier

PROBLEMS = [p for p in load_problems("starter") if p.id in ("add_numbers", "cube", "half", "remainder")]


@pytest.fixture(scope="module")
def verifier():
    with open_verifier(load_settings("workflows-smoke", sets=["sandbox.workers=1"])) as v: yield v


def flighty(chat, seed):
    "Right one time in three, and whenever it is told how; wrong when it is shown its own program."
    p = next(p for p in PROBLEMS if f" {p.entry_point}(" in chat[1]["content"]); right = len(chat) == 2 and (seed % 3 == 0 or chat[1]["content"].strip() != p.prompt.strip())
    return f"```python\n{p.reference if right else p.reference.replace('return', 'return 7 if True else')}\n```"


def told(chat, seed):
    "Right where it is told how, before it has seen a program of its own."
    p = next(p for p in PROBLEMS if f" {p.entry_point}(" in chat[1]["content"]); right = len(chat) == 2 and chat[1]["content"].strip() != p.prompt.strip()
    return f"```python\n{p.reference if right else p.reference.replace('return', 'return 7 if True else')}\n```"


def test_search_learn_and_prefer(tmp_path, verifier):
    "The whole flow on a tiny model: what the search found good becomes more probable and what it found bad less, on problems that were not trained on, too; and the next search's edits come in a better order."
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from grpo_lab.student import quiet_libraries, tiny_model
    quiet_libraries()
    settings = load_settings("workflows-smoke", sets=["grpo.max_steps=10", "grpo.prompts_per_step=3", "grpo.learning_rate=0.005", "search.group_size=6", "search.rounds=8", "search.patience=0", "search.calls=6"])
    cfg, evaluate = settings.search, workflow_evaluator(PROBLEMS, ScriptedModel(told), verifier, settings.search, seed=2)
    tree = search(tmp_path / "one", evaluate, cfg=cfg.model_copy(update={"children": 2}), seed=4)
    assert tree.best()[0].rate > tree.root.rate
    rows = search_trajectories([tmp_path / "one"], PROBLEMS, cfg)
    assert {from_python(r.code) for r in rows} <= {n.workflow for n in tree.nodes} and max(Counter(r.group_id for r in rows).values()) == 6
    tiny_model(tmp_path / "tiny", layers=1)
    tok, policy, base = AutoTokenizer.from_pretrained(tmp_path / "tiny"), *(AutoModelForCausalLM.from_pretrained(tmp_path / "tiny") for _ in "ab")
    got = train_policy(settings, rows, policy, tok, seed=1)
    change = {k: got["after"][k] - v for k, v in got["before"].items()}
    assert len(change) == 4 and all((v > 0) == k.endswith("good") for k, v in change.items()), change
    prior = PriorProposals(policy, base, tok, PROBLEMS)
    order = sorted(tree.nodes, key=lambda n: n.score); gains = prior.gains(PROBLEMS[3], [to_python(n.workflow) for n in (*order[:3], *order[-3:])])
    assert sum(gains[3:]) > sum(gains[:3]) and prior.calls == 12


def test_a_teacher_behind_an_endpoint_proposes(tmp_path, verifier):
    answer = lambda body: "append 1: Test()" if "Loop" not in (said := body["messages"][-1]["content"]) and "Test()" not in said else "loop 1-2: 6 until passed"
    with FaultyServer(lambda body, n: "503" if n == 0 else None, answer=answer) as server:
        settings = load_settings("workflows-smoke", sets=["search.expansion=teacher", "search.rounds=2", "search.proposals=1", "search.calls=6", "search.selection=mixed", "search.candidates=2", "search.patience=0",
                                                          "teacher.kind=endpoint", f"teacher.base_url={server.url}", "teacher.model=m", "teacher.backoff=0"])
        propose = open_proposer(settings, PROBLEMS, journal=tmp_path / "replies.jsonl")
        evaluate = workflow_evaluator(PROBLEMS, ScriptedModel(flighty), verifier, settings.search, seed=2)
        tree = search(tmp_path / "s", evaluate, propose, settings.search, seed=4)
        said = [s[4]["messages"][-1]["content"] for s in server.seen]
    assert "append 1: Test()" in {n.modification for n in tree.nodes} and propose.calls == 2 and len(server.seen) == 4, "each request failed once"
    assert any("It failed here" in s and "tests passed" in s for s in said) and all("score" in s for s in said)


def test_a_policy_proposes_in_words(tmp_path, verifier):
    "A random model writes no edit: its scribbles are refused and counted, and chance steps in."
    from grpo_lab.student import quiet_libraries, tiny_model
    quiet_libraries(); folder = tiny_model(tmp_path / "tiny", layers=1)
    settings = load_settings("workflows-smoke", sets=[f"student.model={folder}", "student.dtype=float32", "search.expansion=policy", "search.rounds=2", "search.proposals=2", "search.calls=2", "search.confirm=0", "search.patience=0"])
    propose = open_proposer(settings, PROBLEMS, policy=folder)
    tree = search(tmp_path / "s", workflow_evaluator(PROBLEMS, ScriptedModel(flighty), verifier, settings.search, seed=2), propose, settings.search, seed=4)
    assert len(tree) == 3 and propose.calls == 4 and all(n.refused == {"unparsed": 2, "by chance": 1} for n in tree.nodes[1:])
    assert Store(tmp_path / "s").state()["calls"] >= propose.calls


def test_a_workflow_sees_no_hidden_test(verifier):
    asked = []
    model = ScriptedModel(lambda chat, seed: (asked.append(json.dumps(chat)), flighty(chat, seed))[1])
    rows = compare_workflows({"base": SINGLE_SHOT, "many": best_of_n(4)}, PROBLEMS, model, verifier, Search(calls=4), seed=1)
    hidden = [t for p in PROBLEMS for t in p.tests if t not in p.spec["shown"]]
    assert hidden and not any(json.dumps(t)[1:-1] in a for t in hidden for a in asked)
    assert sum(r["clean"] for r in rows if r["model"] == "many") > sum(r["clean"] for r in rows if r["model"] == "base")


def test_a_proposer_is_told_nothing_of_hidden_tests(tmp_path, verifier):
    "A program that raises or prints its arguments writes hidden ones into the judge's log; what a proposer is shown holds none of them, and no path of this machine."
    loud = lambda chat, seed: (lambda p: f"```python\ndef {p.entry_point}(*a):\n    print('got', a)\n    raise ValueError(f'called with {{a}}')\n```")(next(p for p in PROBLEMS if f" {p.entry_point}(" in chat[1]["content"]))
    tree = search(tmp_path, workflow_evaluator(PROBLEMS, ScriptedModel(loud), verifier, Search(calls=2), seed=0), cfg=Search(rounds=0, calls=2, confirm=0), seed=0)
    told = edit_messages(tree.root, tree, {p.id: p for p in PROBLEMS})[1]["content"]
    assert "It failed here" in told and "runtime error" in told and "called with (" not in told.replace("called with {a}", "") and "/sandbox/" not in told


# ------------------------------------------------------------------ the loop as a run

@pytest.mark.slow
def test_system_d_from_search_to_held_out_problems(tmp_path):
    "Search, train, search again, evaluate, as one run; said again, nothing is done twice; the policy says what it was made from."
    from smoke_run import steps_after
    from grpo_lab.student import tiny_model
    tiny_model(tmp_path / "tiny")
    sets = [f"student.model={tmp_path / 'tiny'}", f"outputs={tmp_path}", "sandbox.workers=1", "search.rounds=2", "search.weight_calls=0.5", "evaluate.problems=2", "search.max_completion_length=12"]
    run = ["run", "--profile", "workflows-smoke", "--run-id", "d", "--json", *[a for s in sets for a in ("--set", s)]]
    first = steps_after(tmp_path / "d", *run)
    assert {k: s["state"] for k, s in first.items()} == dict.fromkeys(("1_search_1", "2_policy_1", "1_search_2", "4_evaluate"), "done")
    assert first["2_policy_1"]["inputs"][0] == "searches/1_search_1" and "models/2_policy_1/merged" in first["2_policy_1"]["outputs"] and "models/2_policy_1/merged" in first["1_search_2"]["inputs"]
    assert set(first["4_evaluate"]["inputs"]) >= {"searches/1_search_1", "searches/1_search_2"} and first["1_search_1"]["metrics"]["workflows"] == 3
    again = steps_after(tmp_path / "d", *run)
    assert again == first, "nothing is done twice"
    redone = steps_after(tmp_path / "d", "resume", str(tmp_path / "d"), "--redo", "1_search_2")
    same = lambda s: {k: v for k, v in s["metrics"].items() if k != "seconds"}
    assert [s["attempts"] for s in redone.values()] == [1, 1, 2, 2] and same(redone["1_search_2"]) == same(first["1_search_2"])
