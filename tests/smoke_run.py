"""Real runs of the smallest size, all stages through papermill and the real trainers, for the tests that need one."""
import os
import subprocess
import sys
from pathlib import Path

from grpo_lab.config import project_root
from grpo_lab.runs import Run

RUN = "r"
PROMPTS = ["Draw a single nmos of 3 um.", "Make a pmos current mirror with 2 columns."]


def make(folder):
    "A tiny student, a small problem set and two free prompts."
    from grpo_lab.student import tiny_model
    tiny_model(folder / "student")
    data = folder / "data" / "circuits"
    data.mkdir(parents=True)
    for split, n in (("train", 12), ("heldout", 4)):
        lines = (project_root() / "data" / "circuits" / f"{split}.jsonl").read_text().splitlines(keepends=True)
        (data / f"{split}.jsonl").write_text("".join(lines[:: len(lines) // n][:n]))
    (data / "prompts.txt").write_text("# two circuits\n\n" + "\n".join(PROMPTS) + "\n")
    return folder


def options(made, outputs, *more):
    "The settings of these runs, as command line options."
    sets = [f"outputs={outputs}", f"student.model={made / 'student'}", f"data={made / 'data'}", "threads=1", "layout.workers=1",
            "stage1.max_steps=6", "stage1.max_length=512", "stage1.max_tokens=4000", "stage1.samples=4", "stage2.iterations=2", "stage2.problems=6", "stage2.max_steps=3",
            "stage2.max_completion_length=24", "grpo.max_steps=2", "grpo.prompts_per_step=2", "grpo.num_generations=2", "grpo.micro_batch_size=4", "grpo.max_completion_length=16",
            "evaluate.problems=4", "evaluate.max_completion_length=24", "stage2.temperature=1.0", "evaluate.temperature=1.0", *more]
    return ["--profile", "smoke", *[x for s in sets for x in ("--set", s)]]


def start(made, outputs, *more, env=None, **kw):
    command = [sys.executable, "-m", "grpo_lab.cli", "run", "--json", "--run-id", RUN, *options(made, outputs, *more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1", **(env or {})}, **kw)


def whole(made, outputs, *more, code=0, **kw):
    "A run to its end, of whichever kind."
    process = start(made, outputs, *more, **kw)
    out, err = process.communicate(timeout=3600)
    assert process.returncode == code, err[-3000:]
    return Run(Path(outputs) / RUN), err


def steps_after(folder, *words):
    "The steps in a run's manifest after `grpo-lab` with these words."
    done = subprocess.run([sys.executable, "-m", "grpo_lab.cli", *words], capture_output=True, text=True, timeout=1500, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return Run(folder).manifest["steps"]


CODELLAMA_CHAT = ("{% if messages[0]['role'] == 'system' %}{% set start = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set rest = messages[1:] %}{% else %}{% set start = '' %}{% set rest = messages %}{% endif %}"
                  "{% for m in rest %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (start if loop.first else '') + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}")


def tiny_codellama(folder, seed=0):
    """A random model with CodeLlama-7B-Instruct's settings at a toy size: its rotary base, context, untied head and bfloat16 weights, a tokenizer
    that puts <s> in front, knows <unk> and </s> and no pad token, and a chat template of its kind."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    tok = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tok.chat_template = CODELLAMA_CHAT
    tok.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=len(vocab), hidden_size=64, intermediate_size=172, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=16384,
                         rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0}, rms_norm_eps=1e-5, hidden_act="silu", tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder
