"""Sampling: the lab's CPU sampler against two engines made for inference on CPUs, OpenVINO and llama.cpp.

    python benchmarks/engines.py --engines-python PATH      PATH: an interpreter that has the engines; about 10 minutes on one free core

The engines are no dependencies of the lab. Make an environment for them, somewhere, and name its interpreter:

    python -m venv ENV
    ENV/bin/pip install openvino openvino-genai numpy
    ENV/bin/pip install llama-cpp-python                    (built from source: about ten minutes on one core)

An engine that is not installed is left out, with the reason. All contestants have the same SmolLM2-135M with the same LoRA adapter, the
prompts of benchmarks/rollout.py, 8 prompts x 8 completions of exactly 64 tokens (no row may end earlier), temperature 1 and nothing
cut from the distribution.

    lab                 grpo_lab: shared prompts, bfloat16 packed once
    openvino-*          OpenVINO's runtime, a stateful model, decoding loop and draw in numpy here: f16 weights computed in bfloat16; int8 weights, one scale a row
    openvino-genai-*    OpenVINO GenAI: continuous batching, its own sampler, `num_return_sequences` on one prompt; the same weights
    llama.cpp-*         llama.cpp's batch API: every prompt read once, its keys and values copied to its group (see --streams), all rows in one batch, draw in numpy here

A GRPO step changes all weights, so an engine has to take them over before it samples. It is given its best case: its file was made once, before
any clock ran, and only the linear layers are written into it, in place (`write_s`: merging, casting, writing, in the trainer); then the
engine, warm from sampling with the old weights and having let go of them, opens the file (`load_s`). `step_s` = write_s + load_s +
sample_s is what decides. Its CPU seconds compare better than the clock's where other work ran.

How exact: `logits_far` is the largest difference of next-token logits from transformers in float32 with the merged weights, over all tokens
and prompts; `kl` the mean KL divergence of those distributions; `logprob_far` the largest, `logprob_off` the mean difference of the log-probability that the
contestant itself gave to a token it drew (one row a prompt) from that of transformers in float32; `adapter_kl` how far the adapter moves the distribution, which
shows that new weights are in use; `mean_logprob` of all drawn tokens, with its standard error over rows, is higher where a sampler cuts the distribution. Peak memory: what the sampler adds, from before it held a model to the most it
held while it took over and sampled (the lab's copy stands beside the trainer's model, as an engine's would). Writes benchmarks/results/engines.json.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure

CONTESTANTS = ["lab", "openvino-f16", "openvino-int8", "openvino-genai-f16", "openvino-genai-int8", "llama.cpp-bf16", "llama.cpp-f16", "llama.cpp-q8_0"]
NEEDS = {"openvino": ("openvino", "openvino_genai"), "llama.cpp": ("llama_cpp",)}                 # modules by the engine's name; openvino_genai also writes the first file
FILES = {"f16": "ir-f16/openvino_model.bin", "int8": "ir-int8/openvino_model.bin"}             # OpenVINO's weights; llama.cpp's are <kind>.gguf
GGUF = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}


def cores() -> int:
    return len(os.sched_getaffinity(0))


def held_gib() -> float:
    "Memory this process holds now."
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS"))) / 2**20


def family(which: str) -> str:
    return which.split("-")[0]


class Clock:
    "Seconds of the clock and of the processor since it was made."
    def __init__(self): self.began, self.cpu = time.perf_counter(), time.process_time()
    def row(self, name: str) -> dict: return {f"{name}_s": round(time.perf_counter() - self.began, 3), f"{name}_cpu_s": round(time.process_time() - self.cpu, 3)}


# The trainer's half: the lab's interpreter.

def student(prompts: int):
    "The model as it is trained, with an adapter that has learned something, and the prompts' token ids."
    import torch
    from grpo_lab.config import load_settings
    from grpo_lab.rollout import encode
    from grpo_lab.student import load_model, load_tokenizer, lora_config
    from grpo_lab.tasks import open_task
    from peft import get_peft_model
    torch.set_num_threads(cores())
    settings = load_settings("laptop")
    task = open_task(settings)
    ids = encode(load_tokenizer(settings), [task.messages(p) for p in task.load("train")[::7][:prompts]])
    base = load_model(settings)
    torch.manual_seed(1)
    model = get_peft_model(base, lora_config(settings))
    for name, w in model.named_parameters():
        if "lora_B" in name: torch.nn.init.normal_(w, std=0.01)
    return model, ids


def linears(model):
    "Layer, short name, module of every linear layer that training changes."
    for i, layer in enumerate(model.get_base_model().model.layers):
        for part in (layer.self_attn, layer.mlp):
            for name in GGUF:
                if hasattr(part, name): yield i, name, getattr(part, name)


def turned(w, heads: int):
    "Rows of a query or key matrix in llama.cpp's order of rotated pairs."
    return w.reshape(heads, 2, -1, w.shape[1]).transpose(1, 2).reshape(w.shape)


def for_gguf(w, kind: str):
    "A matrix as GGUF holds it, as bytes [out, ...]."
    import torch
    if kind != "q8_0": return w.to({"f16": torch.float16, "bf16": torch.bfloat16}[kind]).contiguous().view(torch.uint8)
    block = w.float().reshape(-1, 32)
    scale = block.abs().amax(1, keepdim=True) / 127
    q = torch.where(scale > 0, block / scale, 0.0).round_().to(torch.int8)
    return torch.cat([scale.half().view(torch.uint8), q.view(torch.uint8)], 1).view(len(w), -1)


def write_gguf(model, file: Path, kind: str) -> None:
    "A whole GGUF file of the base model, with its tokenizer."
    import gguf
    from grpo_lab.config import load_settings
    from grpo_lab.student import weights_path
    inner = model.get_base_model()
    c, core, types = inner.config, inner.model, {"f16": gguf.GGMLQuantizationType.F16, "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0}
    g = gguf.GGUFWriter(file, "llama")
    g.add_context_length(c.max_position_embeddings); g.add_embedding_length(c.hidden_size); g.add_block_count(c.num_hidden_layers); g.add_feed_forward_length(c.intermediate_size)
    g.add_head_count(c.num_attention_heads); g.add_head_count_kv(c.num_key_value_heads); g.add_layer_norm_rms_eps(c.rms_norm_eps); g.add_vocab_size(c.vocab_size)
    g.add_rope_freq_base(c.rope_parameters["rope_theta"]); g.add_rope_dimension_count(c.head_dim)
    g.add_file_type({"f16": gguf.LlamaFileType.MOSTLY_F16, "bf16": gguf.LlamaFileType.MOSTLY_BF16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}[kind])
    words = json.loads((weights_path(load_settings("laptop")) / "tokenizer.json").read_text())
    special = {t["id"]: t["content"] for t in words["added_tokens"]}
    vocabulary = {i: t for t, i in words["model"]["vocab"].items()} | special
    g.add_tokenizer_model("gpt2"); g.add_tokenizer_pre("smollm"); g.add_token_list([vocabulary[i] for i in range(c.vocab_size)])
    g.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(c.vocab_size)])
    g.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in words["model"]["merges"]]); g.add_bos_token_id(c.bos_token_id); g.add_eos_token_id(c.eos_token_id)
    def matrix(name, w): g.add_tensor(name, for_gguf(w, kind).numpy(), raw_dtype=types[kind])
    def vector(name, w): g.add_tensor(name, w.float().numpy())
    heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}
    matrix("token_embd.weight", core.embed_tokens.weight.detach()); vector("output_norm.weight", core.norm.weight.detach())
    for i, layer in enumerate(core.layers): vector(f"blk.{i}.attn_norm.weight", layer.input_layernorm.weight.detach()); vector(f"blk.{i}.ffn_norm.weight", layer.post_attention_layernorm.weight.detach())
    for i, name, l in linears(model):
        w = l.base_layer.weight.detach()
        matrix(f"blk.{i}.{GGUF[name]}.weight", turned(w, heads[name]).contiguous() if name in heads else w)
    g.write_header_to_file(); g.write_kv_data_to_file(); g.write_tensors_to_file(); g.close()


def prepare(folder: Path, python: str, contestants: list) -> None:
    "What is made once: each engine's file of the base model, and where in it each matrix stands (places.json: {file: {name: [offset, bytes]}})."
    import gguf
    model, _ = student(1)
    places, kinds = {}, {c.rsplit("-", 1)[1] for c in contestants if family(c) == "llama.cpp"}
    openvino = any(family(c) == "openvino" for c in contestants)
    for kind in sorted(kinds | ({"f16"} if openvino else set())):
        write_gguf(model, folder / f"{kind}.gguf", kind)
        places[f"{kind}.gguf"] = {t.name: [int(t.data_offset), int(t.n_bytes)] for t in gguf.GGUFReader(folder / f"{kind}.gguf").tensors}
    if openvino:
        subprocess.run([python, __file__, "--engine", "prepare", "--folder", str(folder)], check=True, stdout=subprocess.DEVNULL)
        places |= {FILES[k]: ir_places(folder / Path(FILES[k]).with_suffix(".xml")) for k in FILES}
    (folder / "places.json").write_text(json.dumps(places))
    measure.report({"prepared": sorted(places)})


def ir_places(xml: Path) -> dict:
    "Where the constants of an OpenVINO model stand in its .bin file."
    import re
    found = re.findall(r'<layer id="\d+" name="(model\.[^"]+)" type="Const"[^>]*>\s*<data element_type="\w+" shape="[^"]*" offset="(\d+)" size="(\d+)"', xml.read_text())
    return {name: [int(offset), int(size)] for name, offset, size in found}


def hand_over(model, file: Path, kind: str, places: dict) -> None:
    "Merge the adapter and write every linear layer into the engine's file, in place."
    import numpy as np
    import torch
    from grpo_lab.rollout import _merged
    c = model.get_base_model().config
    heads = {"q_proj": c.num_attention_heads, "k_proj": c.num_key_value_heads}
    whole = np.memmap(file, np.uint8, "r+")
    def put(name, tensor):
        (offset, size), flat = places[name], tensor.contiguous().view(torch.uint8).flatten().numpy()
        if len(flat) != size: raise ValueError(f"{name}: {len(flat)} bytes where {size} are")
        whole[offset:offset + size] = flat
    with torch.no_grad():
        for i, name, l in linears(model):
            w = _merged(l)[0]
            if file.suffix == ".gguf": put(f"blk.{i}.{GGUF[name]}.weight", for_gguf(turned(w, heads[name]) if name in heads else w, kind)); continue
            long = f"model.layers[{i}].{'self_attn' if GGUF[name].startswith('attn') else 'mlp'}.{name}.weight"
            if kind == "f16": put(long, w.half()); continue
            scale = (w.abs().amax(1, keepdim=True) / 127).half()
            put(long + ".int8", (w / scale.float()).round_().clamp_(-127, 127).to(torch.int8)); put(long + ".scale", scale)


def reference(model, ids: list, rows: dict):
    "transformers in float32 with the merged weights: next-token logits [P, V], log-probabilities of the tokens of `rows` {prompt: tokens}, and the logits without the adapter."
    import torch
    model.float().eval()
    logits, logps = [], {}
    with torch.no_grad():
        with model.disable_adapter(): base = torch.stack([model(torch.tensor([p])).logits[0, -1] for p in ids])
        for p, prompt in enumerate(ids):
            z = model(torch.tensor([prompt + rows.get(p, [])])).logits[0, len(prompt) - 1:]
            logits.append(z[0])
            if p in rows: logps[p] = torch.log_softmax(z[:-1], -1).gather(1, torch.tensor(rows[p])[:, None])[:, 0].tolist()
    return torch.stack(logits), logps, base


def exactness(model, ids: list, logits, tokens: list, logprobs: list, group: int) -> dict:
    "How far a contestant is from transformers in float32."
    import torch
    true, logps, base = reference(model, ids, {p: tokens[p * group] for p in range(len(ids))})
    def kl(other):
        a, b = torch.log_softmax(true, -1), torch.log_softmax(other, -1)
        return round(float((a.exp() * (a - b)).sum(-1).mean()), 6)
    out = {"adapter_kl": kl(base), "logits_far": None, "kl": None, "logprob_far": None, "logprob_off": None, "mean_logprob": None, "its_error": None}
    if logits is not None: out |= {"logits_far": round(float((true - torch.as_tensor(logits)).abs().max()), 4), "kl": kl(torch.as_tensor(logits))}
    if logprobs:
        means = torch.tensor(logprobs).mean(1)
        out |= {"mean_logprob": round(float(means.mean()), 3), "its_error": round(float(means.std() / len(means) ** 0.5), 3)}
        off = (torch.tensor([logps[p] for p in logps]) - torch.tensor([logprobs[p * group] for p in logps])).abs()
        out |= {"logprob_far": round(float(off.max()), 4), "logprob_off": round(float(off.mean()), 5)}
    return out


def lab(model, ids: list, group: int, tokens: int, seed: int):
    "The lab's sampler: a row, next-token logits, tokens, log-probabilities."
    import torch
    from grpo_lab.logprobs import keep_freed_memory
    from grpo_lab.rollout import LabSampler, _prefill, sample_ids
    keep_freed_memory()
    before = held_gib()
    sampler = LabSampler(model)
    sample_ids(sampler, ids, group, max_completion_length=2, eos=())
    del sampler
    measure.reset_peak()
    clock = Clock()
    sampler = LabSampler(model)
    row, clock = clock.row("write") | {"load_s": 0.0, "load_cpu_s": 0.0}, Clock()
    got = sample_ids(sampler, ids, group, max_completion_length=tokens, eos=(), seeds=[seed * 1_000_003 + i for i in range(len(ids) * group)])
    row |= clock.row("sample") | {"peak_gib": round(measure.peak_gib() - before, 3)}
    with torch.no_grad(): logits = sampler.head(_prefill(sampler, ids)[0]).float()
    return row, logits, [s.token_ids for s in got], [s.logprobs for s in got]


def one(which: str, o) -> None:
    "Measure one contestant."
    import numpy as np
    model, ids = student(o.prompts)
    if which == "lab": row, logits, tokens, logprobs = lab(model, ids, o.group, o.tokens, o.seed)
    else:
        kind, folder = which.rsplit("-", 1)[1], Path(o.folder)
        name = f"{kind}.gguf" if family(which) == "llama.cpp" else FILES[kind]
        with tempfile.TemporaryDirectory(dir=folder) as tmp:
            new = Path(tmp) / name
            if name.endswith(".gguf"): shutil.copy(folder / name, new)                       # the place of the new weights, made once
            else: shutil.copytree((folder / name).parent, new.parent)
            places = json.loads((folder / "places.json").read_text())[name]
            clock = Clock()
            hand_over(model, new, kind, places)
            row = clock.row("write")
            (Path(tmp) / "job.json").write_text(json.dumps({"ids": ids, "group": o.group, "tokens": o.tokens, "seed": o.seed, "old": str(folder / name), "new": str(new), "streams": o.streams}))
            done = subprocess.run([o.engines_python, __file__, "--engine", which, "--folder", tmp], capture_output=True, text=True, timeout=900)
            line = next((x for x in reversed(done.stdout.splitlines()) if x.startswith("RESULT ")), None)
            if done.returncode or line is None: raise SystemExit(f"{which} ended with {done.returncode}:\n{done.stderr[-2000:]}")
            row |= json.loads(line.removeprefix("RESULT "))
            out = json.loads((Path(tmp) / "out.json").read_text())
            tokens, logprobs = out["tokens"], out["logprobs"]
            logits = np.load(Path(tmp) / "logits.npy") if (Path(tmp) / "logits.npy").exists() else None
    n = sum(map(len, tokens))
    if n != o.tokens * len(ids) * o.group: raise SystemExit(f"{which}: {n} tokens instead of {o.tokens * len(ids) * o.group}")
    row = {"contestant": which, "rows": len(ids) * o.group, "tokens": o.tokens, "prompt_tokens": max(map(len, ids)), "threads": cores()} | row
    row |= {"tokens_per_second": round(n / row["sample_s"], 1), "step_s": round(row["write_s"] + row["load_s"] + row["sample_s"], 3), "step_cpu_s": round(row["write_cpu_s"] + row["load_cpu_s"] + row["sample_cpu_s"], 3)}
    measure.report(row | exactness(model, ids, logits, tokens, logprobs, o.group))


# The engine's half: the engines' interpreter, which has numpy and an engine, but neither torch nor the lab.

def draw(logits, u):
    "One token a row by inverse transform of its softmax, and its log-probability, as the lab's `draw`."
    import numpy as np
    rows = np.arange(len(logits))
    p = logits - logits.max(1, keepdims=True)
    np.exp(p, out=p)
    blocks = p.reshape(len(p), -1, 256)
    cum = blocks.sum(-1).cumsum(-1, dtype=np.float64)
    target = u * cum[:, -1]
    b = np.minimum((cum <= target[:, None]).sum(1), cum.shape[1] - 1)
    inside = blocks[rows, b].cumsum(-1, dtype=np.float64)
    token = b * 256 + np.minimum((inside <= (target - np.where(b > 0, cum[rows, b - 1], 0))[:, None]).sum(1), 255)
    return token, np.log(p[rows, token] / cum[:, -1])


class OpenVINO:
    "A stateful model; the loop is ours."
    def __init__(self, file: str, job: dict):
        import openvino as ov
        from openvino import opset13 as op
        model = ov.Core().read_model(Path(file).with_suffix(".xml"))
        head = model.get_results()[0].input_value(0).get_node()                      # the output matrix: of last positions only
        last = op.slice(head.input_value(0), op.constant([-1]), op.constant([2**31 - 1]), op.constant([1]), op.constant([1]))
        head.input(0).replace_source_output(last.output(0))
        model.validate_nodes_and_infer_types()
        self.run = ov.compile_model(model, "CPU", how_openvino()).create_infer_request()

    def ask(self, ids, mask, position, beam):
        got = self.run.infer({"input_ids": ids, "attention_mask": mask, "position_ids": position, "beam_idx": beam}, share_inputs=True, share_outputs=True)
        return got["logits"][:, -1]

    def prompts(self, ids):
        "Read the prompts (padded left); next-token logits [P, V]."
        import numpy as np
        self.run.reset_state()
        width = max(map(len, ids))
        self.mask = np.array([[0] * (width - len(p)) + [1] * len(p) for p in ids])
        padded = np.array([[0] * (width - len(p)) + p for p in ids])
        return self.ask(padded, self.mask, np.maximum(self.mask.cumsum(1) - 1, 0), np.arange(len(ids), dtype=np.int32)).copy()

    def sample(self, ids, group, tokens, rng):
        import numpy as np
        logits, n = np.repeat(self.prompts(ids), group, 0), len(ids) * group
        mask = np.ones((n, self.mask.shape[1] + tokens), np.int64)
        mask[:, :self.mask.shape[1]] = np.repeat(self.mask, group, 0)
        position, beam, out = mask[:, :self.mask.shape[1]].sum(1), np.repeat(np.arange(len(ids), dtype=np.int32), group), []      # the state of its prompt goes to each row
        for t in range(tokens):
            token, logp = draw(logits, rng.random(n))
            out.append((token, logp))
            if t + 1 < tokens: logits = self.ask(token[:, None].astype(np.int64), mask[:, :self.mask.shape[1] + t + 1], (position + t)[:, None], beam)
            beam = np.arange(n, dtype=np.int32)
        return as_rows(out)

    def close(self): del self.run


class GenAI:
    "OpenVINO GenAI, continuous batching."
    def __init__(self, file: str, job: dict):
        import openvino_genai as g
        how = g.SchedulerConfig()
        rows, longest = len(job["ids"]) * job["group"], max(map(len, job["ids"])) + job["tokens"]
        how.num_kv_blocks, how.max_num_seqs, how.max_num_batched_tokens = rows * (longest // 32 + 2), rows, 4096
        how.enable_prefix_caching = False
        self.pipe = g.ContinuousBatchingPipeline(Path(file).parent, how, "CPU", how_openvino())

    def prompts(self, ids): return None                    # it gives no logits

    def sample(self, ids, group, tokens, rng):
        import numpy as np
        import openvino as ov
        import openvino_genai as g
        c = g.GenerationConfig()
        c.max_new_tokens, c.ignore_eos, c.do_sample, c.temperature, c.num_return_sequences, c.logprobs, c.rng_seed = tokens, True, True, 1.0, group, 1, int(rng.integers(2**31))
        asked = [self.pipe.add_request(i, ov.Tensor(np.array([p], np.int64)), c) for i, p in enumerate(ids)]
        while self.pipe.has_non_finished_requests(): self.pipe.step()
        got = [x for a in asked for x in a.read_all()]
        return [list(x.generated_ids) for x in got], [list(x.generated_log_probs) for x in got]

    def close(self): del self.pipe


def how_openvino() -> dict:
    "OpenVINO's options: computed, and keys and values kept, in bfloat16 (its default for the latter is 8 bits)."
    return {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16", "INFERENCE_NUM_THREADS": cores(), "PERFORMANCE_HINT": "LATENCY"}


class LlamaCpp:
    "llama.cpp through its batch API."
    def __init__(self, file: str, job: dict):
        import ctypes
        import llama_cpp as l
        self.l, rows = l, len(job["ids"]) * job["group"]
        self.quiet = l.llama_log_callback(lambda *a: None)
        l.llama_log_set(self.quiet, ctypes.c_void_p(0))
        longest = max(map(len, job["ids"])) + job["tokens"]
        m, c = l.llama_model_default_params(), l.llama_context_default_params()
        self.model = l.llama_model_load_from_file(str(file).encode(), m)
        unified = not job["streams"]
        c.n_seq_max, c.kv_unified = rows, unified
        c.n_ctx = sum(map(len, job["ids"])) + rows * job["tokens"] if unified else rows * (-(-longest // 256) * 256)
        c.n_batch = c.n_ubatch = 1024
        c.n_threads = c.n_threads_batch = cores()
        self.context = l.llama_init_from_model(self.model, c)
        if not self.model or not self.context: raise RuntimeError("llama.cpp could not open the model")
        self.width = l.llama_vocab_n_tokens(l.llama_model_get_vocab(self.model))
        self.batch, self.group = l.llama_batch_init(1024, 0, 1), job["group"]

    def ask(self, entries):
        "Decode (token, position, sequence, wanted) entries; logits of the wanted ones."
        import numpy as np
        b = self.batch
        b.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries): b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, position, 1, sequence, wanted
        if got := self.l.llama_decode(self.context, b): raise RuntimeError(f"llama_decode: {got}")
        return np.ctypeslib.as_array(self.l.llama_get_logits(self.context), (sum(e[3] for e in entries), self.width))

    def prompts(self, ids):
        self.l.llama_memory_clear(self.l.llama_get_memory(self.context), True)
        return self.ask([(int(t), i, p * self.group, i + 1 == len(prompt)) for p, prompt in enumerate(ids) for i, t in enumerate(prompt)]).copy()

    def sample(self, ids, group, tokens, rng):
        import numpy as np
        logits, memory, n = np.repeat(self.prompts(ids), group, 0), self.l.llama_get_memory(self.context), len(ids) * group
        for row in range(n):
            if row % group: self.l.llama_memory_seq_cp(memory, row - row % group, row, -1, -1)
        out = []
        for t in range(tokens):
            token, logp = draw(logits, rng.random(n))
            out.append((token, logp))
            if t + 1 < tokens: logits = self.ask([(int(token[r]), len(ids[r // group]) + t, r, True) for r in range(n)])
        return as_rows(out)

    def close(self): self.l.llama_batch_free(self.batch); self.l.llama_free(self.context); self.l.llama_model_free(self.model)


def as_rows(steps: list):
    import numpy as np
    return np.stack([t for t, _ in steps], 1).tolist(), np.stack([p for _, p in steps], 1).tolist()


def prepare_openvino(folder: Path) -> None:
    "OpenVINO's files of the base model: GenAI reads f16.gguf; the int8 model is that one with each matrix as int8 times a scale a row."
    import numpy as np
    import openvino as ov
    import openvino_genai
    from openvino import opset13 as op
    f16, int8 = folder / "ir-f16", folder / "ir-int8"
    f16.mkdir()
    os.link(folder / "f16.gguf", f16 / "model.gguf")
    openvino_genai.LLMPipeline(f16 / "model.gguf", "CPU", enable_save_ov_model=True)
    (f16 / "model.gguf").unlink()
    shutil.copytree(f16, int8, ignore=lambda d, names: [n for n in names if n.startswith("openvino_model")])
    model = ov.Core().read_model(f16 / "openvino_model.xml")
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        if node.get_type_name() != "Constant" or not name.startswith("model.") or len(node.get_output_shape(0)) != 2: continue
        w = np.array(node.data, np.float32)
        scale = (np.abs(w).max(1, keepdims=True) / 127).astype(np.float16)
        q, s = op.constant(np.clip(np.round(w / scale.astype(np.float32)), -127, 127).astype(np.int8)), op.constant(scale)
        q.set_friendly_name(name + ".int8"); s.set_friendly_name(name + ".scale")
        product = op.multiply(op.convert(q, "f16"), s)
        for target in node.output(0).get_target_inputs(): target.replace_source_output(product.output(0))
    ov.save_model(model, int8 / "openvino_model.xml", compress_to_fp16=False)


def engine(which: str, folder: Path) -> None:
    "An engine takes over the weights and samples."
    import gc
    import numpy as np
    if which == "prepare": prepare_openvino(folder); return
    job = json.loads((folder / "job.json").read_text())
    Engine = LlamaCpp if which.startswith("llama.cpp") else GenAI if "genai" in which else OpenVINO
    __import__(NEEDS[family(which)][-1] if Engine is not OpenVINO else "openvino")
    before, rng = held_gib(), np.random.default_rng(job["seed"])
    e = Engine(job["old"], job)
    e.sample(job["ids"], job["group"], 2, rng)                 # first calls of every kernel, with the old weights
    e.close()
    del e
    gc.collect()
    measure.reset_peak()
    clock = Clock()
    e = Engine(job["new"], job)
    row, clock = clock.row("load"), Clock()
    tokens, logprobs = e.sample(job["ids"], job["group"], job["tokens"], rng)
    row |= clock.row("sample") | {"peak_gib": round(measure.peak_gib() - before, 3)}
    logits = e.prompts(job["ids"])
    if logits is not None: np.save(folder / "logits.npy", logits)
    (folder / "out.json").write_text(json.dumps({"tokens": tokens, "logprobs": logprobs}))
    measure.report(row)


def installed(python: str) -> tuple[dict, dict]:
    "Versions of the engines that `python` has, and why others are left out."
    have, out = {}, {}
    for name, modules in NEEDS.items():
        if not python: out[name] = "no --engines-python"; continue
        code = f"import {', '.join(modules)}; print(getattr({modules[-1]}, '__version__', ''))"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
        if done.returncode: out[name] = (done.stderr.strip().splitlines() or ["it does not start"])[-1]
        else: have[name] = done.stdout.split()[-1]
    return have, out


def summary(rows: dict) -> list:
    "Medians of each contestant's measurements, the largest of its peaks; exactness from its first."
    keys = ["sample_s", "write_s", "load_s", "step_s", "sample_cpu_s", "write_cpu_s", "load_cpu_s", "step_cpu_s"]
    out, mine = [], rows.get("lab")
    for c, r in rows.items():
        n = r[0]["rows"] * r[0]["tokens"]
        row = {"contestant": c, "tokens_per_second": round(n / measure.middle(r, "sample_s"), 1), "tokens_per_cpu_second": round(n / measure.middle(r, "sample_cpu_s"), 1)} | {k: round(measure.middle(r, k), 3) for k in keys}
        if mine: row |= {"times_the_labs_step": round(row["step_s"] / measure.middle(mine, "step_s"), 2), "times_the_labs_cpu": round(row["step_cpu_s"] / measure.middle(mine, "step_cpu_s"), 2)}
        out.append(row | {"peak_gib": max(x["peak_gib"] for x in r)} | {k: r[0][k] for k in ("logits_far", "kl", "logprob_far", "logprob_off", "mean_logprob", "its_error", "adapter_kl")})
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engines-python", default="", help="interpreter that has openvino, openvino-genai, llama-cpp-python, numpy")
    p.add_argument("--tokens", type=int, default=64); p.add_argument("--prompts", type=int, default=8); p.add_argument("--group", type=int, default=8)
    p.add_argument("--repeats", type=int, default=2); p.add_argument("--contestants", nargs="+", default=CONTESTANTS, choices=CONTESTANTS)
    p.add_argument("--streams", type=int, default=1, help="llama.cpp: 1: each row keeps keys and values of its own, the prompt's copied; 0: one buffer for all, the prompt's shared")
    p.add_argument("--out", default="", help="results file; - for none")
    p.add_argument("--one", help=argparse.SUPPRESS); p.add_argument("--engine", help=argparse.SUPPRESS); p.add_argument("--folder", help=argparse.SUPPRESS); p.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.engine: engine(o.engine, Path(o.folder)); return
    if o.one == "prepare": prepare(Path(o.folder), o.engines_python, o.contestants); return
    if o.one: one(o.one, o); return
    have, left_out = installed(o.engines_python)
    print("The engines are no dependencies of the lab. Elsewhere: pip install openvino openvino-genai llama-cpp-python numpy, then --engines-python that interpreter.\nhere:", have, "left out:", left_out, flush=True)
    before, contestants = measure.machine(), [c for c in o.contestants if c == "lab" or family(c) in have]
    with tempfile.TemporaryDirectory() as folder:
        more = ["--folder", folder, "--engines-python", o.engines_python]
        if contestants != ["lab"]: measure.child(__file__, "--one", "prepare", *more, "--contestants", *contestants)
        rows = measure.turns(__file__, contestants, o.repeats, *more, "--tokens", o.tokens, "--prompts", o.prompts, "--group", o.group, "--streams", o.streams)
    best = summary(rows)
    print("\n" + measure.table(best))
    note = f"pinned to {cores()} of {os.cpu_count()} cores, beside other work" if cores() < os.cpu_count() else ""
    doc = {"note": note, "cores_used": cores(), "cores_of_the_machine": os.cpu_count(), "engines": have, "left_out": left_out, "summary": best, "rows": [x for r in rows.values() for x in r]}
    sys.argv = ["PATH" if a == o.engines_python else a for a in sys.argv]              # the results name no path of this machine
    measure.write("engines", doc, before, o.out)


if __name__ == "__main__": main()
