"""Coupled GRPO: it learns what is rewarded, compares models under the same masks, and every one of its settings does something."""
import copy
import os
import subprocess
import sys

import pytest
import torch

from grpo_lab.advantages import group_advantages
from grpo_lab.config import GRPO
from grpo_lab.coupled import coupled_grpo_trainer
from grpo_lab.grpo import grpo_config
from grpo_lab.masked_lm import masked_logps, tiny_masked_lm
from grpo_lab.oneliners import oneliner_tokenizer
from grpo_lab.student import quiet_libraries

PROMPTS, GROUP, CANVAS = 2, 4, 8
WANTED = "sorted"          # the word that is rewarded


def has_word(completions, **_):
    return [float(WANTED in c[-1]["content"].split()) for c in completions]


def parity(completion_ids, **_):
    "A reward that differs within a group."
    return [float(sum(i) % 2) for i in completion_ids]


@pytest.fixture(scope="module")
def tok():
    quiet_libraries()
    torch.set_num_threads(1)
    return oneliner_tokenizer()


def trainer(tok, out, rewards=(has_word,), args=(), model=None, steps=4, **how):
    "A trainer on a tiny random model; the same arguments give the same trainer."
    from datasets import Dataset
    cfg = {"num_iterations": 2, "micro_batch_size": 4, "learning_rate": 5e-3, **dict(args)}
    mine = {k: cfg.pop(k) for k in list(cfg) if k not in GRPO.model_fields}
    config = grpo_config(GRPO(max_steps=steps, prompts_per_step=PROMPTS, num_generations=GROUP, max_completion_length=CANVAS, max_grad_norm=1e6, **cfg), out, 0)
    for k, v in mine.items():
        setattr(config, k, v)
    data = Dataset.from_list([{"prompt": [{"role": "user", "content": f"the sum of the elements plus {2 + i % 2}"}], "problem_id": str(i)} for i in range(2 * PROMPTS * steps)])
    t = coupled_grpo_trainer()(model or tiny_masked_lm(tok, 32, 2), list(rewards), config, train_dataset=data, processing_class=tok, sampler="generate", **how)
    for c in [c for c in t.callback_handler.callbacks if type(c).__name__ in ("PrinterCallback", "ProgressCallback")]:
        t.remove_callback(c)
    return t


@pytest.fixture
def make(tok, tmp_path):
    return lambda *args, **how: trainer(tok, tmp_path / "out", *args, **how)


def rollout(trainer, **more):
    "The first rollout of a trainer, as its updates get it."
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    return trainer._generate_and_score_completions(batch)


def updates(trainer):
    "What TRL's loss was given at each micro-batch of a training run, and the log-probabilities it asked for."
    from trl import GRPOTrainer
    seen, original = [], GRPOTrainer._compute_loss

    def spy(self, model, inputs):
        loss = original(self, model, inputs)
        seen.append({"n": self.inner_iteration(), "inputs": inputs, "using": self._using, "loss": loss.detach()})
        return loss
    GRPOTrainer._compute_loss = spy
    try:
        trainer.train()
    finally:
        GRPOTrainer._compute_loss = original
    return seen


def policy_logps(t, model, batch, n):
    "What the trainer would find for the policy in inner iteration n."
    t._using = batch["masks"][:, n], batch["mask_weights"][:, n]
    ids, mask = (torch.cat([batch[f"prompt_{k}"], batch[f"completion_{k}"]], 1) for k in ("ids", "mask"))
    try:
        with torch.no_grad():
            return t._get_per_token_logps_and_entropies(model, ids, mask, batch["completion_ids"].shape[1])[0]
    finally:
        t._using = None


def weights(t):
    return torch.cat([p.detach().flatten() for p in t.model.parameters() if p.requires_grad])


def test_it_learns_what_is_rewarded(make):
    t = make(steps=12, args={"learning_rate": 1e-3, "num_iterations": 1})
    start = copy.deepcopy(t.model)
    t.train()
    rewards = [h["reward"] for h in t.state.log_history if "reward" in h]
    assert sum(rewards[-3:]) / 3 > rewards[0] + 0.4, rewards
    assert not torch.equal(weights(t), torch.cat([p.detach().flatten() for p in start.parameters()]))


