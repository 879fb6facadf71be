"""Workflows that nobody has looked at: none breaks the run, none sees a hidden test, and each comes out the same in whatever company."""
import ast
import random
import re
import time

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from faulty_server import FaultyServer
from grpo_lab.config import Settings, Teacher
from grpo_lab.endpoint import TeacherError
from grpo_lab.operators import (CallBudget, EndpointModel, Flow, LocalModel, Memo, ModelAnswer, ScriptedModel, WorkflowModel, _Live, execute, execute_pairs,
                                score_runs, shown_problem, shown_tests)
from grpo_lab.records import Verdict
from grpo_lab.sandbox import strength
from grpo_lab.student import SMOLLM2, cache_dir, load_model, load_tokenizer
from grpo_lab.tasks import load_problems, messages
from grpo_lab.verify import open_verifier
from grpo_lab.workflows import (SINGLE_SHOT, STEPS, CustomCodeGenerate, Format, If, Loop, Programmer, Review, Revise, ScEnsemble, Test, Workflow, apply_edit,
                                best_of_n, from_python, random_edit, random_workflow, to_python, walk)

SETTINGS = Settings(task="starter", sandbox={"workers": 2, "seconds": 1.0, "strength": strength().level})
PROBLEMS = [p for p in load_problems("starter") if p.id in ("add_numbers", "cube", "half", "remainder")]
REFERENCES = {p.prompt: p.reference for p in PROBLEMS}


@pytest.fixture(scope="module")
def judge():
    with open_verifier(SETTINGS) as v: yield v


def erratic(chat, seed):
    "Right, wrong, or one of the many other things that a model writes, by seed."
    rng = random.Random(seed)
    good = next(code for prompt, code in REFERENCES.items() if chat[1]["content"].startswith(prompt.rstrip("\n")))
    name = ast.parse(good).body[-1].name
    kind = rng.choice(["right"] * 6 + ["wrong"] * 4 + ["cut", "prose", "empty", "crash", "exit", "fork", "other name", "noise", "letter", "example", "deep", "huge", "tabs", "class", "endless"])
    code = {"right": good, "wrong": good.replace("return ", "return 7 + "), "cut": good[:-5] + " (", "crash": f"raise ValueError('{name}')", "exit": "import os\nos._exit(0)",
            "fork": f"import os\ndef {name}(*a): return os.fork()", "other name": good.replace(name, "solution"), "example": good + f"\nprint({name})\nassert {name} is None",
            "deep": f"def {name}(*a): return " + "(" * 300 + "1" + ")" * 300, "huge": f"def {name}(*a): return 'x' * 10**7", "tabs": f"def {name}(*a):\n\tif a:\n        return 1",
            "class": f"class {name}:\n    def __eq__(self, o): return True\n    def __init__(self, *a): pass", "endless": f"def {name}(*a):\n    while True: pass"}.get(kind)
    if kind == "endless" and rng.random() < 0.9: code = good          # each costs a second
    plain = {"prose": "I would add the two numbers.", "empty": "", "letter": rng.choice("ABCXYZ"), "noise": "".join(chr(rng.randint(0, 0x2FFF)) for _ in range(200))}
    return plain[kind] if code is None else f"Sure!\n```python\n{code}\n```" if rng.random() < 0.8 else code


def spoilt(workflow, rng):
    "The workflow as somebody might hand it over: data, JSON or print, now and then broken."
    form = rng.choice([workflow, workflow.model_dump(), workflow.model_dump_json(), to_python(workflow)])
    if rng.random() < 0.85: return form
    if isinstance(form, dict): form = {"steps": [*form["steps"], rng.choice([{"op": "Launch"}, {"op": "Loop", "times": 10**6, "body": [{"op": "Test"}]}, 5, None, {"op": ["Test"]}])]}
    elif isinstance(form, str): cut = rng.randrange(len(form)); form = form[:cut] + rng.choice(["", "\x00", "while True: pass", "(" * 999]) + form[cut:][rng.randrange(3):]
    else: form = rng.choice([None, 7, [], "", object(), Workflow.model_construct(steps=(Loop.model_construct(times=10**9, until=None, body=(Test(),)),))])
    return form


class Watched(ScriptedModel):
    "Remembers every prompt."
    def __init__(self, answer): super().__init__(answer); self.prompts = []
    def generate(self, requests, *how): self.prompts += requests; return super().generate(requests, *how)


