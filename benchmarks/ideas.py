"""What else might make sampling faster: measured, so that what was left out was left out for a reason.

    python benchmarks/ideas.py                      about 6 minutes on two quiet cores
    python benchmarks/ideas.py --only cache --run outputs/demo         with a finished run; what was measured before stays in the results

    weights      all matrix products of one decoding step (64 rows, SmolLM2-135M) with weights in float32, bfloat16, bfloat16 packed once (what the
                 sampler does), int8 and int4 (weights alone, a scale a row, and a scale for 32 numbers of it), and int8 as torch quantises
                 dynamically (activations, too); and how far each moves the next-token distribution from float32's (mean KL divergence)
    compile      the part of a layer that is not attention, as it is and under torch.compile with static shapes (needs a C++ compiler)
    stragglers   96 completions of a student after imitation: the share of the time in which at most an eighth, or a quarter, of the rows is still
                 going. Stopping the last rows, or sampling more and keeping the first, cannot save more than that.
    update       a GRPO step of 48 rows of which a third has no advantage: with those rows, and without. Times of this and the next two parts are of the
                 processor, which mean something on a machine that others use, too
    logps        log-probabilities of 16 rows (2 prompts, 8 answers of 160 tokens each) with gradient: ours, which reads each prompt once and never has all
                 logits, and TRL's way, each row with its own prompt and B x T x V logits; time and peak memory
    packing      fine-tuning with and without: stage 1 packed or padded, stage 2 with rows of one length together or as they come; tokens that are not padding a second
    cache        a finished run: how many of its programs had been judged before, in the same batch and in the whole run

Writes benchmarks/results/ideas.json.
"""
import argparse
import json
import time

import measure

ROWS = 64
PARTS = ("weights", "compile", "stragglers", "update", "logps", "packing", "cache")


def models():
    "The student's weights in float32, and prompts as token ids."
    import torch
    from grpo_lab.config import load_settings
    from grpo_lab.rollout import encode
    from grpo_lab.student import load_model, load_tokenizer
    from grpo_lab.tasks import open_task
    settings = load_settings("laptop")
    task = open_task(settings)
    problems = task.load("train")[::40]
    ids = encode(load_tokenizer(settings), [[*task.messages(p), {"role": "assistant", "content": p.reference}] for p in problems])
    return load_model(settings, dtype=torch.float32), ids


def weights() -> list:
    "Products of a step, and the distributions, kind by kind."
    import copy
    import torch
    import torch.nn.functional as F
    from grpo_lab.rollout import _Linear
    model, prompts = models()
    shapes = [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear)]             # the tied output matrix is one of them
    x = {n: torch.randn(ROWS, n) for n in {w.shape[1] for w in shapes}}
    half = {n: v.bfloat16() for n, v in x.items()}
    kinds = {"float32": [(lambda w=w: F.linear(x[w.shape[1]], w)) for w in shapes]}
    b16 = [w.detach().bfloat16() for w in shapes]
    kinds["bfloat16"] = [(lambda w=w: F.linear(half[w.shape[1]], w)) for w in b16]
    packed = [(w.shape[1], _Linear(w)) for w in b16]
    kinds["bfloat16, packed once"] = [(lambda n=n, f=f: f(half[n])) for n, f in packed]
    quantised = lambda spec: torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), spec, dtype=torch.qint8)
    eight, whole = quantised({torch.nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}), quantised({torch.nn.Linear})      # a scale for each row of a weight; one for each weight
    scaled = lambda w, bits, size: (lambda g: (g / (s := g.abs().amax(-1, keepdim=True).clamp(min=1e-8) / (2 ** (bits - 1) - 1))).round() * s)(w.detach().view(len(w), -1, size)).view_as(w)
    ints = [(w.shape[1], (w.detach() / (q := w.detach().abs().amax(1, keepdim=True) / 127)).round().to(torch.int8), q[:, 0].bfloat16()) for w in shapes]
    kinds["int8, weights alone"] = [(lambda n=n, w=w, q=q: torch._weight_int8pack_mm(half[n], w, q)) for n, w, q in ints]
    inner = [m for m in eight.modules() if isinstance(m, torch.ao.nn.quantized.dynamic.Linear)]
    kinds["int8, dynamic"] = [(lambda m=m: m(x[m.in_features])) for m in inner]
    with torch.no_grad():
        def log_p(m): return [torch.log_softmax(m(torch.tensor([p])).logits[0].float(), -1) for p in prompts]
        exact, far = log_p(model), {"float32": 0.0}
        moved = lambda other: float(torch.cat([(a.exp() * (a - b)).sum(-1) for a, b in zip(exact, other)]).mean())
        far["int8, dynamic"], far["int8, one scale a weight"] = moved(log_p(eight)), moved(log_p(whole))
        for name, bits, size in (("int8, weights alone", 8, 0), ("int4, weights alone, groups of 32", 4, 32)):
            other = copy.deepcopy(model)
            for m in other.modules():
                if isinstance(m, torch.nn.Linear) and m is not other.lm_head: m.weight.data = scaled(m.weight, bits, size or m.weight.shape[1])
            other.lm_head.weight.data = scaled(other.lm_head.weight, bits, size or other.lm_head.weight.shape[1])       # embeddings are the same matrix
            far[name] = moved(log_p(other))
        far["bfloat16"] = far["bfloat16, packed once"] = moved(log_p(copy.deepcopy(model).bfloat16()))
        rows = [{"weights": k, "products": len(fs), "ms": round(1000 * measure.best_of(lambda: [f() for f in fs], 5), 1), "kl_from_float32": round(far[k], 6)} for k, fs in kinds.items()]
        rows.append({"weights": "int8, one scale a weight", "products": len(inner), "ms": None, "kl_from_float32": round(far["int8, one scale a weight"], 6)})
        rows.append({"weights": "int4, weights alone, groups of 32", "products": len(inner), "ms": None, "kl_from_float32": round(far["int4, weights alone, groups of 32"], 6)})
    return rows