def test_one_step_raises_the_rewarded_and_lowers_the_other(make):
    t = make(rewards=(parity,), steps=1, args={"num_iterations": 1, "learning_rate": 1e-3})
    before = copy.deepcopy(t.model)
    seen = updates(t)
    up, down = [], []
    for m in seen:                  # rows whose advantage is 0 are not among them
        b = {k: v for k, v in m["inputs"].items()}
        change = (policy_logps(t, t.model, b, 0) - policy_logps(t, before, b, 0)).sum(1)
        up += change[b["advantages"] > 0].tolist()
        down += change[b["advantages"] < 0].tolist()
    assert up and down and sum(up) / len(up) > 0 > sum(down) / len(down)


def test_masks_differ_between_inner_iterations_and_agree_between_old_and_new(make):
    t = make(args={"beta": 0.01, "learning_rate": 1e-12})          # the policy stays what it was
    batch = rollout(t)
    assert batch["masks"].shape[:3] == (PROMPTS * GROUP, 2, 3) and not torch.equal(batch["masks"][:, 0], batch["masks"][:, 1])
    on = batch["completion_mask"].bool()
    for n in (0, 1):
        now = policy_logps(t, t.model, batch, n)
        for name in ("old_per_token_logps", "ref_per_token_logps"):
            if (name[:3], n) != ("old", 0):              # those are the policy's own
                assert torch.allclose(now[on], batch[name][:, n][on], atol=1e-5)
    assert not torch.allclose(batch["ref_per_token_logps"][:, 0][on], batch["ref_per_token_logps"][:, 1][on], atol=1e-2)


def test_the_first_ratio_is_one_and_masks_follow_the_inner_iteration(make):
    t = make(args={"beta": 0.01}, steps=4)
    seen = updates(t)
    assert [m["n"] for m in seen] == [0, 0, 1, 1] * 2              # two micro-batches an optimiser step, two steps a rollout
    assert all(("old_per_token_logps" in m["inputs"]) == (m["n"] == 1) for m in seen), "without old ones TRL takes the policy's own: ratio exactly 1"
    logs = [h for h in t.state.log_history if "kl" in h]
    assert logs[0]["clip_ratio/region_mean"] == 0 == logs[2]["clip_ratio/region_mean"]
    for m in seen:
        assert torch.equal(m["using"][0], m["inputs"]["masks"][:, m["n"]])


def test_the_score_is_the_papers_formula(make, tok):
    "Against the three passes written out, with the model's own log-probabilities."
    t = make(args={"num_iterations": 1})
    batch = rollout(t)
    hidden, w = batch["masks"][:, 0], batch["mask_weights"][:, 0]
    got = policy_logps(t, t.model, batch, 0)
    prompt, length = batch["prompt_ids"].shape[1], batch["completion_ids"].shape[1]
    row, t1 = 0, float(1 / (2 * w[0, 1]))
    n = int(batch["completion_mask"][row].sum())
    canvas = batch["completion_ids"][row, :n].tolist() + [tok.eos_token_id] * (CANVAS - n)
    ids = torch.tensor([batch["prompt_ids"][row].tolist() + canvas])
    seen = torch.cat([batch["prompt_mask"][row:row + 1], torch.ones(1, CANVAS, dtype=torch.long)], 1)
    full, m, mc = hidden[row, :, :].bool()
    assert full[prompt:].all() and torch.equal(mc[prompt:], ~m[prompt:]) and not full[:prompt].any()
    with torch.no_grad():
        l = [masked_logps(t.model, ids.masked_fill(k, tok.mask_token_id), ids, k[None], seen)[0][0, prompt:] for k in (full, m, mc)]
    expected = (l[0] + torch.where(m[prompt:], l[1] / t1, l[2] / (1 - t1))) / 2
    assert torch.allclose(got[row, :n], expected[:n], atol=1e-5) and (got[row, n:length] == 0).all()


