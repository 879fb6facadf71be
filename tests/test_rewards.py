"""Reward functions in plain TRL, and time measured in the sandbox."""
import pytest

from grpo_lab.config import Settings
from grpo_lab.records import Verdict
from grpo_lab.rewards import REWARD_FUNCS, Answer, RewardFunctions, VerifiedReward, task_rewards
from grpo_lab.sandbox import strength
from grpo_lab.tasks import code_messages, load_problems
from grpo_lab.verify import open_verifier

STARTER = {p.id: p for p in load_problems("starter")}


class Counting:
    "A verifier that counts; an answer is right when it has an even number of characters."
    def __init__(self): self.asked = 0

    def verify(self, items):
        self.asked += 1
        return [Verdict(status="no_code") if code is None else Verdict(status="ok", passed=4 - len(code) % 2, total=4) for _, code in items]

    def slowdown(self, items): return [1.0 for _ in items]


@pytest.mark.filterwarnings("ignore")
def test_every_function_in_plain_trl(tmp_path, monkeypatch):
    "Two optimiser steps of trl.GRPOTrainer itself, with all functions that judge code: verified once a batch, logged by name, weighted."
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer
    from grpo_lab import rewards as module
    from grpo_lab.student import tiny_model
    monkeypatch.setattr(module, "extract_code", lambda text, *_: text)        # a random model writes no fences: any text is a program here
    names = [n for n in REWARD_FUNCS if n != "drc_lvs"]; weights = [0.5 * i for i in range(1, len(names) + 1)]
    problems, verifier = [STARTER["add_numbers"], STARTER["square"]], Counting()
    functions = RewardFunctions(problems, verifier, names, weights, max_completion_length=16)
    folder = tiny_model(tmp_path / "model"); tok = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder); before = [p.clone() for p in model.parameters()]
    args = GRPOConfig(output_dir=str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=4, num_generations=4, max_completion_length=16, reward_weights=weights,
                      learning_rate=1e-3, logging_steps=1, report_to=[], save_strategy="no", bf16=False, disable_tqdm=True, use_cpu=True, seed=0)
    data = Dataset.from_list([{"prompt": code_messages(p), "problem_id": p.id} for p in problems * 2])
    trainer = GRPOTrainer(model, functions, args, train_dataset=data, processing_class=tok)
    trainer.train()
    assert verifier.asked == 2                                                 # not once a function
    logs = [h for h in trainer.state.log_history if "reward" in h]
    assert len(logs) == 2 and all(f"rewards/{n}/mean" in logs[0] for n in names)
    rows = list(functions.rows())
    assert len(rows) == 4 and abs(sum(r for _, r, _ in rows) / 4 - logs[-1]["reward"]) < 1e-5        # the ledger's reward is the one TRL trained on
    assert set(rows[0][2]) == {f"reward/{n}" for n in names} and any(not torch.equal(a, b) for a, b in zip(before, model.parameters()))


class Layouts:
    "A verifier of layouts: the length of a program decides how many errors it has."
    def verify(self, items):
        return [Verdict(status="no_code") if code is None else Verdict(status="ok", drc_errors=len(code) % 5, lvs_errors=len(code) % 3, devices=2) for _, code in items]


@pytest.mark.filterwarnings("ignore")
def test_drc_and_lvs_in_plain_trl(tmp_path, monkeypatch):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer
    from grpo_lab import circuits, rewards as module
    from grpo_lab.student import tiny_model
    monkeypatch.setattr(module, "extract_code", lambda text, *_: text)
    problems = circuits.load_problems("train")[:2]; functions = RewardFunctions(problems, Layouts(), ["drc_lvs"], [1.0], max_completion_length=16)
    folder = tiny_model(tmp_path / "model", layers=1)
    args = GRPOConfig(output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, num_generations=4, max_completion_length=16, logging_steps=1, report_to=[], save_strategy="no", bf16=False, disable_tqdm=True, use_cpu=True, seed=0)
    data = Dataset.from_list([{"prompt": circuits.prompt_messages(p), "problem_id": p.id} for p in problems])
    trainer = GRPOTrainer(AutoModelForCausalLM.from_pretrained(folder), functions, args, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left")); trainer.train()
    rows = list(functions.rows()); want = [REWARD_FUNCS["drc_lvs"](a) for a, *_ in rows]
    assert [r for _, r, _ in rows] == want and len(set(want)) > 1 and trainer.state.log_history[0]["rewards/drc_lvs/mean"] == pytest.approx(sum(want) / len(want), abs=1e-5)


def test_functions_of_a_run():
    cfg = Settings(task="starter", grpo={"rewards": ["syntax", "tests_scaled"], "reward_weights": [0.2, 1.0], "max_completion_length": 100})
    functions = task_rewards(cfg, list(STARTER.values()), Counting())
    assert [f.__name__ for f in functions] == ["syntax", "tests_scaled"] and functions.weights == [0.2, 1.0] and functions.batch.limits == (100, 20)
    assert [f.__name__ for f in task_rewards(Settings(), [], Counting())] == ["drc_lvs"] and [f.__name__ for f in task_rewards(Settings(task="mbpp"), [], Counting())] == ["tests_partial"]


def test_an_example_of_use_after_the_program_does_not_hide_it():
    p = STARTER["square"]
    text = "Here it is:\n```python\ndef square(n):\n    return n * n\n```\nUse it like this:\n```python\nprint(square(4))\n```"
    one = VerifiedReward([p], Counting(), "syntax"); one(["?"], [text], problem_id=[p.id])
    assert one.batch.answers[0].code == "def square(n):\n    return n * n"


def test_time_is_measured_against_the_reference():
    "The order of programs by work done, never a time: the reference, one that does ten thousand times as much, one that remembers, one that never ends."
    p = STARTER["is_prime"]
    naive = "def is_prime(n):\n    return n > 1 and all([n % d for d in range(2, n)])"
    remembers = "seen = {}\ndef is_prime(n):\n    if n not in seen:\n        seen[n] = n > 1 and all([n % d for d in range(2, n)])\n    return seen[n]"
    endless = "def is_prime(n):\n    while n > 1000: pass\n    return n > 1 and all(n % d for d in range(2, n))"
    cfg = Settings(task="starter", sandbox={"workers": 1, "seconds": 3, "strength": strength().level})
    with open_verifier(cfg) as v:
        assert all(r.clean for r in v.verify([(p, c) for c in (p.reference, naive, remembers, endless)]))        # all right, on small numbers
        got = v.slowdown([(p, c) for c in (p.reference, naive, remembers, endless)], repeats=3)
        score = [REWARD_FUNCS["performance"](Answer(p, c, c, Verdict(status="ok", passed=4, total=4), slowdown=s)) for c, s in zip("abcd", got)]
        assert score[0] > 0.5 and score[1:] == [0, 0, 0] and got[3] == float("inf"), got
        assert v.slowdown([(p, naive)]) == [got[1]]                                                              # kept
