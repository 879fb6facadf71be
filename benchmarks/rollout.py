"""Sampling: the lab's CPU sampler against TRL's own call of transformers' `generate`, with floors measured on the machine.

    python benchmarks/rollout.py                                about 5 minutes on two quiet cores
    python benchmarks/rollout.py --tokens 8 --repeats 1 --contestants lab float32     a quick look

Every contestant is a GRPO trainer (ours, or plain `trl.GRPOTrainer`) with the same SmolLM2-135M, the same LoRA adapter, prompts and
seed, asked by its own `_generate_single_turn` for 8 prompts x 8 completions of exactly 128 tokens (no row may end earlier, which
leaves out one advantage of the lab's sampler: rows that end leave). The lab's time includes merging and packing the weights.

    lab        grpo_lab: shared prompts, merged LoRA, bfloat16 packed once
    float32    TRL as it must be set on a CPU unless one says more: bf16=False
    autocast   TRL's defaults, which need use_cpu=True here: float32 weights, bfloat16 autocast
    bfloat16   TRL with the model loaded in bfloat16 by hand
    bare       float32 without LoRA, 64 tokens a row (the comparison that was tried first), and lab-bare likewise

Each measurement has a process of its own; contestants take turns. Peak memory is the process's while it samples. The floor of a decoding
step is the larger of: bytes of the weights at the rate of a large copy; multiply-adds at the rate of a large matrix product.
Writes benchmarks/results/rollout.json.
"""
import argparse
import tempfile
import time
from pathlib import Path

import measure


def trainer_of(which: str, tokens: int, group: int, lora: bool):
    "A trainer as its users would make it, and the prompts' token ids, one row a completion."
    import torch
    from datasets import Dataset
    from grpo_lab.config import load_settings
    from grpo_lab.grpo import grpo_config, lab_grpo_trainer
    from grpo_lab.logprobs import keep_freed_memory
    from grpo_lab.rollout import encode
    from grpo_lab.student import for_training, load_model, load_tokenizer, lora_config
    from grpo_lab.tasks import open_task
    settings = load_settings("laptop", sets=[f"grpo.max_completion_length={tokens}", f"grpo.num_generations={group}", f"grpo.prompts_per_step={measure_prompts}", f"grpo.micro_batch_size={group}"])
    tok, task = load_tokenizer(settings), open_task(settings)
    problems = task.load("train")[::7][:measure_prompts]
    messages = [task.messages(p) for p in problems]
    rows = Dataset.from_list([{"prompt": m} for m in messages])
    peft = lora_config(settings) if lora else None
    reward = lambda prompts, completions, **kw: [0.0] * len(completions)
    folder = Path(tempfile.gettempdir()) / "grpo-lab-benchmark"           # nothing is saved there
    if which.startswith("lab"):
        args, model = grpo_config(settings.grpo, folder, 0), for_training(load_model(settings))
        keep_freed_memory()
        trainer = lab_grpo_trainer()(model, reward, args, train_dataset=rows, processing_class=tok, peft_config=peft, sampler="lab", sample_seed=0)
        trainer.eos_token_ids = []                                     # no token ends a row
    else:
        from trl import GRPOConfig, GRPOTrainer
        bf16 = which == "autocast"
        args = GRPOConfig(output_dir=str(folder), per_device_train_batch_size=group, num_generations=group, generation_batch_size=group * measure_prompts, max_completion_length=tokens,
                          temperature=1.0, bf16=bf16, use_cpu=bf16, report_to=[], seed=0, generation_kwargs={"min_new_tokens": tokens})
        model = load_model(settings, dtype=torch.bfloat16 if which == "bfloat16" else torch.float32)
        trainer = GRPOTrainer(model, reward, args, train_dataset=rows, processing_class=tok, peft_config=peft)
    if lora:
        torch.manual_seed(1)
        for name, w in trainer.model.named_parameters():
            if "lora_B" in name: torch.nn.init.normal_(w, std=0.01)   # an adapter that has learned something
    ids = [p for p in encode(tok, messages) for _ in range(group)]
    return trainer, ids


