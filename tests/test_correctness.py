"""Ten points that public implementations of this get wrong. Each test states the point as a check, ours passes it, and the wrong one, written out, does not."""
import copy
import math
import random
from types import SimpleNamespace

import pytest
import torch

from grpo_lab.advantages import group_advantages, zero_variance
from grpo_lab.config import Settings, load_settings
from grpo_lab.objectives import eos_mask, kl_k3, policy_loss, token_logps_from_logits
from grpo_lab.records import Problem, Trajectory, Verdict

torch.set_num_threads(1)


def caught(check, wrong):
    "The check must fail on a wrong implementation, else it checks nothing."
    with pytest.raises(AssertionError):
        check(wrong)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "Tokenizer and weights of a tiny random model; its pad token is its EOS."
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from grpo_lab.student import tiny_model
    folder = tiny_model(tmp_path_factory.mktemp("tiny"), layers=1)
    tok, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert tok.pad_token_id == tok.eos_token_id
    return SimpleNamespace(tok=tok, model=lambda: copy.deepcopy(model), folder=folder)


# 1. The log-probability of token t comes from the logits at t - 1: logits, ids, masks and advantages shift together.

def test_1_the_shift(tiny):
    model, ids = tiny.model().requires_grad_(False), torch.randint(3, 250, (2, 10), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, :4] = -100                                   # the prompt
    logits, want = model(ids).logits, model(ids, labels=labels).loss

    def value(nll):
        assert torch.allclose(nll(logits, ids, labels != -100), want, atol=1e-5)

    value(lambda z, i, m: -(token_logps_from_logits(z, i) * m[:, 1:]).sum() / m[:, 1:].sum())
    unshifted = lambda z, i: z.log_softmax(-1).gather(2, i[..., None])[..., 0]
    caught(value, lambda z, i, m: -(unshifted(z, i) * m).sum() / m.sum())                                            # nothing shifted
    caught(value, lambda z, i, m: -(token_logps_from_logits(z, i) * m[:, :-1]).sum() / m[:, :-1].sum())              # the mask forgotten

    def credit(shift):
        "A token that alone has an advantage, the one at position 6, is the one that becomes more likely."
        z, advantages = logits[:1].clone().requires_grad_(), torch.zeros(1, 10)
        advantages[0, 6] = 1.0
        policy_loss(token_logps_from_logits(z, ids[:1]), None, shift(advantages), torch.ones(1, 9), loss_type="dapo")[0].backward()
        assert z.grad.abs().sum(-1)[0].nonzero().flatten().tolist() == [5] and z.grad[0, 5, ids[0, 6]] < 0

    credit(lambda a: a[:, 1:])
    caught(credit, lambda a: a[:, :-1])                    # the advantages forgotten: its neighbour is praised


# 2. Advantages belong to groups; groups are never split; a group of one or of equal rewards has advantage 0 and is counted.

def test_2_groups():
    rewards, owner = torch.tensor([1., 0., 0., 5., 5., 9.]), ["a", "a", "a", "b", "b", "b"]
    want = dict(zip(range(6), group_advantages(rewards, 3).tolist()))

    def whatever_the_order(advantages):
        for seed in range(5):
            order = random.Random(seed).sample(range(6), 6)
            got = advantages(rewards[order], [owner[i] for i in order]).tolist()
            assert all(abs(g - want[i]) < 1e-5 for g, i in zip(got, order))

    whatever_the_order(lambda r, ids: group_advantages(r, ids))
    caught(whatever_the_order, lambda r, ids: group_advantages(r, 3))                                   # shuffled rows cut into threes
    with pytest.raises(ValueError, match="must not be split"):
        group_advantages(rewards[:4], 3)

    def nothing_to_compare(advantages):
        for r, g in (([.1, .1, .1], 3), ([.7], 1), ([0., 0., 1., 1.], 2)):
            assert advantages(torch.tensor(r), g).tolist() == [0.0] * len(r)

    nothing_to_compare(group_advantages)
    caught(nothing_to_compare, lambda r, g: ((r.view(-1, g) - r.view(-1, g).mean(1, keepdim=True)) / r.view(-1, g).std(1, keepdim=True)).flatten())   # NaN
    caught(nothing_to_compare, lambda r, g: (r - r.mean()) / (r.std(correction=0) + 1e-4))              # the batch as baseline
    assert zero_variance(torch.tensor([0., 0., 1., 1., 0., 1.]), 2).tolist() == [True, True, False]     # counted


