"""How far does a small causal model get when it is made into a masked-diffusion model? SmolLM2-135M, all weights, on text of Python's own library.

    python benchmarks/adaptation.py                  # 200 steps of 1,024 tokens: about 20 minutes on one core
    python benchmarks/adaptation.py --steps 4 --measure 0 4 --problems 2 --out -      # does it work?

Before, along the way and after: nats per hidden token on files and on programs it was not trained on, at three shares of hidden tokens, beside
what the causal model it came from needs for the next token of the same texts; then answers to held-out problems, by denoising and by the causal model.
The text is the standard library of the Python that runs this (a file is held out by the hash of its name). Writes benchmarks/results/adaptation.json.
"""
import argparse
import hashlib
import math
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from measure import machine, write

SHARES = (0.15, 0.5, 1.0)


def texts(held: bool) -> list[str]:
    "Files of the standard library, tests left out; one in ten is held out."
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [f for f in sorted(root.glob("*.py")) + sorted(root.glob("*/*.py")) if "test" not in str(f.relative_to(root)) and "site-packages" not in f.parts]
    return [f.read_text(encoding="utf-8", errors="replace") for f in files if (int(hashlib.sha256(f.name.encode()).hexdigest(), 16) % 10 == 0) == held]


def nats(model, tokenizer, rows: list[dict], share: float, seed: int = 0) -> float:
    "Mean -log p of a hidden token, `share` of the completion's tokens hidden at random (the same ones for every model)."
    import torch
    from grpo_lab.denoising import pad_rows
    from grpo_lab.masked_lm import mask_id, masked_logps
    total = count = 0
    generator = torch.Generator().manual_seed(seed)
    for row in rows:
        batch = pad_rows([row], tokenizer.pad_token_id, tokenizer.eos_token_id)
        ids, seen = batch["input_ids"], batch["attention_mask"]
        hidden = batch["completion_mask"].bool() & (torch.rand(ids.shape, generator=generator) < share)
        if not hidden.any(): continue
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            logps, _ = masked_logps(model, ids.masked_fill(hidden, mask_id(model)), ids, hidden, seen)
        total, count = total - float(logps.sum()), count + int(hidden.sum())
    return total / count


def causal_nats(model, rows: list[dict]) -> float:
    "Mean -log p of the completion's tokens, each given all before it."
    import torch
    from grpo_lab.logprobs import sequence_logps
    total = count = 0
    for row in rows:
        ids = torch.tensor([row["prompt_ids"] + row["completion_ids"]]); score = torch.ones_like(ids); score[:, :max(1, len(row["prompt_ids"]))] = 0
        with torch.no_grad(): total, count = total - float(sequence_logps(model, ids, torch.ones_like(ids), score)[0].sum()), count + int(score.sum())
    return total / count


def judged(settings, problems, completions) -> dict:
    "Shares of answers that parse, run and pass, and the first two as they are."
    from grpo_lab.verify import open_verifier
    with open_verifier(settings) as verifier: verdicts = verifier.verify([(p, c.code) for p, c in zip(problems, completions)])
    n = len(problems); parses = sum(v.status not in ("no_code", "syntax_error") for v in verdicts)
    return {"parses": parses / n, "runs": sum(v.status == "ok" for v in verdicts) / n, "passes": sum(v.clean for v in verdicts) / n, "examples": [c.text[:400] for c in completions[:2]]}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--measure", type=int, nargs="+", default=[0, 50, 200], help="after how many steps to measure")
    parser.add_argument("--problems", type=int, default=24, help="held-out starter problems to answer")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="another file for the results; -: none")
    args = parser.parse_args(argv)

    import torch
    from transformers import TrainerCallback
    from grpo_lab import rollout, student, tasks
    from grpo_lab.config import load_settings
    from grpo_lab.denoising import complete_masked, diffusion_rows, train_diffusion_sft
    from grpo_lab.masked_lm import load_masked_lm, masked_student

    settings = load_settings("diffusion", sets=["task=starter", "student.model=HuggingFaceTB/SmolLM2-135M-Instruct", "diffusion.lora=false", "diffusion.shifted_head=true",
        f"diffusion.max_steps={args.steps}", f"diffusion.learning_rate={args.learning_rate}", "diffusion.lr_scheduler_type=cosine", "diffusion.per_device_train_batch_size=4", "diffusion.max_length=256"])
    before, began, messages = machine(), time.time(), tasks.messages("starter")
    held = tasks.pick(tasks.load_problems("starter", "heldout"), args.problems, args.seed)
    answer = lambda p: {"prompt": messages(p), "completion": f"```python\n{p.reference.strip()}\n```"}
    with tempfile.TemporaryDirectory() as work:
        folder = masked_student(settings, Path(work) / "masked", True); model, tokenizer = load_masked_lm(folder, dtype=torch.float32)
        library = diffusion_rows(tokenizer, [{"text": t} for t in texts(True)], 256)[:20]; programs = diffusion_rows(tokenizer, [answer(p) for p in held], 384)
        rows, points = [{"text": t} for t in texts(False)] + [answer(p) for p in tasks.load_problems("starter", "train")], []

        plain = student.load_model(settings)
        causal = {"library": causal_nats(plain, library), "programs": causal_nats(plain, programs),
                  "answers": judged(settings, held, rollout.complete(plain, student.load_tokenizer(settings), held, messages, max_completion_length=96))}
        del plain

        def measure(step: int) -> None:
            was = model.training; model.eval()
            points.append({"step": step, "seconds": round(time.time() - began, 1), **{kind: {str(s): round(nats(model, tokenizer, some, s), 3) for s in SHARES} for kind, some in (("library", library), ("programs", programs))}})
            print(points[-1], flush=True); model.train(was)

        class Along(TrainerCallback):
            def on_step_end(self, a, state, control, **_):
                if state.global_step in args.measure and state.global_step < args.steps: measure(state.global_step)
        measure(0)
        result = train_diffusion_sft(settings, settings.diffusion, rows, model, tokenizer, Path(work) / "adapted", seed=args.seed, callbacks=(Along(),))
        measure(args.steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            wrote = complete_masked(model, tokenizer, held, messages, max_completion_length=96, diffusion_steps=48, temperature=0.0, seed=args.seed)
        answers = judged(settings, held, wrote)

    print(f"\nnats per token        library  programs   (a uniform guess: {math.log(len(tokenizer)):.1f})")
    print(f"causal, next token    {causal['library']:7.2f}  {causal['programs']:8.2f}")
    for p in points:
        for s in SHARES: print(f"step {p['step']:4d}, {s:4.0%} hidden  {p['library'][str(s)]:7.2f}  {p['programs'][str(s)]:8.2f}")
    for name, a in (("causal model", causal["answers"]), ("masked model", answers)): print(f"{name}: parses {a['parses']:.0%}, runs {a['runs']:.0%}, passes {a['passes']:.0%} of {len(held)} held-out problems")
    doc = {"settings": settings.diffusion.model_dump(), "training": result, "causal": causal, "points": points, "masked_answers": answers, "problems": len(held), "seconds": round(time.time() - began, 1)}
    write("adaptation", doc, before, args.out)


if __name__ == "__main__":
    sys.exit(main())
