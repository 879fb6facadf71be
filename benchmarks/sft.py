"""Fine-tuning: tokens per second of the lab's trainer against TRL's SFTTrainer, on the same rows of stages 1 and 2.

    python benchmarks/sft.py                        about 6 minutes on two quiet cores
    python benchmarks/sft.py --steps 2 --stages 2 --contestants lab float32 --out -      a quick look

    lab        grpo_lab.sft: bfloat16 weights, the loss without the whole logits, rows of one length together; stage 1 packed
    float32    trl.SFTTrainer with the lab's batch size, max_length and LoRA, bf16=False, no gradient checkpointing (which is faster)
    defaults   trl.SFTTrainer with its own defaults, which need use_cpu=True here: autocast, gradient checkpointing, no packing

Stage 1: the corpus of layout generators, as the laptop profile cuts it. Stage 2: the training problems with their reference programs. Tokens are
those of the rows, padding not counted; the first optimiser step does not count. Each measurement has a process of its own; contestants take turns.
Writes benchmarks/results/sft.json.
"""
import argparse
import tempfile
import time
from pathlib import Path

import measure


def rows_of(settings, stage: int) -> list:
    "Training rows."
    from grpo_lab.tasks import open_task
    if stage == 1:
        from grpo_lab.corpus import build_corpus
        from grpo_lab.student import load_tokenizer
        with tempfile.TemporaryDirectory() as d: return build_corpus(settings, Path(d) / "corpus.jsonl", load_tokenizer(settings))[0]
    task = open_task(settings)
    return [{"prompt": task.messages(p), "completion": f"```python\n{p.reference}```"} for p in task.load("train")]


def one(which: str, stage: int, steps: int, seed: int) -> None:
    "Measure one contestant on one stage."
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer
    from grpo_lab.config import load_settings
    from grpo_lab.logprobs import keep_freed_memory
    from grpo_lab.sft import lab_trainer, render_row, sft_config
    from grpo_lab.student import for_training, load_model, load_tokenizer, lora_config
    settings = load_settings("laptop", sets=[f"stage{stage}.max_steps={steps + 1}"])
    cfg, tok = getattr(settings, f"stage{stage}"), load_tokenizer(settings)
    tok.padding_side = "right"
    rows, out = [render_row(tok, r) for r in rows_of(settings, stage)], Path(tempfile.gettempdir()) / "grpo-lab-benchmark"
    how = dict(train_dataset=Dataset.from_list(rows), processing_class=tok, peft_config=lora_config(settings))
    if which == "lab":
        keep_freed_memory()
        trainer = lab_trainer(SFTTrainer)(for_training(load_model(settings)), sft_config(cfg, out, seed, "text" in rows[0]), **how)
    else:
        own = dict(bf16=False, gradient_checkpointing=False) if which == "float32" else dict(use_cpu=True)
        args = SFTConfig(output_dir=str(out), max_steps=steps + 1, per_device_train_batch_size=cfg.per_device_train_batch_size, gradient_accumulation_steps=cfg.gradient_accumulation_steps, max_length=cfg.max_length,
                         learning_rate=cfg.learning_rate, seed=seed, logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, **own)
        trainer = SFTTrainer(load_model(settings, dtype=torch.float32), args, **how)
    seen = {"tokens": 0, "places": 0}
    inner = trainer.compute_loss

    def counted(model, inputs, *a, **k):
        mask = inputs.get("attention_mask")
        seen["tokens"] += int(inputs["input_ids"].numel() if mask is None else mask.sum())
        seen["places"] += inputs["input_ids"].numel()
        return inner(model, inputs, *a, **k)
    trainer.compute_loss = counted

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **k):
            if state.global_step == 1:
                seen.update(tokens=0, places=0, began=time.perf_counter(), cpu=time.process_time())
                measure.reset_peak()
            if state.global_step == steps + 1: seen.update(seconds=time.perf_counter() - seen["began"], cpu=time.process_time() - seen["cpu"])
    trainer.add_callback(Clock())
    trainer.train()
    losses = [round(h["loss"], 3) for h in trainer.state.log_history if "loss" in h]
    measure.report({"contestant": which, "stage": stage, "steps": steps, "tokens": seen["tokens"], "padding": round(1 - seen["tokens"] / seen["places"], 3), "seconds": round(seen["seconds"], 2),
                    "cpu_seconds": round(seen["cpu"], 1), "tokens_per_second": round(seen["tokens"] / seen["seconds"], 1), "peak_gib": measure.peak_gib(), "losses": losses})


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, nargs="+", default=[2, 6], help="optimiser steps measured, of stage 1 and of stage 2"); p.add_argument("--stages", type=int, nargs="+", default=[1, 2])
    p.add_argument("--repeats", type=int, default=1, help="measurements of each; the lab has one more"); p.add_argument("--contestants", nargs="+", default=["lab", "float32", "defaults"])
    p.add_argument("--out", default="", help="results file; - for none")
    p.add_argument("--one", help=argparse.SUPPRESS); p.add_argument("--stage", type=int, help=argparse.SUPPRESS); p.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.one: one(o.one, o.stage, o.steps[0], o.seed); return
    before, found, all_rows = measure.machine(), [], []
    for stage in o.stages:
        same = ["--stage", stage, "--steps", o.steps[min(stage, len(o.steps)) - 1]]
        rows = measure.turns(__file__, o.contestants, o.repeats, *same)
        rows["lab"].append(measure.child(__file__, "--one", "lab", *same))
        fast = measure.middle(rows["lab"], "tokens_per_second")
        for c, r in rows.items():
            rate = measure.middle(r, "tokens_per_second")
            found.append({"stage": stage, "contestant": c, "tokens_per_second": rate, "peak_gib": max(x["peak_gib"] for x in r), "padding": r[0]["padding"], "lab_is_faster": round(fast / rate, 2)})
            all_rows += r
    print("\n" + measure.table(found))
    measure.write("sft", {"summary": found, "rows": all_rows}, before, o.out)


if __name__ == "__main__": main()