def compiled() -> dict:
    "A layer's norms, projections and gated MLP, 64 rows, as they are and compiled."
    import torch
    import torch.nn.functional as F
    torch.manual_seed(0)
    d, f = 576, 1536
    w = {k: (torch.randn(*s) / 24).bfloat16() for k, s in {"n1": (d,), "n2": (d,), "qkv": (960, d), "o": (d, d), "gu": (2 * f, d), "down": (d, f)}.items()}
    cos = sin = torch.rand(ROWS, 1, 32).bfloat16()

    def layer(x):
        qkv = F.linear(F.rms_norm(x, (d,), w["n1"], 1e-5), w["qkv"]).view(ROWS, 15, 64)
        a, b = qkv[:, :12].chunk(2, -1)
        turned = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        x = x + F.linear(turned[:, :9].reshape(ROWS, d), w["o"])
        gate, up = F.linear(F.rms_norm(x, (d,), w["n2"], 1e-5), w["gu"]).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, w["down"])
    x = torch.randn(ROWS, d).bfloat16()
    with torch.no_grad():
        plain = measure.best_of(lambda: [layer(x) for _ in range(30)], 10)
        began = time.perf_counter()
        try:
            fast = torch.compile(layer, dynamic=False)
            fast(x)
        except Exception as e: return {"as_it_is_ms": round(1000 * plain, 2), "compiled": f"not possible here: {type(e).__name__}: {str(e).splitlines()[0][:200]}"}
        spent = time.perf_counter() - began
        quick = measure.best_of(lambda: [fast(x) for _ in range(30)], 10)
    return {"layers": 30, "as_it_is_ms": round(1000 * plain, 2), "compiled_ms": round(1000 * quick, 2), "compiling_s": round(spent, 1)}