def test_2_batches_are_whole_groups():
    from grpo_lab.trajectories import plan_steps
    groups = [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9, 10], [11, 12]]

    def whole(plan):
        for seed in range(5):
            for step in plan(groups, 2, 6, seed):
                assert all(set(g) <= set(step) or not set(g) & set(step) for g in groups)

    def shuffled_rows(groups, per, steps, seed):
        rows = [i for g in groups for i in g] * 4
        random.Random(seed).shuffle(rows)
        return [rows[5 * s:5 * s + 5] for s in range(steps)]

    whole(plan_steps)
    caught(whole, shuffled_rows)


# 3. The trainer really steps: parameters move, and the rewarded answer becomes more likely.

def trajectories(n=8):
    return [Trajectory(problem_id=f"p{i}", prompt=f"Is {i} even?", code=c, reward=float(c == "yes"), group_id=f"g{i}") for i in range(n) for c in ("yes", "no")]


def test_3_it_steps(tiny, monkeypatch):
    import grpo_lab.trajectories as module
    make, rows = module.trajectory_trainer, trajectories()
    settings = load_settings("smoke", sets=["grpo.max_steps=6", "grpo.prompts_per_step=4", "grpo.learning_rate=0.01"])

    def learns(trainer_class):
        monkeypatch.setattr(module, "trajectory_trainer", lambda: trainer_class)
        model, score = tiny.model(), lambda m: [float(x.sum()) for x in module.score_trajectories(m, module.encode_trajectories(tiny.tok, rows, 48), tiny.tok.pad_token_id)]
        before, start = score(model), {k: v.clone() for k, v in model.state_dict().items()}
        module.train_trajectories(settings, rows, model, tiny.tok)
        after = score(model)
        moved = any(n.endswith("lora_B.default.weight") and p.abs().max() > 0 for n, p in model.named_parameters())
        assert moved and len(start)
        gain = [a - b for a, b in zip(after, before)]
        assert sum(gain[0::2]) > 0 > sum(gain[1::2])       # "yes" rose, "no" fell

    class Detached(make()):                                 # a loss without a way back to the weights
        def compute_loss(self, *args, **kw):
            with torch.no_grad():
                loss = super().compute_loss(*args, **kw)
            return loss.clone().requires_grad_()

    class NeverSteps(make()):                               # an optimiser of copies
        def create_optimizer(self, *args):
            super().create_optimizer(*args)
            for group in self.optimizer.param_groups:
                group["params"] = [torch.nn.Parameter(p.detach().clone()) for p in group["params"]]
            return self.optimizer

    class Ascends(make()):                                  # the sign turned twice
        def compute_loss(self, *args, **kw):
            return -super().compute_loss(*args, **kw)

    learns(make())
    for wrong in (Detached, NeverSteps, Ascends):
        caught(learns, wrong)


# 4. KL has the right sign: k3 = exp(d) - d - 1 with d = ref - policy, never negative.

def test_4_the_sign_of_kl():
    pi, ref = torch.tensor([.8, .1, .1]), torch.tensor([.2, .4, .4])
    divergence = (pi * (pi / ref).log()).sum()

    def estimates(kl):
        k = kl(pi.log(), ref.log())
        assert (k >= 0).all() and torch.allclose((pi * k).sum(), divergence, atol=1e-6)

    estimates(kl_k3)
    caught(estimates, lambda p, r: kl_k3(r, p))                                    # d reversed: never negative, yet another quantity
    caught(estimates, lambda p, r: (r - p).exp() + (r - p) - 1)                    # a sign inside

    def pulls_back(beta):
        "With no advantage, a step down the loss brings the policy nearer to the reference."
        theta = pi.log().requires_grad_()
        logps = theta.log_softmax(0)[:, None]
        loss, _ = policy_loss(logps, None, torch.zeros(3), torch.ones(3, 1), beta=beta, ref_logps=ref.log()[:, None], loss_type="grpo")
        loss.backward()
        nearer = (theta - .1 * theta.grad).softmax(0)
        assert (nearer * (nearer / ref).log()).sum() < divergence

    pulls_back(1.0)
    caught(pulls_back, -1.0)                                                        # a bonus for leaving


# 5. SFT terms are normalised over response tokens only.

