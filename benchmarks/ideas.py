"""What else might make sampling faster: measured, so that what was left out was left out for a reason.

    python benchmarks/ideas.py        about 3 minutes on two quiet cores

    weights      all matrix products of one decoding step (64 rows, SmolLM2-135M) with weights in float32, bfloat16, bfloat16 packed once (what the
                 sampler does), and int8 with dynamic quantisation; and how far each moves the next-token distribution from float32's (mean KL divergence)
    compile      the part of a layer that is not attention, as it is and under torch.compile with static shapes (needs a C++ compiler)
    stragglers   96 completions of a student after imitation: the share of the time in which at most an eighth, or a quarter, of the rows is still
                 going. Stopping the last rows, or sampling more and keeping the first, cannot save more than that.

Writes benchmarks/results/ideas.json.
"""
import argparse
import json
import time

import measure

ROWS = 64


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
    inner = [m for m in eight.modules() if isinstance(m, torch.ao.nn.quantized.dynamic.Linear)]
    kinds["int8, dynamic"] = [(lambda m=m: m(x[m.in_features])) for m in inner]
    with torch.no_grad():
        def log_p(m): return [torch.log_softmax(m(torch.tensor([p])).logits[0].float(), -1) for p in prompts]
        exact, far = log_p(model), {"float32": 0.0}
        moved = lambda other: float(torch.cat([(a.exp() * (a - b)).sum(-1) for a, b in zip(exact, other)]).mean())
        far["int8, dynamic"], far["int8, one scale a weight"] = moved(log_p(eight)), moved(log_p(whole))
        far["bfloat16"] = far["bfloat16, packed once"] = moved(log_p(copy.deepcopy(model).bfloat16()))
        rows = [{"weights": k, "products": len(fs), "ms": round(1000 * measure.best_of(lambda: [f() for f in fs], 5), 1), "kl_from_float32": round(far[k], 6)} for k, fs in kinds.items()]
        rows.append({"weights": "int8, one scale a weight", "products": len(inner), "ms": None, "kl_from_float32": round(far["int8, one scale a weight"], 6)})
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


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--student", default="", help="merged model; empty: the one that grpo_step.py makes"); p.add_argument("--only", nargs="+", default=["weights", "compile", "stragglers"])
    p.add_argument("--out", default="", help="results file; - for none")
    p.add_argument("--one", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.one: measure.report({"weights": lambda: {"rows": weights()}, "compile": compiled, "stragglers": lambda: stragglers(o.student)}[o.one]()); return
    before, doc = measure.machine(), {}
    for name in o.only:
        more = []
        if name == "stragglers":
            from grpo_step import student
            more = ["--student", o.student or student()]
        doc[name] = measure.child(__file__, "--one", name, *more)
    print(json.dumps(doc, indent=1))
    measure.write("ideas", doc, before, o.out)


if __name__ == "__main__": main()