def one(which: str, tokens: int, group: int, seed: int) -> None:
    "Measure one contestant."
    import torch
    lora = not which.endswith("bare")
    trainer, ids = trainer_of(which, tokens, group, lora)
    trainer.model.train()

    def limit(n):
        if hasattr(trainer, "generation_config") and not which.startswith("lab"): trainer.generation_config.max_new_tokens = trainer.generation_config.min_new_tokens = n
        trainer.max_completion_length = n
    limit(2)
    trainer._generate_single_turn(ids, None, {}, group)                # first calls of every kernel
    limit(tokens)
    if which.startswith("lab"): trainer.sample_seed = seed
    torch.manual_seed(seed)
    measure.reset_peak()
    began, cpu = time.perf_counter(), time.process_time()
    got, _ = trainer._generate_single_turn(ids, None, {}, group)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    n = sum(map(len, got))
    if n != tokens * len(ids): raise SystemExit(f"{which}: {n} tokens instead of {tokens * len(ids)}")
    measure.report({"contestant": which, "rows": len(ids), "tokens": tokens, "prompt_tokens": max(map(len, ids)), "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 2),
                    "tokens_per_second": round(n / seconds, 1), "peak_gib": measure.peak_gib()})


def decode_floor(found: dict, rows: int) -> dict:
    "Tokens per second that a decoding step of `rows` rows cannot pass: all weights read once, one multiply-add a weight and row."
    from grpo_lab.memory import KNOWN, parameters
    n = parameters(KNOWN["SmolLM2-135M"])
    out = {}
    for name, size in (("bfloat16", 2), ("float32", 4)):
        read, compute = n * size / (found["copy_gb_s"] * 1e9 / 2), 2 * n * rows / (found[f"matmul_{name}_tflop_s"] * 1e12)      # half of a copy's bytes are reads
        out[name] = {"read_ms": round(1000 * read, 2), "compute_ms": round(1000 * compute, 2), "tokens_per_second": round(rows / max(read, compute), 1)}
    return out


measure_prompts = 8


def main() -> None:
    global measure_prompts
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tokens", type=int, default=128); p.add_argument("--prompts", type=int, default=8); p.add_argument("--group", type=int, default=8)
    p.add_argument("--repeats", type=int, default=2); p.add_argument("--contestants", nargs="+", default=["lab", "float32", "autocast", "bfloat16"])
    p.add_argument("--no-bare", action="store_true", help="leave out the comparison without LoRA")
    p.add_argument("--out", default="", help="results file; - for none")
    p.add_argument("--one", help=argparse.SUPPRESS); p.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    o = p.parse_args()
    measure_prompts = o.prompts
    if o.one: one(o.one, o.tokens, o.group, o.seed); return
    before = measure.machine()
    floor = measure.floors()
    print(floor, flush=True)
    shape = ["--prompts", o.prompts, "--group", o.group]
    rows = measure.turns(__file__, o.contestants, o.repeats, "--tokens", o.tokens, *shape)
    if not o.no_bare: rows |= measure.turns(__file__, ["lab-bare", "bare"], 1, "--tokens", max(2, o.tokens // 2), *shape)
    bound = decode_floor(floor, o.prompts * o.group)
    best = {c: {"contestant": c, "tokens_per_second": measure.middle(r, "tokens_per_second"), "seconds": measure.middle(r, "seconds"), "cpu_seconds": measure.middle(r, "cpu_seconds"), "peak_gib": max(x["peak_gib"] for x in r)} for c, r in rows.items()}
    for c, r in best.items():
        kind = "float32" if c in ("float32", "bare") else "bfloat16"
        mine = best.get("lab-bare" if "bare" in c else "lab")
        r["share_of_floor"] = round(r["tokens_per_second"] / bound[kind]["tokens_per_second"], 3)
        if mine: r |= {"lab_is_faster": round(mine["tokens_per_second"] / r["tokens_per_second"], 2), "times_the_labs_cpu": round(r["cpu_seconds"] / mine["cpu_seconds"], 2)}
    print("\n" + measure.table(list(best.values())))
    print("floors", floor, bound)
    measure.write("rollout", {"floors": floor, "decode_floor": bound, "summary": list(best.values()), "rows": [x for r in rows.values() for x in r]}, before, o.out)


if __name__ == "__main__": main()