def test_5_sft_counts_response_tokens(tiny):
    from grpo_lab.dual import encode_row, pad_rows, response_nll
    from grpo_lab.sft import lab_trainer
    model = tiny.model().requires_grad_(False)
    rows = [encode_row(tiny.tok, [{"role": "user", "content": q}], a) for q, a in (("1?", "one"), ("A much longer question, with many words?", "two and a half"))]
    ids, mask, score = pad_rows(rows, tiny.tok.pad_token_id)
    responses = sum(len(r["ids"]) - r["prompt"] for r in rows)
    each = [torch.log_softmax(model(torch.tensor([r["ids"]])).logits[0, :-1], -1)[range(len(r["ids"]) - 1), r["ids"][1:]][r["prompt"] - 1:] for r in rows]
    want = -torch.cat(each).mean()

    def mean_over_responses(loss):
        assert torch.allclose(loss(), want, atol=1e-5)

    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(~score, -100)}
    nll = lambda: response_nll(model, rows, tiny.tok.pad_token_id, lab=True)
    mean_over_responses(lambda: lab_trainer(object)().compute_loss(model, batch))   # stages 1 and 2
    mean_over_responses(lambda: nll() / responses)                                  # system B's terms
    caught(mean_over_responses, lambda: nll() / mask.sum())                         # prompts counted
    caught(mean_over_responses, lambda: nll() / mask.numel())                       # and padding
    caught(mean_over_responses, lambda: -sum(e.mean() for e in each) / 2)           # a mean of means: short answers weigh more


# 6. Masks end with the first EOS, by position, never by id != pad.

def test_6_the_end_is_a_position(tiny):
    from grpo_lab.dual import encode_row, pad_rows
    rows = [encode_row(tiny.tok, [{"role": "user", "content": "?"}], a) for a in ("no", "perhaps")]
    ids, _, score = pad_rows(rows, tiny.tok.pad_token_id)
    eos, start = tiny.tok.eos_token_id, rows[0]["prompt"]

    def one_eos_each(mask):
        m = mask(ids[:, start:]).bool()
        for row, keep, r in zip(ids[:, start:], m, rows):
            assert row[keep].tolist() == r["ids"][start:] and (row[keep] == eos).sum() == 1

    one_eos_each(lambda c: eos_mask(c, eos))
    one_eos_each(lambda c: score[:, start:])
    caught(one_eos_each, lambda c: c != tiny.tok.pad_token_id)                       # EOS is pad: stopping is never learned
    caught(one_eos_each, lambda c: torch.ones_like(c))                               # padding is taken for EOS after EOS


# 7. The reference of a LoRA policy is the model without adapter, unless RL starts from an SFT adapter: then a frozen copy of it.

def test_7_the_reference(tiny, tmp_path):
    from datasets import Dataset
    from peft import get_peft_model
    from trl.trainer.utils import use_adapter
    from grpo_lab.config import GRPO
    from grpo_lab.grpo import grpo_config, lab_grpo_trainer
    from grpo_lab.logprobs import sequence_logps
    from grpo_lab.student import lora_config
    from grpo_lab.trajectories import prepare_trajectories
    settings = Settings()

    def policy(trained):
        model = get_peft_model(tiny.model(), lora_config(settings))
        for n, p in model.named_parameters():
            if trained and "lora_B" in n:
                torch.nn.init.normal_(p, std=.2)                                     # what SFT left behind
        return model

    ids = torch.randint(3, 250, (1, 9), generator=torch.Generator().manual_seed(1))
    score = lambda m: sequence_logps(m, ids, torch.ones_like(ids), torch.ones_like(ids))[0].detach()

    def starts_at_kl_zero(reference):
        for trained in (False, True):
            model = policy(trained)
            now = score(model)
            assert torch.allclose(reference(model), now, atol=1e-5)

    def trls(model):
        args = grpo_config(GRPO(beta=.1, num_generations=2, prompts_per_step=1, micro_batch_size=2), tmp_path, 0)
        t = lab_grpo_trainer()(model, lambda completions, **_: [0.0] * len(completions), args, processing_class=tiny.tok,
                               train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "?"}]}]))
        for n, p in t.model.named_parameters():
            if "lora_B" in n and ".ref." not in n:
                p.data += .1                                                          # the policy moves on; its reference must not
        with use_adapter(t.model, adapter_name="ref" if "ref" in t.model.peft_config else None):
            return score(t.model)

    def bare(model):
        with model.disable_adapter():
            return score(model)

    starts_at_kl_zero(trls)
    caught(starts_at_kl_zero, bare)                                                   # pulls an SFT policy back to before SFT
    start = policy(True)                                                              # trajectories: the policy as it was when training began
    rows = prepare_trajectories(load_settings("smoke"), trajectories(2), start, tiny.tok)
    row = torch.tensor([rows[0]["ids"]])
    want = sequence_logps(start, row, torch.ones_like(row), torch.ones_like(row))[0].detach()[0, rows[0]["prompt"]:]
    assert torch.allclose(rows[0]["ref_logps"], want, atol=1e-5)


# 8. Rewards come from verification, never from words in the text; layouts are compared with the problem's netlist; an empty layout scores worst.