def stragglers(folder: str) -> dict:
    "Time of sampling by how many rows are still going."
    from grpo_lab import rollout
    from grpo_lab.config import load_settings
    from grpo_lab.logprobs import keep_freed_memory
    from grpo_lab.student import load_model, load_tokenizer
    from grpo_lab.tasks import open_task
    keep_freed_memory()
    settings = load_settings("laptop")
    task, tok, model = open_task(settings), load_tokenizer(settings), load_model(settings, folder)
    problems = task.load("train")[::23][:12]
    lab, eos = rollout.LabSampler(model), rollout.eos_ids(model, tok)
    ids = rollout.encode(tok, [task.messages(p) for p in problems])
    ticks, inner = [], rollout.draw

    def draw(logits, *a):
        ticks.append((time.perf_counter(), len(logits)))
        return inner(logits, *a)
    rollout.sample_ids(lab, ids, 8, max_completion_length=4, eos=eos)
    rollout.draw = draw
    began = time.perf_counter()
    got = rollout.sample_ids(lab, ids, 8, max_completion_length=160, eos=eos)
    end = time.perf_counter()
    rollout.draw = inner
    lengths = sorted(len(s.token_ids) for s in got)
    times = [t for t, _ in ticks] + [end]
    alive = [sum(n > t for n in lengths) for t in range(len(ticks))]
    late = lambda share: sum(b - a for a, b, n in zip(times, times[1:], alive) if n <= share * len(got)) / (end - began)
    return {"rows": len(got), "seconds": round(end - began, 2), "tokens": sum(lengths), "median_length": lengths[len(lengths) // 2], "longest": lengths[-1],
            "ended": sum(s.finish_reason == "stop" for s in got), "time_with_an_eighth_or_less": round(late(1 / 8), 3), "time_with_a_quarter_or_less": round(late(1 / 4), 3)}


def update(folder: str) -> dict:
    "Seconds of log-probabilities and backward pass with rows without advantage, and without them."
    import torch
    from grpo_lab.config import load_settings
    from grpo_lab.verify import open_verifier
    from grpo_step import trainer_of
    settings, out = load_settings("laptop", sets=["grpo.max_steps=1", "grpo.prompts_per_step=6", "grpo.w_teacher=0", "grpo.w_self=0"]), {}
    with open_verifier(settings) as verifier:
        for name, skip in (("all rows", False), ("without them", True), ("all rows, again", False), ("without them, again", True)):
            trainer = trainer_of("lab", settings, folder, 0, verifier)
            trainer.skip_zero = skip
            trainer._calculate_rewards = lambda *_: torch.arange(48.0)[:, None] * (torch.arange(48)[:, None] // 8 % 3 > 0)      # two groups of six: all equal
            began = time.process_time()
            trainer.train()
            out[name] = round(time.process_time() - began, 2)
    return {"rows": 48, "without_advantage": 16, "cpu_seconds": out, "saved": round(1 - (out["without them"] + out["without them, again"]) / (out["all rows"] + out["all rows, again"]), 3)}


def logps(which: str) -> dict:
    "Forward and backward pass of 16 rows, one way."
    import torch
    from peft import get_peft_model
    from trl.trainer.utils import selective_log_softmax
    from grpo_lab.config import load_settings
    from grpo_lab.logprobs import completion_logps, keep_freed_memory
    from grpo_lab.rollout import encode
    from grpo_lab.student import for_training, load_model, load_tokenizer, lora_config
    from grpo_lab.tasks import open_task
    keep_freed_memory()
    settings = load_settings("laptop")
    task, model = open_task(settings), get_peft_model(for_training(load_model(settings)), lora_config(settings))
    ids = encode(load_tokenizer(settings), [task.messages(p) for p in task.load("train")[::60][:2]])
    width, gen = max(map(len, ids)), torch.Generator().manual_seed(0)
    prompt = torch.tensor([[0] * (width - len(p)) + p for p in ids]).repeat_interleave(8, 0)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in ids]).repeat_interleave(8, 0)
    answer = torch.randint(10, 40000, (16, 160), generator=gen)
    ones = torch.ones_like(answer)

    def plain():
        whole, seen = torch.cat([prompt, answer], 1), torch.cat([mask, ones], 1)
        with torch.autocast("cpu", dtype=torch.bfloat16): logits = model(input_ids=whole, attention_mask=seen, logits_to_keep=161, use_cache=False).logits[:, :-1]
        return selective_log_softmax(logits.float(), answer)
    make = {"ours": lambda: completion_logps(model, prompt, mask, answer, ones)[0], "all logits": plain}[which]

    def once():
        model.zero_grad()
        make().sum().backward()
    once()
    measure.reset_peak()
    began = time.process_time()
    once()
    seconds = time.process_time() - began
    with torch.no_grad(): mean = float(make().mean())
    return {"way": which, "rows": 16, "prompt_tokens": width, "cpu_seconds": round(seconds, 2), "peak_gib": measure.peak_gib(), "mean_logp": round(mean, 4)}


