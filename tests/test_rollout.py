"""The lab's sampler against transformers: the same logits at every step, and samples from the same distribution."""
import itertools
import math

import pytest
import torch

from grpo_lab import rollout
from grpo_lab.rollout import LabSampler, sample_ids


def llama(vocab: int, seed: int = 0, scale: float = 6.0):
    "A tiny random Llama whose next-token distributions are far from uniform."
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocab, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                         max_position_embeddings=128, tie_word_embeddings=False, bos_token_id=1, eos_token_id=0, pad_token_id=0)).eval()
    model.lm_head.weight.data.mul_(scale)
    return model


def logits_of_steps(lab, prompts, group, length, temperature, monkeypatch):
    "Samples, and the logits [rows, V] that each token was drawn from."
    seen, real = [], rollout.draw
    monkeypatch.setattr(rollout, "draw", lambda logits, *a: (seen.append(logits.clone()), real(logits, *a))[1])
    got = sample_ids(lab, prompts, group, temperature, max_completion_length=length, eos=(), seeds=list(range(len(prompts) * group)))
    return got, seen


def largest_difference(model, prompts, group, got, seen) -> float:
    worst = 0.0
    for row, s in enumerate(got):
        prompt = prompts[row // group]
        with torch.no_grad(): want = model(torch.tensor([prompt + s.token_ids])).logits[0, len(prompt) - 1:-1]
        worst = max(worst, float((torch.stack([step[row] for step in seen]) - want).abs().max()))
    return worst


def test_logits_are_transformers_at_every_step(monkeypatch):
    model, prompts = llama(50), [[5, 9, 33, 40, 12, 8], [7, 8], [1] * 11]
    got, seen = logits_of_steps(LabSampler(model, torch.float32), prompts, 3, 10, 0.8, monkeypatch)
    assert len(seen) == 10 and len({tuple(s.token_ids) for s in got}) > 3
    assert largest_difference(model, prompts, 3, got, seen) < 1e-4
    got[0].token_ids[4] = (got[0].token_ids[4] + 1) % 50                 # the comparison sees one wrong token
    assert largest_difference(model, prompts, 3, got, seen) > 1e-2


def test_logits_of_the_default_student_are_transformers(monkeypatch):
    from grpo_lab.config import load_settings
    from grpo_lab.student import cache_dir, load_model
    settings = load_settings("laptop")
    if not (cache_dir() / settings.student.model.replace("/", "--") / "complete.json").exists(): pytest.skip("the default student's weights are not in the cache")
    model, prompts = load_model(settings, dtype=torch.float32), [[1, 4093, 198, 28, 1000], [1, 260, 1201]]
    got, seen = logits_of_steps(LabSampler(model, torch.float32), prompts, 2, 5, 1.0, monkeypatch)
    assert largest_difference(model, prompts, 2, got, seen) < 1e-4


def distribution(model, prompt, length, temperature, top_p) -> dict:
    "The probability of every completion of at most `length` tokens; token 0 ends one. By transformers, one forward pass a prefix."
    from transformers.generation.logits_process import TopPLogitsWarper
    out, open_ = {}, {(): 1.0}
    for t in range(length):
        nxt = {}
        for prefix, p in open_.items():
            with torch.no_grad(): z = model(torch.tensor([prompt + list(prefix)])).logits[:, -1] / temperature
            if top_p < 1: z = TopPLogitsWarper(top_p)(None, z)
            for token, q in enumerate(torch.softmax(z[0].double(), 0).tolist()):
                (out if token == 0 or t + 1 == length else nxt)[*prefix, token] = p * q
        open_ = nxt
    return out


def surprise(counts: dict, probabilities: dict) -> float:
    "Pearson's chi-square of the counts, as a standard normal (Wilson and Hilferty 1931); cells with few expected counts are one."
    n = sum(counts.values())
    cells, rest = [], [0, 0.0]
    for k, p in probabilities.items():
        if n * p >= 5: cells.append((counts.get(k, 0), n * p))
        else: rest = [rest[0] + counts.get(k, 0), rest[1] + n * p]
    if rest[1] >= 5: cells.append(tuple(rest))
    k, x = len(cells) - 1, sum((o - e) ** 2 / e for o, e in cells)
    return ((x / k) ** (1 / 3) - (1 - 2 / (9 * k))) / math.sqrt(2 / (9 * k))


def counted(completions) -> dict:
    return {k: len(list(g)) for k, g in itertools.groupby(sorted(map(tuple, completions)))}


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8)])
def test_samples_have_the_models_distribution(temperature, top_p):
    "20,000 completions of up to three tokens, some ended early: rows leave, and the counts still fit the exact probabilities."
    model, prompt, n = llama(7, seed=3), [3, 5, 1, 2], 20_000
    exact = distribution(model, prompt, 3, temperature, top_p)
    assert abs(sum(exact.values()) - 1) < 1e-6
    got = sample_ids(LabSampler(model, torch.float32), [prompt], n, temperature, top_p, 3, (0,), list(range(n)))
    assert 100 < sum(s.finish_reason == "stop" for s in got) < n and not {s.finish_reason for s in got} - {"stop", "length"}
    mine = counted(s.token_ids for s in got)
    assert set(mine) <= {k for k, p in exact.items() if p > 0}
    assert surprise(mine, exact) < 4
    warmer = distribution(model, prompt, 3, temperature * 1.15, top_p)   # a sampler that is 15 % too warm would be found out
    assert surprise(mine, warmer) > 6