def test_one_micro_batch_or_two_give_the_same_gradient(make):
    found = []
    for micro in (8, 4):
        grads = []
        t = make(rewards=(parity,), steps=1, args={"micro_batch_size": micro, "num_iterations": 1, "beta": 0.05})
        from transformers import TrainerCallback

        class Keep(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, model=None, **_):
                grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        t.add_callback(Keep())
        t.train()
        found.append(grads[0])
    assert found[0].abs().max() > 1e-4 and torch.allclose(*found, atol=1e-6)


def test_answers_do_not_depend_on_the_masks(make):
    "Masks come from a generator of their own."
    answers = [rollout(make(**how))["completion_ids"] for how in ({}, {"mask_seed": 5}, {"estimator": "full"}, {"p_mask_prompt": 0.3})]
    assert all(torch.equal(answers[0], a) for a in answers[1:])


def test_settings_of_the_masks(make):
    plain = rollout(make())
    prompt = plain["prompt_ids"].shape[1]
    ratio = lambda b: 1 / (2 * b["mask_weights"][0, :, 1])                 # t of each inner iteration
    assert torch.equal(plain["masks"], rollout(make())["masks"]) and not torch.equal(plain["masks"], rollout(make(mask_seed=1))["masks"])
    assert not plain["masks"][..., :prompt].any() and rollout(make(p_mask_prompt=0.5))["masks"][..., :prompt].float().mean().sub(0.5).abs() < 0.1
    same = rollout(make(random_masking=False))
    assert torch.equal(same["masks"][:, 0], same["masks"][:, 1])
    assert ((ratio(rollout(make(mask_ratio=(0.5, 0.5)))) - 0.5).abs() < 1e-6).all() and ratio(plain).min() > 0.2
    assert rollout(make(estimator="full"))["masks"].shape[2] == 1
    both = rollout(make(estimator="decoupled"))["masks"][:, 0, 1:, prompt:].sum(1)
    assert set(both.unique().tolist()) == {0, 1, 2} and (plain["masks"][:, 0, 1:, prompt:].sum(1) == 1).all()
    assert rollout(make(args={"num_iterations": 3}))["masks"].shape[1] == 3


def test_hidden_prompts_change_the_scores(make):
    a, b = rollout(make()), rollout(make(p_mask_prompt=0.5))
    assert not torch.allclose(a["old_per_token_logps"][:, 1], b["old_per_token_logps"][:, 1], atol=1e-3)


@pytest.mark.parametrize("name, value", [("temperature", 0.2), ("top_p", 0.3), ("diffusion_steps", 2), ("block_length", 2), ("remasking", "random")])
def test_settings_of_decoding(make, name, value):
    how = {"args": {name: value}} if name in ("temperature", "top_p") else {"decoding": {name: value}}
    a, b = make(), make(**how)
    x, y = rollout(a)["completion_ids"], rollout(b)["completion_ids"]
    assert x.shape != y.shape or not torch.equal(x, y)
    if name == "diffusion_steps":
        assert b.tokens["sampled"] * 4 == a.tokens["sampled"]


def test_temperature_scales_the_scores_too(make):
    a, b = make(), make(args={"temperature": 0.5})
    batch = rollout(a)
    assert not torch.allclose(policy_logps(a, a.model, batch, 0), policy_logps(b, b.model.train(), batch, 0), atol=1e-2)


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages(make, baseline, scale):
    rewards = [1.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0]
    t = make(rewards=(lambda completions, **_: rewards,), args={"scale_rewards": scale}, baseline=baseline)
    want = group_advantages(torch.tensor(rewards), GROUP, scale=scale, baseline=baseline)
    assert torch.allclose(rollout(t)["advantages"], want, atol=1e-5)
    assert list(t._logs["advantages"]) == pytest.approx(want.tolist(), abs=1e-5)


def test_reward_weights(make):
    one, two = (lambda completions, **_: [1.0, 0.0] * 4), (lambda completions, **_: [0.0, 0.0, 0.0, 1.0] * 2)
    t = make(rewards=(one, two), args={"reward_weights": [0.5, 3.0], "scale_rewards": "none"})
    assert torch.allclose(rollout(t)["advantages"], group_advantages(torch.tensor([0.5, 0.0, 0.5, 3.0] * 2), GROUP, scale="none", baseline="leave_one_out"))