def packing() -> list:
    "Tokens a second, and the share of padding."
    import tempfile
    from pathlib import Path
    from datasets import Dataset
    from trl import SFTTrainer
    from grpo_lab.config import load_settings
    from grpo_lab.logprobs import keep_freed_memory
    from grpo_lab.sft import lab_trainer, render_row, sft_config
    from grpo_lab.student import for_training, load_model, load_tokenizer, lora_config
    from sft import rows_of
    keep_freed_memory()
    settings, out = load_settings("laptop", sets=["stage1.max_steps=4", "stage2.max_steps=8"]), []
    for stage, name in ((1, "packed"), (1, "padded"), (2, "one length together"), (2, "as they come")):
        cfg, tok = getattr(settings, f"stage{stage}"), load_tokenizer(settings)
        tok.padding_side = "right"
        args = sft_config(cfg, Path(tempfile.gettempdir()) / "grpo-lab-benchmark", 0, name == "packed")
        if name in ("padded", "as they come"): args.train_sampling_strategy = "random"
        trainer = lab_trainer(SFTTrainer)(for_training(load_model(settings)), args, train_dataset=Dataset.from_list([render_row(tok, r) for r in rows_of(settings, stage)]), processing_class=tok, peft_config=lora_config(settings))
        seen, inner = {"tokens": 0, "places": 0, "calls": 0}, trainer.compute_loss

        def counted(model, inputs, *a, seen=seen, inner=inner, **k):
            seen["calls"] += 1
            if seen["calls"] == 2: seen.update(tokens=0, places=0, began=time.process_time())        # the first step does not count
            ids = inputs["input_ids"]
            mask = inputs.get("attention_mask")
            seen["tokens"] += int(ids.numel() if mask is None else mask.sum())
            seen["places"] += ids.numel()
            return inner(model, inputs, *a, **k)
        trainer.compute_loss = counted
        trainer.train()
        seconds = time.process_time() - seen["began"]
        out.append({"stage": stage, "rows": name, "tokens": seen["tokens"], "padding": round(1 - seen["tokens"] / seen["places"], 3), "tokens_per_cpu_second": round(seen["tokens"] / seconds, 1)})
    return out


def cache(run: str) -> dict:
    "Programs of a run that had been judged before, and rows that GRPO's update needs."
    from grpo_lab.ledger import Ledger
    rows = Ledger(run + "/ledger", "").read()
    rows = rows[rows.code.notna()].assign(key=lambda d: d.problem_id + "\0" + d.code)
    batch = rows.stage + "/" + rows.model.fillna("").astype(str) + "/" + rows.step.fillna(-1).astype(str)
    out = {}
    for name, part in (("whole run", rows), ("GRPO", rows[rows.stage == "3_grpo"])):
        out[name] = {"programs": len(part), "twice_in_a_batch": round(float(part.duplicated("key").where(part.assign(b=batch).duplicated(["b", "key"]), False).mean()), 3), "judged_before_in_the_run": round(float(part.duplicated("key").mean()), 3)}
    step = rows[rows.advantage.notna() & (rows.stage == "3_grpo")]
    told = step[step.advantage.abs() > 1e-5]      # of older runs, too, whose zeros were rounded
    out["GRPO's update"] = {"rows": len(step), "with_advantage": round(len(told) / max(1, len(step)), 3), "different": round(len(told.drop_duplicates(["step", "group_id", "completion"])) / max(1, len(step)), 3)}
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--student", default="", help="merged model; empty: the one that grpo_step.py makes"); p.add_argument("--run", default="", help="a finished run, for cache; empty: cache is left out")
    p.add_argument("--only", nargs="+", choices=PARTS, default=None, help="these parts; the others keep what the results file has")
    p.add_argument("--out", default="", help="results file; - for none")
    p.add_argument("--one", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.one:
        measure.report({"weights": lambda: {"rows": weights()}, "compile": compiled, "stragglers": lambda: stragglers(o.student), "update": lambda: update(o.student), "logps ours": lambda: logps("ours"),
                        "logps all logits": lambda: logps("all logits"), "packing": lambda: {"rows": packing()}, "cache": lambda: cache(o.run)}[o.one]())
        return
    before, file = measure.machine(), measure.RESULTS / "ideas.json"
    doc = {k: v for k, v in json.loads(file.read_text()).items() if k in PARTS} if o.only and file.exists() else {}
    for name in o.only or [n for n in PARTS if n != "cache" or o.run]:
        more = ["--run", o.run] if name == "cache" else []
        if name in ("stragglers", "update"):
            from grpo_step import student
            more = ["--student", o.student or student()]
        steps = ["logps ours", "logps all logits"] if name == "logps" else [name]
        found = [measure.child(__file__, "--one", step, *more) for step in steps]
        doc[name] = {"busy_before": before["busy_before"], **({"rows": found} if name == "logps" else found[0])}
    print(json.dumps(doc, indent=1))
    measure.write("ideas", doc, before, o.out)


if __name__ == "__main__": main()