def run_many(judge, n, steps):
    "Run n random workflows, some of them broken, and judge what they return."
    rng, budget = random.Random(n), CallBudget(calls=6, tokens=400)
    pairs = [(spoilt(random_workflow(seed, steps), rng), PROBLEMS[seed % len(PROBLEMS)]) for seed in range(n)]
    model = Watched(erratic); runs = execute_pairs(pairs, model, judge, budget, seed=list(range(n)))
    verdicts = score_runs(runs, PROBLEMS, judge)
    assert [r.problem_id for r in runs] == [p.id for _, p in pairs] and len(verdicts) == n
    for r, v in zip(runs, verdicts):
        assert r.calls <= budget.calls and (r.code is None) <= (v.status == "no_code") and (r.status != "ok" or r.code)
        assert bool(r.error) == (r.status in ("error", "budget")) and not (r.status == "error" and r.code)
        assert (r.status == "error") == (r.workflow_id == ""), f"only what cannot be read is an error: {r.error}"
        assert not (v.clean and r.passed_shown is False), "what passes every test passes the shown one"
    assert len(model.batches) <= budget.calls * 2, "what waits is asked together"
    return pairs, model, runs, verdicts


def test_a_thousand_random_workflows_break_nothing(judge):
    pairs, model, runs, verdicts = run_many(judge, 1000, steps=12)
    count = {s: sum(r.status == s for r in runs) for s in ("ok", "nothing", "error", "budget")}
    print(count, "solved", sum(v.clean for v in verdicts), "prompts", len(model.prompts), "batches", len(model.batches))
    assert min(count.values()) > 50 and sum(count.values()) == 1000 and 200 < sum(v.clean for v in verdicts) < 800
    check_prompts(model)


# ------------------------------------------------------------------ hidden tests

def hidden(problem):
    "What no prompt may hold: hidden asserts, and the calls in them."
    shown = shown_tests(problem)
    return [t for a in problem.tests if a not in shown for t in (a, a.removeprefix("assert ").split(" == ")[0])]


def strings(x):
    "Every text in plain data, one below the other."
    if isinstance(x, dict): return "\n".join(map(strings, [*x, *x.values()]))
    return "\n".join(map(strings, x)) if isinstance(x, (list, tuple)) else str(x)


def check_prompts(model):
    "No prompt holds a hidden test; the shown ones are there, so that looking for them proves something."
    text = "\n".join(m["content"] for chat in model.prompts for m in chat)
    assert model.prompts and all(shown_tests(p)[0] in text for p in PROBLEMS)
    assert sum(len(hidden(p)) for p in PROBLEMS) >= 24
    assert not [t for p in PROBLEMS for t in hidden(p) if t in text]


def test_what_the_sandbox_says_while_a_workflow_runs_comes_from_the_shown_test_only(judge):
    asked = []

    class Spy:
        def verify(self, items): asked.extend(items); return judge.verify(items)
    wrong = lambda chat, seed: "```python\n" + next(c for p, c in REFERENCES.items() if chat[1]["content"].startswith(p.rstrip("\n"))).replace("return ", f"return {seed} + ") + "```"
    every = Workflow(steps=[Programmer(), Test(), Review(instruction="Why?"), Revise(), Test(), CustomCodeGenerate(), Test(), ScEnsemble(by="model"), Format(), Revise()])
    model = Watched(wrong); runs = execute(every, PROBLEMS, model, Spy(), CallBudget(calls=20))
    assert all(r.status == "ok" and any("It fails" in line for line in r.log) for r in runs)
    for problem, _ in asked: assert problem.tests == problem.tests[:1] and problem.reference == "" and not [t for p in PROBLEMS for t in hidden(p) if t in strings(problem.model_dump())]
    check_prompts(model)
    assert any("It fails" in m["content"] for chat in model.prompts for m in chat), "the shown failure is told"
    assert not [t for r in runs for p in PROBLEMS for t in hidden(p) if t in strings(r.model_dump())]


def test_nothing_that_a_flow_holds_leads_to_a_hidden_test():
    for p in load_problems("starter"):
        seen = strings([shown_problem(p).model_dump(), {k: v for k, v in vars(Flow(p, CallBudget())).items() if k != "problem"}])
        timed = p.spec.get("timed", [])
        assert not [t for t in [*p.tests, *timed] if t not in p.prompt and t in seen] and p.reference.strip() not in seen and p.prompt in seen
        assert shown_tests(p) == p.tests[:1]