def test_generate_passes_the_same_test():
    "transformers' own samples are judged by the same measure, so the measure is right."
    model, prompt, n = llama(7, seed=3), [3, 5, 1, 2], 20_000
    torch.manual_seed(0)
    out = model.generate(torch.tensor([prompt] * n), attention_mask=torch.ones(n, 4, dtype=torch.long), max_new_tokens=3, do_sample=True, top_k=0, pad_token_id=6, eos_token_id=0)[:, 4:].tolist()
    got = [t[:t.index(0) + 1] if 0 in t else t for t in out]
    assert surprise(counted(got), distribution(model, prompt, 3, 1.0, 1.0)) < 4


# ------------------------------------------------------------------ in the trainer

class Trained:
    "GRPO of a tiny model by the lab's trainer; what each batch was scored with is kept."
    def __init__(self, folder, **more):
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from grpo_lab.config import GRPO
        from grpo_lab.grpo import grpo_config, lab_grpo_trainer
        tok, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
        for k, v in more.pop("model", {}).items(): setattr(model.config, k, v)
        args = grpo_config(GRPO(max_steps=2, prompts_per_step=2, num_generations=4, micro_batch_size=4, learning_rate=0.01, max_completion_length=8, **more), folder / "out", 0)
        rows = Dataset.from_list([{"prompt": [{"role": "user", "content": c}]} for c in ("one", "two")] * 2)
        self.batches, keep = [], lambda trainer, inputs, out: self.batches.append({k: v.clone() for k, v in out.items() if isinstance(v, torch.Tensor)})
        lab_grpo_trainer()(model, lambda completions, **_: [float(len(c[0]["content"])) for c in completions], args, train_dataset=rows, processing_class=tok, on_batch=keep).train()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from grpo_lab.student import quiet_libraries, tiny_model
    quiet_libraries()
    return tiny_model(tmp_path_factory.mktemp("tiny"), layers=1)


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_ratios_are_against_what_sampled(tiny, monkeypatch, num_iterations):
    "A sampler that is rounded gives other log-probabilities than the trainer: the old ones are the sampler's, with one update on the same answers or with two (for which TRL would take the trainer's)."
    monkeypatch.setattr(rollout.LabSampler, "__init__", lambda self, model, dtype=None, init=rollout.LabSampler.__init__: init(self, model, torch.bfloat16))
    batches = Trained(tiny, num_iterations=num_iterations).batches
    assert len(batches) == 2 // num_iterations
    for b in batches: assert torch.equal(b["old_per_token_logps"], b["sampling_per_token_logps"]) and b["completion_mask"].sum() > 8


def test_a_fallback_is_said_once_by_whoever_falls_back(tiny, monkeypatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from grpo_lab.operators import LocalModel
    model, tok = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny); model.config.hidden_act = "gelu"
    chat = [[{"role": "user", "content": "x"}]]
    for use in (lambda: Trained(tiny, model={"hidden_act": "gelu"}), lambda: LocalModel(model, tok, "m").generate(chat, 1.0, 2, [0]), lambda: rollout.sample(model, tok, chat, max_completion_length=2)):
        monkeypatch.setattr(rollout, "_SAID", set())
        with pytest.warns(UserWarning, match="sampling with transformers' generate") as said: use(); use()
        assert sum("sampling with transformers' generate" in str(w.message) for w in said) == 1
