"""Masked language models: attention that looks both ways, published layouts read without their code, loss and decoder by independent means."""
import json
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from grpo_lab.config import Diffusion, Settings
from grpo_lab.denoising import REMASKING, add_noise, denoise, diffusion_loss, plan_rounds, train_diffusion_sft
from grpo_lab.masked_lm import load_masked_lm, make_masked_lm, mask_id, masked_logps, sees_future, tiny_masked_lm, token_logits, vocabulary_tokenizer

SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)


@pytest.fixture(scope="module")
def words():
    return vocabulary_tokenizer(list("abcdefghijkl"))


def family(name, vocabulary):
    import transformers
    config = getattr(transformers, f"{name}Config")(vocab_size=vocabulary, **SMALL)
    torch.manual_seed(0)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


@pytest.mark.parametrize("name", ["Llama", "Qwen2", "Qwen3", "Mistral"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_causal_model_looks_ahead_only_when_it_is_told(name, attention, words):
    "Change one token: every position before it must change in a masked model, and none in a causal one; with and without padding."
    model = family(name, len(words)); model.set_attn_implementation(attention)
    ids = torch.tensor([[4, 5, 6, 7, 8, 9]]); other = ids.clone(); other[0, 4] = 11
    for mask in (None, torch.ones_like(ids), torch.tensor([[0, 1, 1, 1, 1, 1]])):
        moved = lambda: (model(ids, attention_mask=mask).logits - model(other, attention_mask=mask).logits).abs().amax(-1)[0, 1:]
        with torch.no_grad():
            model.config.is_causal = True
            assert (moved()[:3] == 0).all() and (moved()[3:] > 0).all() and not sees_future(model)
            model.config.is_causal = False
            assert (moved() > 0).all() and sees_future(model)


def test_a_model_that_will_not_look_ahead_is_refused(words, monkeypatch):
    import grpo_lab.masked_lm as M
    monkeypatch.setattr(M, "sees_future", lambda model: False)
    with pytest.raises(ValueError, match="does not look ahead"):
        make_masked_lm(family("Llama", len(words)), words)


def test_gradient_checkpointing_keeps_it_looking_ahead(words):
    model = tiny_masked_lm(words, hidden_size=32, layers=2).train(); ids = torch.tensor([[4, 5, 6, 3]]); grads = []
    for on in (False, True):
        model.gradient_checkpointing_enable() if on else None
        masked_logps(model, ids, torch.full_like(ids, 7), ids == 3)[0].sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()]); model.zero_grad()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*grads))


# --- published layouts