def clipped(make, **args):
    "Share of tokens clipped (low, high) in the second update of a rollout, after a large first one."
    t = make(rewards=(parity,), steps=2, args={"learning_rate": 2e-2, **args})
    t.train()
    return [[h[f"clip_ratio/{k}_mean"] for k in ("low", "high")] for h in t.state.log_history if "clip_ratio/low_mean" in h][1]


def test_clipping_low_and_high(make):
    tight, wide, high = clipped(make, epsilon=0.05), clipped(make, epsilon=0.99, epsilon_high=1e6), clipped(make, epsilon=0.05, epsilon_high=1e6)
    assert tight[0] > 0.02 and tight[1] > 0.02 and wide[0] < tight[0] and wide[1] == 0
    assert high[0] == tight[0] and high[1] == 0


def test_beta_holds_the_policy_back(make):
    def kl(beta):
        t = make(rewards=(parity,), steps=8, args={"beta": beta, "learning_rate": 1e-2})
        t.train()
        return [h["kl"] for h in t.state.log_history if "kl" in h]
    free, held = kl(1e-9), kl(2.0)
    assert abs(free[0]) < 1e-6 and min(free) > -1e-6 and held[-1] < 0.5 * free[-1]


def test_the_reference_is_a_model_of_its_own_and_follows_when_told_to(make):
    def gap(**args):
        t = make(rewards=(parity,), steps=4, args={"beta": 0.01, "learning_rate": 1e-2, **args})
        start = weights(t).clone()
        t.train()
        ref = torch.cat([p.flatten() for p in t.ref_model.parameters()])
        return start, ref, weights(t)
    start, ref, now = gap()
    assert torch.equal(start, ref) and not torch.equal(ref, now)
    start, ref, now = gap(sync_ref_model=True, ref_model_sync_steps=4, ref_model_mixup_alpha=1.0)
    assert torch.equal(ref, now)
    start, ref, now = gap(sync_ref_model=True, ref_model_sync_steps=4, ref_model_mixup_alpha=0.25)
    assert torch.allclose(ref, 0.75 * start + 0.25 * now, atol=1e-6)
    start, ref, now = gap(sync_ref_model=True, ref_model_sync_steps=5, ref_model_mixup_alpha=1.0)
    assert torch.equal(ref, start), "not yet"


