"""How the cost of a GRPO step grows: with group size, completion length, model size and the verifier's workers.

    python benchmarks/growth.py                 about 6 minutes on two quiet cores
    python benchmarks/growth.py --quick --out - --figure -     a quick look

One thing changes at a time; the rest is 4 problems x 8 completions x 64 tokens on SmolLM2-135M. Every completion has its full length, rewards
are made up (so that every group has a signal and the verifier plays no part), and the second step of each trainer is measured. Model sizes are random
Llamas of SmolLM2's proportions and vocabulary. Workers: the same layout programs, judged by 1 to 4 of them. The slope is the exponent b of
cost ~ x^b through all points: 1 is proportional, 0 does not grow. Writes benchmarks/results/growth.json and growth.png.
"""
import argparse
import json
import tempfile
from pathlib import Path

import measure

GROUPS, LENGTHS, SIZES = (4, 8, 16, 32), (32, 64, 128, 256), ((192, 6), (320, 12), (576, 30), (768, 32))     # hidden size, layers
QUICK = (2, 4), (8, 16), ((64, 2), (128, 2)), 4


def llama(hidden: int, layers: int):
    "A random Llama of SmolLM2's proportions, bfloat16, and its number of weights."
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    heads = hidden // 64
    kv = next(k for k in (3, 2, 1) if heads % k == 0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=49152, hidden_size=hidden, intermediate_size=hidden * 8 // 3, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv,
                                         tie_word_embeddings=True, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2, pad_token_id=0)).to(torch.bfloat16)
    return model.eval(), sum(p.numel() for p in model.parameters())


def step(group: int, length: int, hidden: int, layers: int, problems: int = 4) -> dict:
    "Seconds of the second step of a trainer, by part."
    from datasets import Dataset
    from grpo_step import clock
    from grpo_lab.config import load_settings
    from grpo_lab.grpo import grpo_config, lab_grpo_trainer
    from grpo_lab.logprobs import keep_freed_memory
    from grpo_lab.student import for_training, load_model, load_tokenizer, lora_config
    from grpo_lab.tasks import open_task
    settings = load_settings("laptop", sets=["grpo.max_steps=2", f"grpo.prompts_per_step={problems}", f"grpo.num_generations={group}", f"grpo.max_completion_length={length}", f"grpo.micro_batch_size={min(16, problems * group)}"])
    model, weights = llama(hidden, layers) if hidden else (load_model(settings), 134515008)
    task = open_task(settings)
    rows = Dataset.from_list([{"prompt": task.messages(p)} for p in task.load("train")[:2 * problems]])
    reward = lambda prompts, completions, **k: [float(i % 2) for i in range(len(completions))]
    keep_freed_memory()
    trainer = lab_grpo_trainer()(for_training(model), reward, grpo_config(settings.grpo, Path(tempfile.gettempdir()) / "grpo-lab-benchmark", 0), train_dataset=rows, processing_class=load_tokenizer(settings),
                                 peft_config=lora_config(settings), sampler="lab", sample_seed=0)
    trainer.eos_token_ids = []
    spent, first = clock(trainer), {}

    from transformers import TrainerCallback

    class First(TrainerCallback):
        def on_step_end(self, args, state, control, **k):
            if state.global_step == 1: first.update(spent)
    trainer.add_callback(First())
    measure.reset_peak()
    trainer.train()
    took = {k: round(v - first[k], 3) for k, v in spent.items()}
    return {"group": group, "length": length, "rows": problems * group, "weights": weights, **took, "update": round(took["step"] - took["sampling"] - took["verification"], 3), "peak_gib": measure.peak_gib()}


def figure(doc: dict, file: str) -> None:
    "One panel a question; the slopes in its legend."
    import matplotlib
    from matplotlib.figure import Figure
    from grpo_lab.plots import HUES, style
    panels = [("group", "group", "completions a problem"), ("length", "length", "tokens a completion"), ("size", "weights", "weights of the model"), ("workers", "workers", "verifier's workers")]
    with matplotlib.rc_context(style()):
        fig = Figure(figsize=(9.2, 6.2))
        for ax, (name, x, label) in zip(fig.subplots(2, 2).flat, panels):
            rows, lines = doc[name]["rows"], [("seconds", HUES["orange"], "judging")] if name == "workers" else [("step", HUES["blue"], "step"), ("sampling", HUES["green"], "sampling"), ("update", HUES["vermillion"], "update")]
            at = [r[x] for r in rows]
            for key, colour, text in lines:
                ax.plot(at, [r[key] for r in rows], "o-", color=colour, markersize=4, label=f"{text}: slope {doc[name]['slope'][key]:.2f}")
            top = max(r[k] for r in rows for k, *_ in lines)
            ax.set_xscale("log")
            if name == "workers": ax.set_ylim(0, 1.25 * top)                 # a factor of two at most: plain seconds show it better
            else: ax.set_yscale("log"); ax.set_ylim(top=3 * top)
            ax.set_xticks(at, [f"{v / 1e6:.0f} M" if v > 1e6 else str(v) for v in at]); ax.minorticks_off()
            ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
            ax.set_xlabel(label); ax.set_ylabel("seconds"); ax.legend(loc="upper left")
        fig.suptitle("What a GRPO step costs on this machine, one thing changed at a time", x=0.012, ha="left", fontsize=11, fontweight="bold")
        fig.savefig(file, dpi=110, metadata={"Software": None})


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true"); p.add_argument("--out", default="", help="results file; - for none"); p.add_argument("--figure", default=str(measure.RESULTS / "growth.png"), help="- for none")
    p.add_argument("--redraw", action="store_true", help="draw the figure from the results file, measure nothing")
    p.add_argument("--one", help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.redraw: figure(json.loads((measure.RESULTS / "growth.json").read_text()), o.figure); return
    if o.one:
        kind, *numbers = json.loads(o.one)
        if kind == "step": measure.report(step(*numbers))
        else:
            from verification import candidates, judged
            measure.report(judged(candidates(numbers[0]), numbers[1]))
        return
    before = measure.machine()
    groups, lengths, sizes, programs = QUICK if o.quick else (GROUPS, LENGTHS, SIZES, 32)
    base = (4, 8) if o.quick else (8, 64)
    run = lambda *a: measure.child(__file__, "--one", json.dumps(a))
    fixed = (128, 2) if o.quick else (0, 0)
    rows = {"group": [run("step", g, base[1], *fixed) for g in groups], "length": [run("step", base[0], n, *fixed) for n in lengths], "size": [run("step", *base, *s) for s in sizes],
            "workers": [run("judge", programs, w) for w in (1, 2, 4)]}
    doc = {}
    for name, x, keys in (("group", "group", ("step", "sampling", "update")), ("length", "length", ("step", "sampling", "update")), ("size", "weights", ("step", "sampling", "update")), ("workers", "workers", ("seconds",))):
        doc[name] = {"slope": {k: round(measure.slope([r[x] for r in rows[name]], [r[k] for r in rows[name]]), 3) for k in keys}, "rows": rows[name]}
        print(f"\n{name}: slope", doc[name]["slope"]); print(measure.table(rows[name]))
    if o.figure != "-": figure(doc, o.figure)
    measure.write("growth", doc, before, o.out)


if __name__ == "__main__": main()