def write(folder: Path, config: dict, weights: dict, shards: int = 1):
    from safetensors.torch import save_file
    folder.mkdir(parents=True); (folder / "config.json").write_text(json.dumps(config)); names = sorted(weights); index = {}
    for i in range(shards):
        part = {k: weights[k].contiguous() for k in names[i::shards]}
        file = "model.safetensors" if shards == 1 else f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, folder / file, {"format": "pt"}); index |= dict.fromkeys(part, file)
    if shards > 1: (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def fast_tokenizer(folder: Path, mask: str, extra: dict):
    "As LLaDA's is published: tokenizer.json, and a class that every transformers knows; the mask token is in the vocabulary and not named."
    tok = vocabulary_tokenizer(list("abcdefghijkl")); tok.save_pretrained(folder)
    core = json.loads((folder / "tokenizer.json").read_text()); text = json.dumps(core).replace("<|mask|>", mask); (folder / "tokenizer.json").write_text(text)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|eos|>", "pad_token": "<|eos|>", **extra}))


def llada_weights(d=32, layers=2, heads=4, kv=2, hidden=48, vocabulary=16):
    g = torch.Generator().manual_seed(0); draw = lambda *s: torch.randn(*s, generator=g) * (0.3 if len(s) > 1 else 0.1) + (len(s) == 1)
    w = {"model.transformer.wte.weight": draw(vocabulary, d), "model.transformer.ln_f.weight": draw(d), "model.transformer.ff_out.weight": draw(vocabulary, d)}
    for i in range(layers):
        sizes = {"q_proj": (d, d), "k_proj": (d // heads * kv, d), "v_proj": (d // heads * kv, d), "attn_out": (d, d), "ff_proj": (hidden, d), "up_proj": (hidden, d), "ff_out": (d, hidden)}
        w |= {f"model.transformer.blocks.{i}.{k}.weight": draw(*s) for k, s in sizes.items()} | {f"model.transformer.blocks.{i}.{k}.weight": draw(d) for k in ("attn_norm", "ff_norm")}
    config = {"model_type": "llada", "architectures": ["LLaDAModelLM"], "auto_map": {"AutoModelForCausalLM": "modeling_llada.LLaDAModelLM", "AutoConfig": "configuration_llada.LLaDAConfig"}, "block_type": "llama",
              "activation_type": "silu", "layer_norm_type": "rms", "rope": True, "alibi": False, "attention_layer_norm": False, "include_bias": False, "include_qkv_bias": False, "input_emb_norm": False, "scale_logits": False,
              "bias_for_layer_norm": False, "block_group_size": 1, "d_model": d, "n_layers": layers, "n_heads": heads, "n_kv_heads": kv, "mlp_hidden_size": hidden, "mlp_ratio": 4, "max_sequence_length": 64, "rms_norm_eps": 1e-5,
              "rope_theta": 500000.0, "embedding_size": vocabulary, "vocab_size": vocabulary, "weight_tying": False, "mask_token_id": 3, "eos_token_id": 1, "pad_token_id": 1}
    return config, w


def llada_forward(config, w, ids):
    "LLaDA's forward pass from its description: pre-norm blocks, rotary halves, no mask on attention, SwiGLU."
    norm = lambda x, k: x / (x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]).sqrt() * w[f"model.transformer.{k}.weight"]
    lin = lambda x, k: x @ w[f"model.transformer.{k}.weight"].T
    heads, kv, n = config["n_heads"], config["n_kv_heads"], ids.shape[1]; dim = config["d_model"] // heads
    angle = torch.arange(n)[:, None] * config["rope_theta"] ** (-torch.arange(0, dim, 2) / dim)
    def rotate(x):
        a, b = x[..., :dim // 2], x[..., dim // 2:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)
    x = w["model.transformer.wte.weight"][ids]
    for i in range(config["n_layers"]):
        b = f"blocks.{i}."; h = norm(x, b + "attn_norm"); split = lambda y, m: y.view(len(ids), n, m, dim).transpose(1, 2)
        q, k, v = rotate(split(lin(h, b + "q_proj"), heads)), rotate(split(lin(h, b + "k_proj"), kv)), split(lin(h, b + "v_proj"), kv)
        k, v = (y.repeat_interleave(heads // kv, 1) for y in (k, v))
        x = x + lin(((q @ k.transpose(2, 3) / dim ** .5).softmax(-1) @ v).transpose(1, 2).reshape(len(ids), n, -1), b + "attn_out")
        h = norm(x, b + "ff_norm"); x = x + lin(torch.nn.functional.silu(lin(h, b + "ff_proj")) * lin(h, b + "up_proj"), b + "ff_out")
    return lin(norm(x, "ln_f"), "ff_out")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_llada_checkpoint_computes_what_llada_computes(tmp_path, shards):
    config, weights = llada_weights(); folder = write(tmp_path / "llada", config, weights, shards); fast_tokenizer(folder, "<|mdm_mask|>", {})
    model, tok = load_masked_lm(folder); ids = torch.tensor([[4, 5, 3, 7, 3], [8, 3, 10, 11, 12]])
    with torch.no_grad(): got, want = token_logits(model, ids), llada_forward(config, weights, ids)
    others = [i for i in range(16) if i != 3]
    assert torch.allclose(got[..., others], want[..., others], atol=1e-4, rtol=1e-4) and (got[..., 3] == -math.inf).all()
    assert mask_id(model) == tok.mask_token_id == 3 and tok.mask_token == "<|mdm_mask|>" and not model.config.shifted_head and model.config.model_type == "llama"
    model.save_pretrained(tmp_path / "ours"); tok.save_pretrained(tmp_path / "ours"); again, _ = load_masked_lm(tmp_path / "ours")      # from now on one of ours
    with torch.no_grad(): assert torch.equal(token_logits(again, ids), got)


@pytest.mark.parametrize("change, word", [({"block_type": "sequential"}, "block_type"), ({"scale_logits": True}, "scale_logits"), ({"alibi": True}, "alibi"), ({"activation_type": "swiglu"}, "activation_type")])
def test_a_llada_variant_that_cannot_be_read_is_refused(tmp_path, change, word):
    config, weights = llada_weights()
    with pytest.raises(ValueError, match=word): load_masked_lm(write(tmp_path / "x", config | change, weights))


def test_weights_without_a_place_and_places_without_weights_are_refused(tmp_path):
    config, weights = llada_weights()
    less = {k: v for k, v in weights.items() if "blocks.1.up_proj" not in k}
    with pytest.raises(ValueError, match="missing keys"): load_masked_lm(write(tmp_path / "less", config, less))
    with pytest.raises(ValueError, match="unexpected keys"): load_masked_lm(write(tmp_path / "more", config, weights | {"model.transformer.blocks.0.q_norm.weight": torch.ones(32)}))


def dream(folder: Path, **change):
    "A Dream-style checkpoint: Qwen2's weights under a config and a tokenizer class that transformers does not know."
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.manual_seed(0); base = Qwen2ForCausalLM(Qwen2Config(vocab_size=40, rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=False, rms_norm_eps=1e-6, **SMALL)).eval()
    with torch.no_grad():
        for n, p in base.named_parameters(): p.add_(torch.randn_like(p) * .1)                        # biases too, which begin as zeros
    config = {"model_type": "Dream", "architectures": ["DreamModel"], "auto_map": {"AutoModel": "modeling_dream.DreamModel", "AutoConfig": "configuration_dream.DreamConfig"}, "vocab_size": 40, "mask_token_id": 20, "rope_theta": 1000000.0,
              "rope_scaling": None, "use_sliding_window": False, "sliding_window": None, "max_window_layers": 2, "tie_word_embeddings": False, "rms_norm_eps": 1e-6, "hidden_act": "silu", "bos_token_id": 18, "eos_token_id": 18, "pad_token_id": 18, **SMALL}
    write(folder, config | change, base.state_dict())
    vocabulary = {c: i for i, c in enumerate(["d", "e", "f", "Ġ", "x", "(", ")", ":", "Ċ", "r", "t", "u", "n", "de", "def", "a", "b", "c"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary)); (folder / "merges.txt").write_text("#version: 0.2\nd e\nde f\n")
    added = {"18": "<|endoftext|>", "19": "<|beginoftext|>", "20": "<|mask|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "DreamTokenizer", "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]}, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "mask_token": "<|mask|>",
        "added_tokens_decoder": {k: {"content": v, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True} for k, v in added.items()}}))
    return base


def test_a_dream_checkpoint_is_qwen2_with_a_shifted_head(tmp_path):
    base = dream(tmp_path / "dream"); model, tok = load_masked_lm(tmp_path / "dream")
    assert model.config.model_type == "qwen2" and model.config.shifted_head and mask_id(model) == tok.mask_token_id == 20 and tok.decode(tok("def f")["input_ids"]) == "def f" and tok("def")["input_ids"] == [14]
    base.config.is_causal = False; ids = torch.tensor([[4, 20, 6, 20, 20]])
    with torch.no_grad(): raw, got = base(ids).logits, token_logits(model, ids)
    others = [i for i in range(40) if i != 20]
    assert torch.allclose(got[:, 1:][..., others], raw[:, :-1][..., others], atol=1e-5)              # what stood at i - 1
    assert not load_masked_lm(tmp_path / "dream", shifted_head=False)[0].config.shifted_head
    out = denoise(model, tok, [[14, 3]], max_completion_length=4, diffusion_steps=2, seed=1)[0][0]; assert 20 not in out.token_ids and out.token_ids
    with pytest.raises(ValueError, match="use_sliding_window"): dream(tmp_path / "sliding", use_sliding_window=True); load_masked_lm(tmp_path / "sliding")


def test_a_causal_checkpoint_is_not_taken_for_a_masked_one(tmp_path):
    from grpo_lab.student import tiny_model
    with pytest.raises(ValueError, match="make_masked_lm"): load_masked_lm(tiny_model(tmp_path / "causal"))


# --- loss

@pytest.mark.parametrize("shifted", [False, True])
def test_the_loss_is_cross_entropy_over_t_at_the_hidden_tokens(words, shifted):
    "Again in plain torch, from logits: same draws, prompt never hidden, rows averaged."
    model = tiny_masked_lm(words, hidden_size=32, layers=2, shifted_head=shifted); g = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 16, (6, 10), generator=g); may = torch.zeros(6, 10, dtype=torch.long); may[:, 4:] = 1
    loss = diffusion_loss(model, ids, may, torch.Generator().manual_seed(7))
    own = torch.Generator().manual_seed(7); t = 1e-3 + (1 - 1e-3) * torch.rand(6, generator=own); u = torch.rand(6, 10, generator=own)
    hidden = (u < t[:, None]) & may.bool(); z = model(ids.masked_fill(hidden, 3)).logits
    if shifted: z = torch.cat([z[:, :1], z[:, :-1]], 1)
    z[..., 3] = -math.inf; ce = torch.nn.functional.cross_entropy(z.transpose(1, 2), ids, reduction="none")
    want = torch.stack([(ce[i][hidden[i]].sum() / t[i]) / 6 for i in range(6)]).mean()
    assert torch.allclose(loss, want, atol=1e-4) and not add_noise(ids, may, t, torch.Generator(), 3)[1][:, :4].any()
    loss.backward(); assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def toy_rows(n=48): return [{"prompt": "abc"[i % 3], "completion": "defghi"[i % 6] * 3} for i in range(n)]


def train(words, folder, seed=0, **how):
    cfg = Diffusion(**{**dict(lora=False, max_steps=4, learning_rate=1e-3, per_device_train_batch_size=8, max_length=16, max_completion_length=4), **how})
    model = tiny_masked_lm(words, hidden_size=32, layers=1, heads=2)
    done = train_diffusion_sft(Settings(), cfg, toy_rows(), model, words, folder / "step", seed=seed, log=folder / "log.jsonl")
    return load_masked_lm(folder / "step" / "merged")[0], done


def test_accumulated_micro_batches_are_one_batch(words, tmp_path):
    "With t = 1 nothing is left to chance: one batch of 8 and two of 4 are the same step."
    same = dict(time_epsilon=1.0, max_steps=2, weight_decay=0.0)
    whole, _ = train(words, tmp_path / "a", **same); parts, _ = train(words, tmp_path / "b", **same, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    start = tiny_masked_lm(words, hidden_size=32, layers=1, heads=2)
    assert all(torch.allclose(a, b, atol=2e-5) for a, b in zip(whole.parameters(), parts.parameters())) and not torch.allclose(whole.get_input_embeddings().weight, start.get_input_embeddings().weight, atol=1e-4)


def test_training_repeats_by_seed_and_keeps_its_log(words, tmp_path):
    runs = [train(words, tmp_path / str(i), seed=s) for i, s in enumerate((0, 0, 1))]; weight = [m.get_input_embeddings().weight for m, _ in runs]
    assert torch.equal(weight[0], weight[1]) and not torch.equal(weight[0], weight[2])
    log = [json.loads(l) for l in (tmp_path / "0" / "log.jsonl").read_text().splitlines()]
    assert len(log) == 4 == runs[0][1]["steps"] and all("loss" in r for r in log) and runs[0][1]["tokens"] == 4 * 8 * 5


def test_lora_trains_the_adapter_and_merges_it(words, tmp_path):
    model = tiny_masked_lm(words, hidden_size=32, layers=1, heads=2); model.save_pretrained(tmp_path / "base"); words.save_pretrained(tmp_path / "base"); before = {k: v.clone() for k, v in model.state_dict().items()}
    cfg = Diffusion(max_steps=4, learning_rate=1e-2, per_device_train_batch_size=8, max_length=16, max_completion_length=4)
    with pytest.raises(ValueError, match="source"): train_diffusion_sft(Settings(), cfg, toy_rows(), model, words, tmp_path / "no")
    train_diffusion_sft(Settings(), cfg, toy_rows(), model, words, tmp_path / "step", source=tmp_path / "base")
    merged, _ = load_masked_lm(tmp_path / "step" / "merged"); after = merged.state_dict()
    moved = {k.split(".")[-2] for k in before if not torch.equal(before[k], after[k])}
    assert (tmp_path / "step" / "adapter" / "adapter_config.json").exists() and "q_proj" in moved and not moved & {"embed_tokens", "norm"}


# --- decoder

def by_the_book(model, prompt, c, steps, eos):
    "Greedy low-confidence decoding in plain Python: one row, no padding, no early leaving."
    ids = prompt + [3] * c; per = c // steps
    for _ in range(steps):
        with torch.no_grad(): p = token_logits(model, torch.tensor([ids]))[0].softmax(-1)
        open_ = sorted((i for i in range(len(prompt), len(ids)) if ids[i] == 3), key=lambda i: -float(p[i].max()))
        for i in open_[:per]: ids[i] = int(p[i].argmax())
    out = ids[len(prompt):]
    return out[:out.index(eos) + 1] if eos in out else out


@pytest.mark.parametrize("shifted", [False, True])
def test_the_decoder_agrees_with_the_book(words, shifted):
    model = tiny_masked_lm(words, hidden_size=32, layers=2, shifted_head=shifted, seed=1); prompts = [[4, 5], [6, 7, 8, 9, 10], [11]]
    for steps in (1, 3, 6):
        got = denoise(model, words, prompts, max_completion_length=6, diffusion_steps=steps, temperature=0)
        assert [g[0].token_ids for g in got] == [by_the_book(model, p, 6, steps, 1) for p in prompts]


@pytest.mark.parametrize("remasking", REMASKING)
@pytest.mark.parametrize("block", [None, 4])
def test_a_row_is_the_same_in_any_batch(words, remasking, block):
    model = tiny_masked_lm(words, hidden_size=32, layers=2, seed=2); prompts = [[4 + i] * (1 + 3 * i) for i in range(4)]
    how = dict(max_completion_length=8, diffusion_steps=4, block_length=block, remasking=remasking, num_generations=2, temperature=1.0, top_p=.9)
    together, apart = (denoise(model, words, prompts, batch_size=b, **how) for b in (8, 1))
    assert [[s.token_ids for s in g] for g in together] == [[s.token_ids for s in g] for g in apart]
    for a, b in zip(sum(together, []), sum(apart, [])): assert torch.allclose(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=1e-4)


def test_an_answer_ends_with_its_first_eos_even_where_eos_is_the_pad(words):
    "The model is bent towards EOS at every place; the rows leave early, and nothing after EOS is in the answer."
    model = tiny_masked_lm(words, hidden_size=32, layers=1, heads=2); calls = []
    model.config.pad_token_id = model.generation_config.pad_token_id = 1
    forward = model.get_output_embeddings().forward
    model.get_output_embeddings().forward = lambda x: (calls.append(1), forward(x) + torch.nn.functional.one_hot(torch.tensor(1), 16) * 50.0)[1]
    out = denoise(model, words, [[4, 5]], max_completion_length=6, diffusion_steps=6, temperature=0, history=True)[0][0]
    assert out.token_ids == [1] and out.finish_reason == "stop" and len(out.logprobs) == 1 and len(calls) == len(out.rounds) < 6 and out.text == ""


def test_one_round_of_decoding_draws_from_the_models_distribution(words):
    "4000 canvases of one token at temperature 1: frequencies against the softmax; top_p cuts the tail."
    model = tiny_masked_lm(words, hidden_size=32, layers=1, heads=2, seed=4)
    with torch.no_grad(): p = token_logits(model, torch.tensor([[4, 5, 3]]))[0, -1].softmax(-1)
    drawn = lambda **how: torch.tensor([s.token_ids[0] for s in denoise(model, words, [[4, 5]], num_generations=4000, max_completion_length=1, diffusion_steps=1, batch_size=4000, temperature=1.0, **how)[0]]).bincount(minlength=16) / 4000
    assert (drawn() - p).abs().max() < .03
    top = p.sort(descending=True); kept = top.indices[:int((top.values.cumsum(0) < .5).sum()) + 1]
    assert set(drawn(top_p=.5).nonzero()[:, 0].tolist()) == set(kept.tolist())


@pytest.mark.parametrize("c, steps, block, word", [(10, 5, 4, "multiple of block_length"), (8, 3, 4, "evenly"), (8, 9, None, "more rounds than"), (8, 16, 4, "more rounds than")])
def test_settings_that_do_not_fit_are_refused_before_the_model_is_asked(words, c, steps, block, word):
    with pytest.raises(ValueError, match=word): denoise(tiny_masked_lm(words, hidden_size=16, layers=1, heads=2), words, [[4]], max_completion_length=c, diffusion_steps=steps, block_length=block)
    with pytest.raises(ValueError, match="low_confidence"): denoise(tiny_masked_lm(words, hidden_size=16, layers=1, heads=2), words, [[4]], max_completion_length=4, diffusion_steps=2, remasking="best")
    with pytest.raises(ValueError, match="no tokens"): denoise(tiny_masked_lm(words, hidden_size=16, layers=1, heads=2), words, [[4], []], max_completion_length=4, diffusion_steps=2)


def test_every_plan_reveals_every_token_once():
    for c in range(1, 13):
        for block in [b for b in range(1, c + 1) if c % b == 0]:
            for per in range(1, block + 1):
                plan = plan_rounds(c, per * (c // block), block); shown = {}
                for low, high, n in plan: shown[low, high] = shown.get((low, high), 0) + n; assert n > 0
                assert len(plan) == per * (c // block) and all(high - low == n for (low, high), n in shown.items()) and sum(shown.values()) == c and list(shown) == sorted(shown)