def test_with_lora_the_reference_is_the_adapter_switched_off_or_a_second_one(make):
    from peft import LoraConfig
    lora = lambda: LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    t = make(rewards=(parity,), args={"beta": 0.01, "learning_rate": 1e-2}, peft_config=lora())
    t.train()
    kl = [h["kl"] for h in t.state.log_history if "kl" in h]
    assert abs(kl[0]) < 1e-6 < kl[-1] and t.ref_model is None and all(".default." in n for n, p in t.model.named_parameters() if p.requires_grad)
    t = make(rewards=(parity,), args={"beta": 0.01, "learning_rate": 1e-2, "sync_ref_model": True, "ref_model_sync_steps": 4, "ref_model_mixup_alpha": 1.0}, peft_config=lora())
    assert all(".default." in n for n, p in t.model.named_parameters() if p.requires_grad)
    t.train()
    named = dict(t.model.named_parameters())
    pairs = [(named[n.replace(".default.", ".ref.")], p) for n, p in named.items() if ".default." in n]
    assert pairs and all(torch.equal(a, b) for a, b in pairs)
    synced = [h["kl"] for h in t.state.log_history if "kl" in h]
    assert synced[:3] == pytest.approx(kl[:3], rel=0.1, abs=1e-7), "until the first sync both references are the same"


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("sync", [False, True])
def test_resumed_training_ends_where_an_unbroken_one_does(tok, tmp_path, lora, sync):
    from peft import LoraConfig
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == 3  # one step further than the checkpoint

    def begin(out, **more):
        moving = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.5} if sync else {}
        torch.manual_seed(0)
        return trainer(tok, tmp_path / out, (parity,), {"beta": 0.05, "learning_rate": 1e-2, "save_steps": 2, **moving, **more}, steps=6, **({"peft_config": LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")} if lora else {}))
    whole = begin("whole")
    whole.train()
    cut = begin("cut")
    cut.add_callback(Stop())
    cut.train()
    assert {p.name for p in (tmp_path / "cut").glob("checkpoint-*")} >= {"checkpoint-2"} and (tmp_path / "cut" / "checkpoint-2" / "reference.pt").exists() == (sync and not lora)
    again = begin("cut")
    again.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-2"))
    assert torch.allclose(weights(again), weights(whole), atol=1e-6) and again.tokens == whole.tokens
    everything = lambda t: torch.cat([p.detach().flatten() for p in (t.ref_model or t.model).parameters()])
    assert torch.allclose(everything(again), everything(whole), atol=1e-6), "the reference"
    kl = lambda t: [h["kl"] for h in t.state.log_history if "kl" in h]
    assert kl(again) == pytest.approx(kl(whole), abs=1e-6)


@pytest.mark.parametrize("how, words", [({"estimator": "x"}, "choose coupled"), ({"mask_ratio": (0.1, 0.5)}, "symmetric"), ({"baseline": "median"}, "leave_one_out"),
                                        ({"args": {"sync_ref_model": True}}, "beta above 0"), ({"args": {"entropy_coef": 0.1}}, "entropy_coef")])
def test_settings_that_cannot_work_are_refused_at_once(make, how, words):
    with pytest.raises(ValueError, match=words):
        make(**how)


def test_a_causal_model_is_refused(make, tmp_path):
    from transformers import AutoModelForCausalLM
    from grpo_lab.student import tiny_model
    with pytest.raises(ValueError, match="make_masked_lm"):
        make(model=AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "causal")))


@pytest.mark.slow
def test_system_c_as_a_run(tmp_path):
    "A model from nothing, GRPO under masks, held-out problems: three steps, one ledger; said again, nothing is done twice."
    from grpo_lab.ledger import Ledger
    from smoke_run import steps_after
    run = ["run", "--profile", "diffusion-smoke", "--run-id", "c", "--json", "--set", f"outputs={tmp_path}", "--set", "sandbox.workers=1"]
    first = steps_after(tmp_path / "c", *run)
    assert {k: s["state"] for k, s in first.items()} == dict.fromkeys(("1_pretrain", "3_grpo", "4_evaluate"), "done")
    assert first["3_grpo"]["inputs"] == ["models/1_pretrain/merged"] and first["3_grpo"]["metrics"]["completions"] == 8
    df = Ledger(tmp_path / "c" / "ledger").read()
    assert df.groupby("stage").size().to_dict() == {"3_grpo": 8, "4_evaluate": 16} and set(df[df.stage == "4_evaluate"].model) == {"1_pretrain", "3_grpo"}
    assert steps_after(tmp_path / "c", *run) == first


TWO = """
import sys, tempfile, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_coupled as T
from transformers import TrainerCallback
torch.set_num_threads(1); T.quiet_libraries()
out, grads = Path(sys.argv[1]), []
class Keep(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
t = T.trainer(T.oneliner_tokenizer(), out / "trainer", rewards=(T.parity,), steps=2, args={{"beta": 0.05, "micro_batch_size": 4}})
t.add_callback(Keep()); answers = []; t.on_batch = lambda t, i, o: answers.append(o["completion_ids"].tolist()); t.train()
rank = t.accelerator.process_index
torch.save({{"through": t.through_wrapper, "grads": grads, "answers": answers}}, out / f"{{rank}}.pt")
"""


@pytest.mark.slow
def test_two_processes_have_one_gradient(tmp_path):
    "Each samples its own answers under its own masks; what they step with is the same."
    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=str(os.path.dirname(os.path.abspath(__file__)))))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), str(tmp_path)], env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    a, b = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert a["through"] and a["answers"] != b["answers"] and len(a["grads"]) == len(b["grads"]) == 2
    for x, y in zip(a["grads"], b["grads"]):
        assert x.abs().max() > 1e-4 and torch.allclose(x, y, atol=1e-6)