def test_8_rewards_are_earned():
    from grpo_lab.rewards import VerifiedReward
    from grpo_lab.sandbox import strength
    from grpo_lab.verify import CodeProblemVerifier
    problem = Problem(id="double", task="starter", family="x", prompt="Write f(x) that doubles x.", entry_point="f", reference="def f(x): return 2 * x", tests=["assert f(2) == 4", "assert f(5) == 10"])
    boast = "All tests pass! ✓ assert f(2) == 4\n```python\ndef f(x):\n    '''correct, tested, passed, return 2 * x'''\n    return None\n```"
    plain = "```python\ndef f(x): return x + x\n```"

    def earned(reward):
        a, b = reward([plain, boast])
        assert a > b

    with CodeProblemVerifier(Settings(task="starter", sandbox={"workers": 1, "strength": strength().level})) as v:
        verified = VerifiedReward([problem], v, "tests_partial")
        earned(lambda texts: verified(prompts=[None] * 2, completions=texts, problem_id=["double"] * 2))
    caught(earned, lambda texts: [sum(w in t for w in ("assert", "pass", "return 2 * x")) for t in texts])


def test_8_layouts():
    from grpo_lab.rewards import layout_reward
    from grpo_lab.verify import CircuitVerifier
    empty = Verdict(status="ok", drc_errors=0, lvs_errors=0, devices=0, devices_expected=2)
    dirty, clean = (Verdict(status="ok", drc_errors=n, lvs_errors=n, devices=2, devices_expected=2) for n in (40, 0))

    def empty_is_worst(reward):
        assert reward(empty) < reward(dirty) < reward(clean)

    empty_is_worst(layout_reward)
    caught(empty_is_worst, lambda v: -math.log1p(v.errors))                           # nothing drawn, nothing wrong
    problem = Problem(id="m", task="circuits", family="x", prompt="", entry_point="component", reference="", spec={"netlist": "* trusted", "devices": 2})
    code = "component = draw()\ncomponent.info['netlist'] = '* my own, which matches'"

    def against_the_problems_netlist(items_of):
        asked = []
        v = object.__new__(CircuitVerifier)
        v.service = SimpleNamespace(verify=lambda items, **_: asked.extend(items) or [{"status": "ok"}] * len(items))
        items_of(v)
        assert asked == [(code, "* trusted")]

    against_the_problems_netlist(lambda v: v.judge([(problem, code)], lambda n: None))
    caught(against_the_problems_netlist, lambda v: v.service.verify([(code, code.split("= '")[1].rstrip("'"))]))


# 9. What is drawn comes from generators of its own: the global one also draws other things.

def test_9_local_generators(tiny):
    from grpo_lab.rollout import LabSampler, sample_ids
    model = tiny.model().eval()

    def its_own(sample):
        torch.manual_seed(1)
        state, first = torch.get_rng_state(), sample([3, 4])
        assert torch.equal(torch.get_rng_state(), state)           # the global generator was not drawn from
        torch.manual_seed(2)
        assert sample([3, 4]) == first and sample([3, 5]) != first  # and does not matter; the seeds do

    its_own(lambda seeds: [s.token_ids for s in sample_ids(LabSampler(model, torch.float32), [[5, 9, 33]], 2, temperature=1.0, max_completion_length=12, eos=(2,), seeds=seeds)])
    caught(its_own, lambda seeds: torch.multinomial(torch.ones(2, 250), 12).tolist())

    from grpo_lab.estimators import draw_masks
    masks = lambda generator: [x.tolist() for x in draw_masks(2, 3, 8, generator)]
    its_own(lambda seeds: masks(torch.Generator().manual_seed(seeds[1])))
    caught(its_own, lambda seeds: masks(torch.manual_seed(seeds[1])))        # seeded, but the generator that everybody draws from


# 10. An alarm fires when every group has zero variance while entropy climbs.

def test_10_the_alarm():
    from grpo_lab.alarms import alarms
    log = lambda dead, entropy: [{"step": i + 1, "frac_reward_zero_std": dead(i), "entropy": entropy(i), "loss": 0.0} for i in range(20)]
    climb, fall = (lambda i: 1.03 ** i), (lambda i: .97 ** i)

    def rings(names):
        assert "entropy_without_signal" in names(log(lambda i: 1.0, climb))           # slowly, but it climbs
        assert "entropy_without_signal" not in names(log(lambda i: 1.0, fall)) + names(log(lambda i: .5, climb)) + names(log(lambda i: float(i % 2), climb))

    rings(lambda rows: [a.name for a in alarms(rows)])
    step_to_step = lambda rows: ["entropy_without_signal" for a, b in zip(rows, rows[1:]) if b["frac_reward_zero_std"] == 1 and b["entropy"] > 1.1 * a["entropy"]]
    caught(rings, step_to_step)                                                        # a slow climb goes unseen
    caught(rings, lambda rows: ["entropy_without_signal"] * (rows[-1]["entropy"] > rows[0]["entropy"]))   # and exploration is no fault