# ------------------------------------------------------------------ what a workflow does

class Pretend:
    "A verifier without a sandbox: programs with an even number of characters pass."
    def verify(self, items): return [Verdict(status="ok" if len(c) % 3 else "runtime_error", passed=int(len(c) % 2 == 0), total=1, log="odd") for _, c in items]


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 14))
def test_the_printed_python_does_what_the_data_says(seed, steps):
    w, p = random_workflow(seed, steps), PROBLEMS[seed % 4]
    say = lambda chat, s: erratic(chat, s + seed)
    by_data = execute_pairs([(w, p)], ScriptedModel(say), Pretend(), CallBudget(calls=500, tokens=10**6))[0]
    space = {}; exec(compile(to_python(w), "<printed>", "exec"), space)           # printed by us, from data
    flow = Flow(p, CallBudget(calls=500, tokens=10**6)); coro, value, waits = space["workflow"](flow), None, None
    try:
        while True:
            waits = coro.send(value)
            if waits.kind == "test": value = Pretend().verify([(p, waits.what)])[0]
            else:
                from grpo_lab.operators import call_seed
                text = say(waits.what, call_seed(0, p.id, flow.calls)); value = ModelAnswer(text, 1 + len(text) // 4)
    except StopIteration as end: returned = end.value
    if by_data.status == "budget": return                                          # more than the driver's limit of steps
    assert (by_data.code, by_data.calls, by_data.tokens, by_data.log) == (returned, flow.calls, flow.tokens, flow.log[:100])


def test_the_same_seed_gives_the_same_in_whatever_company(judge):
    pairs = [(random_workflow(s), PROBLEMS[s % 4]) for s in range(40)]; plain = lambda runs: [r.model_copy(update={"seconds": 0.0}) for r in runs]
    once = plain(execute_pairs(pairs, ScriptedModel(erratic), judge)); order = random.Random(0).sample(range(40), 40)
    shuffled = plain(execute_pairs([pairs[i] for i in order], ScriptedModel(erratic), judge))
    assert [shuffled[order.index(i)] for i in range(40)] == once
    assert [plain(execute_pairs([pair], ScriptedModel(erratic), judge))[0] for pair in pairs] == once
    other = execute_pairs(pairs, ScriptedModel(erratic), judge, seed=1)
    assert [r.code for r in other] != [r.code for r in once] and {r.seed for r in other} == {1}
    each = execute_pairs(pairs, ScriptedModel(erratic), judge, seed=[i % 2 for i in range(40)])
    assert plain(each) == [(plain(other) if i % 2 else once)[i] for i in range(40)], "a seed of its own for each pair"


def test_parent_and_child_begin_with_the_same_answers(judge):
    parent, memo, model = Workflow(steps=[CustomCodeGenerate(), Test()]), Memo(), Watched(erratic)
    child = Workflow(steps=[*parent.steps, If(condition="failed", body=[Revise()])])
    a = execute(parent, PROBLEMS, model, judge, memo=memo); first = len(model.prompts); b = execute(child, PROBLEMS, model, judge, memo=memo)
    assert first == 4 and all(len(chat) == 4 for chat in model.prompts[4:]), "only what the child adds is asked"
    assert all(y.code == x.code and y.calls == 1 for x, y in zip(a, b) if x.passed_shown)


def test_every_call_has_a_seed_of_its_own():
    seen = []
    w = Workflow(steps=[Loop(times=4, body=[CustomCodeGenerate()])])
    execute(w, PROBLEMS, ScriptedModel(lambda chat, seed: seen.append((chat[1]["content"], seed)) or ""), Pretend())
    assert len(seen) == len(set(seen)) == len({seed for _, seed in seen}) == 16


def test_loops_that_call_nobody_end_too():
    w = Workflow(steps=[Loop(times=8, body=[Loop(times=8, body=[Loop(times=8, body=[Test()])])])])
    run = execute(w, PROBLEMS[:1], ScriptedModel(erratic), Pretend())[0]
    assert run.status == "budget" and "steps" in run.error and run.calls == 0


def test_a_step_that_is_none_is_that_workflows_error():
    class Odd: op = "Launch"
    live = _Live(Flow(PROBLEMS[0], CallBudget()), SINGLE_SHOT); live.coro.close()
    from grpo_lab.operators import interpret
    live.coro = interpret(live.flow, [Odd()]); live.go_on()
    assert live.status == "error" and "Launch" in live.error and live.result("x", 0).code is None


def test_votes():
    flow = Flow(PROBLEMS[0], CallBudget()); a, b, b2, c = "def f(): return 1", "def f(): return 2", "def f():\n    # two\n    return 2", "def f(): return 3"
    flow.candidates = [a, b, c, b2]; assert flow.vote() == b
    flow.verdicts = {b: Verdict(status="ok", passed=0, total=1), b2: Verdict(status="ok", passed=0, total=1)}; assert flow.vote() == a
    flow.verdicts[c] = Verdict(status="ok", passed=1, total=1); assert flow.vote() == c


def test_a_model_may_choose_and_its_letter_counts(judge):
    good, bad = PROBLEMS[0].reference, "def add_numbers(a, b): return 0"
    say = lambda chat, s: (re.search(r"([AB]):\n```python\ndef add_numbers\(a, b\):\n", chat[-1]["content"])[1] if "Which one is right" in chat[-1]["content"]
                           else f"```python\n{bad if 'first' in chat[-1]['content'] else good}\n```")
    w = Workflow(steps=[CustomCodeGenerate(instruction="first"), CustomCodeGenerate(), CustomCodeGenerate(instruction="first again"), ScEnsemble(by="model")])
    run = execute(w, PROBLEMS[:1], ScriptedModel(say), judge)[0]
    assert run.calls == 4 and run.code.strip() == good.strip()
    vote = w.model_copy(update={"steps": (*w.steps[:-1], ScEnsemble())}); assert execute(vote, PROBLEMS[:1], ScriptedModel(say), judge)[0].code == bad


def test_best_of_n_stops_at_the_first_that_passes(judge):
    for seed in range(6):
        runs = execute(best_of_n(5), PROBLEMS, ScriptedModel(erratic), judge, seed=seed)
        one = execute(SINGLE_SHOT, PROBLEMS, ScriptedModel(erratic), judge, seed=seed)
        for r, s in zip(runs, one):
            assert r.passed_shown or r.calls == 5 and r.passed_shown is not True
            assert r.calls > 1 or r.code == s.code


def test_seconds_end_a_step_that_calls_several_times(judge):
    class Slow(ScriptedModel):
        def generate(self, *how): time.sleep(0.15); return super().generate(*how)
    crash = Slow(lambda chat, seed: "```python\nraise ValueError\n```")
    run = execute_pairs([(Workflow(steps=[Programmer(attempts=3)]), PROBLEMS[0])], crash, judge, CallBudget(calls=9, seconds=0.1))[0]
    assert (run.calls, run.status) == (1, "budget") and "of 0.1 s" in run.error


def test_asking_whether_it_passes_tests_it(judge):
    bare, mended = Workflow(steps=[Loop(times=5, until="passed", body=[CustomCodeGenerate()])]), Workflow(steps=[CustomCodeGenerate(), If(condition="failed", body=[Revise()])])
    for seed in range(6):
        run = lambda w: execute(w, PROBLEMS, ScriptedModel(erratic), judge, seed=seed)
        assert [(r.code, r.calls) for r in run(bare)] == [(r.code, r.calls) for r in run(best_of_n(5))]
        assert [r.calls for r in run(mended)] == [r.calls for r in run(Workflow(steps=[CustomCodeGenerate(), Test(), If(condition="failed", body=[Revise()])]))]
    asked = Watched(erratic); execute(mended, PROBLEMS, asked, judge)
    assert any("It fails" in chat[-1]["content"] for chat in asked.prompts), "who mends is told what the test found"


# ------------------------------------------------------------------ what goes wrong around a workflow

def test_a_shown_test_that_is_no_python_is_that_problems_error(judge):
    broken = PROBLEMS[0].model_copy(update={"id": "broken", "spec": {**PROBLEMS[0].spec, "shown": ["assert add_numbers(("]}})
    runs = execute(best_of_n(2), [broken, *PROBLEMS], ScriptedModel(erratic), judge, seed=3)
    assert runs[0].status == "error" and "no Python" in runs[0].error and not any(r.status == "error" for r in runs[1:])


def test_what_a_model_cannot_answer_is_not_kept(judge):
    class Moody(WorkflowModel):
        name, times = "moody", 0
        def generate(self, requests, temperature, max_completion_length, seeds):
            self.times += 1
            return [ModelAnswer("", error="busy") if self.times == 1 and i == 1 else ModelAnswer(erratic(c, 5), 9) for i, c in enumerate(requests)]
    model, memo = Moody(), Memo(); first = execute(SINGLE_SHOT, PROBLEMS, model, judge, memo=memo); again = execute(SINGLE_SHOT, PROBLEMS, model, judge, memo=memo)
    assert [r.status for r in first] == ["ok", "error", "ok", "ok"] and "busy" in first[1].error and first[1].calls == 1
    assert all(r.status == "ok" for r in again) and model.times == 2
    assert [a == b for a, b in zip(first, again)] == [True, False, True, True]

    class Short(WorkflowModel):
        def generate(self, requests, *how): return []
    with pytest.raises(RuntimeError, match="0 answers to 4 requests"): execute(SINGLE_SHOT, PROBLEMS, Short(), judge)
    with pytest.raises(ValueError, match="2 seeds for 4 pairs"): execute_pairs([(SINGLE_SHOT, p) for p in PROBLEMS], model, judge, seed=[1, 2])


def test_workflows_over_a_real_server(judge, monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_TEST_KEY", "sk-test")
    cfg = lambda url: Teacher(kind="endpoint", base_url=url, model="faulty", api_key_env="LAB_TEST_KEY", backoff=0.01, max_backoff=0.05, max_retries=3)
    with FaultyServer(lambda body, n: "503" if n == 0 else None, answer=lambda body: erratic(body["messages"], body["seed"])) as server:
        runs = execute(best_of_n(3), PROBLEMS, EndpointModel(cfg(server.url), tmp_path / "j.jsonl"), judge, temperature=0.7, max_completion_length=50)
        seen = len(server.seen); bodies = [s[-1] for s in server.seen]
        assert execute(best_of_n(3), PROBLEMS, EndpointModel(cfg(server.url), tmp_path / "j.jsonl"), judge, temperature=0.7, max_completion_length=50) is not None and len(server.seen) == seen
    plain = execute(best_of_n(3), PROBLEMS, ScriptedModel(erratic), judge)
    assert [(r.code, r.calls, r.status) for r in runs] == [(r.code, r.calls, r.status) for r in plain]
    assert all(b["temperature"] == 0.7 and b["max_tokens"] == 50 for b in bodies) and len({b["seed"] for b in bodies}) == len(bodies) // 2
    with pytest.raises(TeacherError): execute(SINGLE_SHOT, PROBLEMS, EndpointModel(cfg("http://127.0.0.1:9/v1")), judge)


# ------------------------------------------------------------------ the data

@pytest.mark.parametrize("seed", range(3))
def test_walks_of_random_edits_stay_inside_the_grammar(seed):
    w, seen = SINGLE_SHOT, set()
    for i in range(150):
        w = apply_edit(w, random_edit(w, 1000 * seed + i)); seen |= {s.op for s in walk(w.steps)}
        assert from_python(to_python(w)) == w
    assert seen == set(STEPS)


@pytest.mark.skipif(not (cache_dir() / SMOLLM2.replace("/", "--") / "complete.json").exists(), reason="the student's weights are not in the cache")
def test_the_real_student_answers_as_in_the_rest_of_the_lab(judge):
    from grpo_lab.rollout import complete
    model, tok = load_model(SETTINGS), load_tokenizer(SETTINGS); two = PROBLEMS[:2]; how = dict(temperature=0.0, max_completion_length=40)
    tidied = Workflow(steps=[CustomCodeGenerate(), Format()])
    runs = execute_pairs([(w, p) for w in (SINGLE_SHOT, tidied) for p in two], LocalModel(model, tok, "smollm2"), judge, **how)
    plain = complete(model, tok, two, messages("starter"), **how)
    assert [(r.code, r.tokens, r.calls) for r in runs[:2]] == [(c.code, c.tokens, 1) for c in plain]
    assert [(r.tokens, r.calls) for r in runs[2:]] == [(r.tokens, r.calls) for r in runs[:2]], "one answer to one question"
    assert score_runs(runs, two, judge)[2].passed == 4, "cut off in an example of use, which Format drops"
