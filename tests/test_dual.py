"""The trainer of system B: its sum is the right sum, whatever the accumulation, the interruption and the number of processes."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from grpo_lab.config import GRPO, field_names
from grpo_lab.dual import OLD_NAMES, dual_source_trainer, encode_row, response_nll, rows_of_step
from grpo_lab.grpo import grpo_config, lab_grpo_trainer
from grpo_lab.student import quiet_libraries, tiny_model

STEPS, PROMPTS, GROUP = 4, 2, 4


def letters(completions, **_):
    "A reward that differs within a group."
    return [float(sum(c.islower() and c.isascii() for c in x[-1]["content"])) for x in completions]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    quiet_libraries()
    torch.set_num_threads(1)
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def make(folder, tmp_path):
    "Make a trainer on the tiny model; the same arguments give the same trainer."
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def made(kind=None, out="out", micro=8, steps=STEPS, args=(), lora=True, **how):
        cfg = GRPO(max_steps=steps, prompts_per_step=PROMPTS, num_generations=GROUP, micro_batch_size=micro, learning_rate=5e-3, max_completion_length=12, max_grad_norm=1e6)
        config = grpo_config(cfg, tmp_path / out, 0)
        for name, value in dict(args).items():
            setattr(config, name, value)
        data = Dataset.from_list([{"prompt": [{"role": "user", "content": f"word {i}"}], "problem_id": str(i % 3)} for i in range(PROMPTS * steps)])
        if kind is None:
            how = {"traces": TRACES, "min_reward": 1.0, "teacher_rows": 3, "self_rows": 2, **how}
        trainer = (kind or dual_source_trainer())(AutoModelForCausalLM.from_pretrained(folder), letters, config, train_dataset=data,
                                                  processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
                                                  peft_config=LoraConfig(r=4, target_modules="all-linear") if lora else None, **how)
        trainer.eos_token_ids = [2, *range(120, 259)]      # half of the random model's tokens end its answer, so that some answers end
        for c in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == "PrinterCallback"]:
            trainer.remove_callback(c)
        return trainer
    return made


TRACES = [{"prompt": [{"role": "user", "content": f"trace {i}"}], "completion": "ae" * (1 + 3 * i)} for i in range(5)]   # of very different lengths


def parameters(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters() if p.requires_grad])


def first_gradient(trainer):
    "The gradient that the optimiser gets in the first step, which is then not taken."
    from transformers import TrainerCallback
    found = []

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **_):
            found.append(torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten().clone() for p in trainer.model.parameters() if p.requires_grad]))
            control.should_training_stop = True
    trainer.add_callback(Look())
    trainer.train()
    return found[0]


def logs(trainer, name):
    return [h[name] for h in trainer.state.log_history if name in h]


def test_without_sft_weights_it_is_the_plain_trainer(make):
    plain = make(lab_grpo_trainer())
    before = parameters(plain)
    plain.train()
    dual = make(w_teacher=0, w_self=0, traces=())
    dual.train()
    assert torch.equal(parameters(plain), parameters(dual)) and not torch.equal(before, parameters(plain))
    assert logs(plain, "loss") == logs(dual, "loss") and not logs(dual, "loss/teacher_sft") and not logs(dual, "self_sft/kept")
    assert not dual.best.rows and not dual.traces


@pytest.mark.parametrize("args", [{"entropy_coef": 1.0}, {"top_entropy_quantile": 0.5}, {"loss_type": "bnpo"}, {"loss_type": "dapo"}], ids=lambda a: next(iter(a)) + "=" + str(next(iter(a.values()))))
def test_the_labs_way_has_trls_gradient(make, args):
    "Also where the loss depends on which rows share a micro-batch, with groups without signal among them, and where an entropy bonus wants a gradient of its own."
    class Plain(lab_grpo_trainer()):
        def _lab_way(self): return False
    ties = lambda trainer: setattr(trainer, "_calculate_rewards", lambda *_: torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [5.0], [5.0], [5.0]])) or trainer
    ours, theirs = (first_gradient(ties(make(kind, micro=2, args=args))) for kind in (lab_grpo_trainer(), Plain))
    assert theirs.norm() > 1e-3 and torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6), (ours - theirs).abs().max()


def test_a_checkpoint_between_two_updates_is_refused(tmp_path):
    with pytest.raises(ValueError, match="grpo.save_steps = 3 is not a multiple of grpo.num_iterations = 2"): grpo_config(GRPO(save_steps=3, num_iterations=2), tmp_path, 0)


def test_on_top_of_trls_own_trainer(make):
    from trl import GRPOTrainer
    trainer = make(dual_source_trainer(GRPOTrainer), traces=TRACES, min_reward=1.0, teacher_rows=3, self_rows=2, steps=1); before = parameters(trainer); trainer.train()
    assert logs(trainer, "loss/teacher_sft") and logs(trainer, "grad_norm/grpo") and not torch.equal(before, parameters(trainer))


def cross_entropy_gradient(trainer, rows):
    "transformers' own loss from labels, row by row, and the mean over all response tokens."
    model, total = trainer.model, sum(len(r["ids"]) - r["prompt"] for r in rows)
    model.zero_grad()
    for r in rows:
        labels = torch.tensor([[-100] * r["prompt"] + r["ids"][r["prompt"]:]])
        logits = model(input_ids=torch.tensor([r["ids"]])).logits
        loss = torch.nn.functional.cross_entropy(logits[0, :-1].float(), labels[0, 1:], ignore_index=-100, reduction="sum")
        (loss / total).backward()
    out = torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
    model.zero_grad()
    return out


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "all parameters"])
def test_without_grpo_it_is_the_gradient_of_the_cross_entropy(make, lora):
    "And no completion is sampled."
    trainer = make(w_grpo=0, w_self=0, w_teacher=0.7, micro=2, lora=lora)
    wanted = 0.7 * cross_entropy_gradient(make(w_grpo=0, w_self=0, lora=lora), [trainer.traces[i] for i in rows_of_step(5, 3, 0)])
    got = first_gradient(trainer)
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-7) and wanted.norm() > 1e-3
    assert trainer.tokens["sampled"] == 0 and set(trainer.tokens) <= {"trained", "sampled"}


def test_the_sum_is_the_sum_and_each_norm_its_terms(make):
    parts = {"grpo": dict(w_teacher=0, w_self=0, traces=()), "teacher_sft": dict(w_grpo=0, w_self=0), "self_sft": dict(w_grpo=0, w_teacher=0, traces=())}
    alone = {name: first_gradient(make(**how)) for name, how in parts.items()}
    trainer = make()
    whole = first_gradient(trainer)
    assert all(g.norm() > 1e-4 for g in alone.values())
    assert torch.allclose(whole, sum(alone.values()), rtol=1e-4, atol=1e-7)
    full = make(steps=1)
    full.train()
    for name, g in alone.items():
        assert abs(logs(full, f"grad_norm/{name}")[0] - float(g.norm())) < 1e-4 * float(g.norm()) + 1e-7, name
    assert abs(logs(full, "grad_norm")[0] - float(whole.norm())) < 1e-4 * float(whole.norm())


@pytest.mark.parametrize("loss_type", ["dapo", "dr_grpo"])
def test_accumulation_changes_nothing(make, loss_type):
    "One micro-batch of 8 or four of 2: the same gradient. Averaging the means of micro-batches would not be."
    one, four = (first_gradient(make(micro=m, args={"loss_type": loss_type})) for m in (8, 2))
    assert torch.allclose(one, four, rtol=1e-4, atol=1e-7) and one.norm() > 1e-3
    trainer = make(micro=1)
    rows = [trainer.traces[i] for i in rows_of_step(5, 3, 0)]
    wrong = sum(cross_entropy_gradient(trainer, [r]) for r in rows) / len(rows)
    right = cross_entropy_gradient(trainer, rows)
    assert (wrong - right).norm() > 0.05 * right.norm(), "the rows differ enough for the test to see it"


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("micro", [8, 4])
def test_resumed_training_ends_where_an_unbroken_one_does(make, micro, iterations):
    whole = make(out="whole", micro=micro, args={"num_iterations": iterations})
    whole.train()
    save = {"save_strategy": "steps", "save_steps": 2, "num_iterations": iterations}
    first = make(out="cut", micro=micro, args=save)
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step == 3      # one step further than the checkpoint

    first.add_callback(Stop())
    first.train()
    assert len(first.best) and (Path(first.args.output_dir) / "checkpoint-2" / "more.json").exists()
    second = make(out="cut", micro=micro, args=save)
    second.train(resume_from_checkpoint=str(Path(first.args.output_dir) / "checkpoint-2"))
    assert torch.allclose(parameters(second), parameters(whole), atol=1e-6)
    assert second.best.rows == whole.best.rows and second.tokens == whole.tokens
    assert logs(second, "loss/self_sft")[-1] == pytest.approx(logs(whole, "loss/self_sft")[-1], abs=1e-6)


def test_the_buffer_holds_what_was_sampled_and_verified(make):
    trainer = make(top_k=2)
    trainer.train()
    eos, tok = trainer.eos_token_ids, trainer._tokenizer
    assert trainer.best.rows and all(len(rows) <= 2 for rows in trainer.best.rows.values())
    for rows in trainer.best.rows.values():
        for r in rows:
            text = tok.decode(r["ids"][r["prompt"]:], skip_special_tokens=True)
            assert r["ids"][-1] in eos and r["reward"] == sum(c.islower() and c.isascii() for c in text) >= 1
            assert tok.decode(r["ids"][:r["prompt"]]).endswith("<|im_start|>assistant\n")


def test_answers_that_only_score_well_are_not_kept(make):
    "With a verifier behind the reward, its verdict decides, not the number."
    from types import SimpleNamespace
    trainer = make()

    class Fooled:
        __name__, batch = "fooled", SimpleNamespace(answers=[])

        def __call__(self, completions, **_):
            texts = [x[-1]["content"] for x in completions]
            self.batch.answers = [SimpleNamespace(clean=any("a" <= c <= "z" for c in t)) for t in texts]
            return [5.0 + len(t) for t in texts]
    trainer.reward_funcs[0] = Fooled()
    trainer.train()
    texts = [trainer._tokenizer.decode(r["ids"][r["prompt"]:]) for rows in trainer.best.rows.values() for r in rows]
    assert texts and all(any("a" <= c <= "z" for c in t) for t in texts)


@pytest.mark.parametrize("term", ["teacher", "self"])
def test_what_is_imitated_becomes_more_likely(make, term):
    "Each term alone steps, and in the right direction."
    trainer = make(steps=6, **{"w_grpo": 0, "w_teacher": 0, "w_self": 0, f"w_{term}": 1.0})
    rows = [encode_row(trainer._tokenizer, r["prompt"], r["completion"]) for r in TRACES]
    if term == "self":
        for i, r in enumerate(rows):
            trainer.best.add(str(i), r["ids"], r["prompt"], 1e9, True, 0)
        trainer.best.min_reward = 1e9      # nothing else is good enough
    start = response_nll(trainer.model, rows, trainer.pad, True).item()
    trainer.train()
    assert response_nll(trainer.model, rows, trainer.pad, True).item() < 0.97 * start
    assert term == "teacher" or len(trainer.best) == len(rows)


def test_mistakes_are_named(make):
    with pytest.raises(ValueError, match="nothing to learn"):
        make(w_grpo=0, w_teacher=0, w_self=0)
    with pytest.raises(ValueError, match="no teacher traces"):
        make(traces=())


def test_report_to_sees_every_term(make, tmp_path):
    "Whatever reports TRL's metrics reports ours: they go through the same `log`."
    from transformers import TrainerCallback
    seen = []

    class Report(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            seen.append(dict(logs))
    trainer = make(steps=2)
    trainer.add_callback(Report())
    trainer.train()
    names = {"loss", "reward", *(f"{a}/{b}" for a in ("loss", "grad_norm") for b in ("grpo", "teacher_sft", "self_sft"))}
    assert names <= set(seen[1]) and json.dumps(seen[1])


def test_a_policy_that_games_its_reward_is_noticed(make, tmp_path, monkeypatch):
    "The reward pays for letters (and a teacher writes nothing else); held-out problems are judged by how few there are. One rises, the other falls."
    from grpo_lab import evaluate, rollout
    from grpo_lab.alarms import Alarm, alarm_callback
    from grpo_lab.config import load_settings
    from grpo_lab.records import Problem, Verdict, read_jsonl
    monkeypatch.setattr(rollout, "extract_code", lambda text, *_, **__: text)          # a random model writes no programs: its text is one

    class Few:
        def verify(self, items): return [Verdict(status="ok", passed=12 - int(letters([[{"content": code}]])[0]), total=12) for _, code in items]
    settings = load_settings("code-smoke", sets=["alarms.heldout_steps=2", "grpo.max_completion_length=12"])
    problems = [Problem(id=f"h{i}", task="starter", family="x", prompt=f"phrase {i}", entry_point="f", reference="", tests=["assert f()"]) for i in range(4)]

    def run(verifier, name):
        trainer = make(steps=8, out=name, args={"learning_rate": 1e-2}, w_teacher=1.0, lora=False)
        trainer.eos_token_ids = [2]
        ask = lambda p: [{"role": "user", "content": p.prompt}]
        heldout = evaluate.heldout_reward(settings, problems, ask, verifier, trainer._tokenizer)
        trainer.add_callback(alarm_callback(tmp_path / f"{name}.jsonl", settings.alarms, heldout))
        trainer.train()
        return trainer, [a.name for a in read_jsonl(tmp_path / f"{name}.jsonl", Alarm)]

    class Many(Few):
        def verify(self, items): return [v.model_copy(update={"passed": 12 - v.passed}) for v in super().verify(items)]
    trainer, rung = run(Few(), "gamed")
    measured, reward = [(h["step"], h["heldout"]) for h in trainer.state.log_history if "heldout" in h], logs(trainer, "reward")
    assert [s for s, _ in measured] == [0, 2, 4, 6, 8] and measured[-1][1] < measured[0][1] - 0.1 and reward[-1] > reward[0] + 1
    assert "reward_hacking" in rung
    honest, rung = run(Many(), "honest")
    assert logs(honest, "reward") == reward and "reward_hacking" not in rung, "looking changes nothing; where both rise nothing rings"


def test_vllm_samples_where_it_is_asked_for(make, monkeypatch):
    "A stand-in for vLLM behind TRL's own seam: weights are sent every step, its log-probabilities are corrected for, the three terms stay."
    from trl.trainer import grpo_trainer
    from grpo_lab.rollout import LabSampler, sample_ids
    made = []

    class Engine:
        def __init__(self, model, accelerator, processing_class, mode, max_completion_length, **_):
            self.model, self.accelerator, self.mode, self.length, self.synced, self.asked = model, accelerator, mode, max_completion_length, 0, 0
            made.append(self)

        def sync_weights(self): self.synced += 1

        def generate(self, prompts, images, num_generations, profiler=None):
            self.asked += len(prompts)
            got = sample_ids(LabSampler(self.accelerator.unwrap_model(self.model)), prompts, 1, max_completion_length=self.length, eos=(2,), seeds=list(range(len(prompts))))
            return prompts, [s.token_ids for s in got], [[[x - 0.05] for x in s.logprobs] for s in got], None      # another software, other numbers
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", Engine)
    config = grpo_config(GRPO(sampler="vllm", vllm_mode="server"), Path("unused"), 0)
    assert config.use_vllm and config.vllm_mode == "server" and not grpo_config(GRPO(), Path("unused"), 0).use_vllm
    trainer = make(steps=2, sampler="vllm", args={"use_vllm": True, "vllm_mode": "colocate"})
    before = parameters(trainer)
    trainer.train()
    assert made[0].synced == 2 and made[0].asked == 2 * PROMPTS * GROUP and made[0].mode == "colocate" and not torch.equal(before, parameters(trainer))
    assert {"loss/grpo", "loss/teacher_sft", "sampling/sampling_logp_difference/mean"} <= set(trainer.state.log_history[0])
    assert logs(trainer, "sampling/sampling_logp_difference/mean")[0] == pytest.approx(0.05, abs=2e-3)


def test_old_names_point_at_settings():
    assert set(OLD_NAMES.values()) <= set(field_names())
    assert {"grpo_weight", "teacher_sft_weight", "self_sft_weight", "num_samples_per_problem", "max_thinking_length"} <= set(OLD_NAMES)


WORKER = """
import sys, torch, json
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
import test_dual as t
from pathlib import Path
out, folder = Path(sys.argv[1]), Path(sys.argv[2])
from grpo_lab.student import quiet_libraries
quiet_libraries()
make = t.make.__wrapped__(folder, out)
trainer = make(micro=4, sampler="generate")
first = t.first_gradient(trainer)
imitated = t.first_gradient(make(micro=4, sampler="generate", w_grpo=0, w_self=0))
rank = trainer.accelerator.process_index
torch.save({{"gradient": first, "imitated": imitated, "best": trainer.best.rows, "world": trainer.accelerator.num_processes, "tokens": dict(trainer.tokens)}}, out / f"{{rank}}.pt")
"""


@pytest.mark.slow
def test_two_processes_agree(make, folder, tmp_path):
    "Two processes over gloo: both get the same gradient, its cross-entropy part is that of one process, and both keep the same answers."
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(tests=str(Path(__file__).parent)))
    distributed(script, tmp_path, folder)
    a, b = (torch.load(tmp_path / f"{i}.pt", weights_only=False) for i in (0, 1))
    assert a["world"] == 2 and torch.allclose(a["gradient"], b["gradient"], atol=1e-7) and a["best"] == b["best"] and a["gradient"].norm() > 1e-3
    alone = first_gradient(make(w_grpo=0, w_self=0))      # the same rows, in one process
    assert all(torch.allclose(x["imitated"], alone, rtol=1e-4, atol=1e-7) for x in (a, b))


OFFLINE = """
import sys, torch
sys.path.insert(0, {tests!r})
torch.set_num_threads(1)
import test_dual as t
from grpo_lab.student import quiet_libraries
quiet_libraries()
t.offline(sys.argv[1], sys.argv[2])
"""


def offline(out, folder):
    "Train on trajectories of groups of two to four for three steps; rank 0 keeps weights and log. Five groups a step, so that two processes get unequal shares."
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from grpo_lab.config import load_settings
    from grpo_lab.records import Trajectory
    from grpo_lab.trajectories import train_trajectories
    words = [("yes", 1.0), ("no", 0.0), ("perhaps so", 0.25), ("it is a long story", 0.5)]
    rows = [Trajectory(problem_id=f"p{i}", prompt=f"Is {i} even?", code=c, reward=r + i % 2, group_id=f"g{i}") for i in range(11) for c, r in words[:2 + i % 3]]
    settings = load_settings("smoke", sets=["grpo.prompts_per_step=5", "grpo.max_steps=3", "grpo.micro_batch_size=3", "grpo.learning_rate=0.01", "grpo.beta=0.05",
                                            "grpo.scale_rewards=batch"])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    got = train_trajectories(settings, rows, model, AutoTokenizer.from_pretrained(folder), Path(out) / "model", folder, seed=3, log=Path(out) / "log.jsonl")
    rank = int(os.environ.get("RANK", 0))
    torch.save({"weights": torch.cat([p.detach().flatten() for n, p in model.named_parameters() if "lora_" in n]), "world": int(os.environ.get("WORLD_SIZE", 1)),
                "history": got["history"]}, Path(out) / f"{rank}.pt")


def distributed(script, *args):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), *map(str, args)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_learn_from_trajectories_what_one_does(folder, tmp_path):
    "Whole groups, unequal shares, different numbers of micro-batches: the same weights and the same log."
    script = tmp_path / "worker.py"
    script.write_text(OFFLINE.format(tests=str(Path(__file__).parent)))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    distributed(script, tmp_path / "two", folder)
    offline(tmp_path / "one", folder)
    a, b, alone = (torch.load(tmp_path / f, weights_only=False) for f in ("two/0.pt", "two/1.pt", "one/0.pt"))
    assert a["world"] == 2 and torch.allclose(a["weights"], b["weights"], atol=1e-7)
    assert torch.allclose(a["weights"], alone["weights"], atol=2e-4) and alone["weights"].norm() > 0
    for name in ("reward", "frac_reward_zero_std", "completions/mean_length", "grad_norm"):
        assert [h[name] for h in a["history"] if "loss" in h] == pytest.approx([h[name] for h in alone["history"] if "loss" in h], rel=1e-3), name
    assert (tmp_path / "two" / "model" / "merged").is_dir() and len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["1_data", "2_synthesis", "3_train", "4_pass_at_k"])
def test_a_stage_of_system_b_runs_alone(stage, folder, tmp_path):
    "Its notebook in a fresh run folder, without those before it: what is not there is made."
    import nbformat
    from nbclient import NotebookClient
    from grpo_lab.config import load_settings, project_root
    from grpo_lab.runs import create_run
    settings = load_settings("code-smoke", sets=[f"student.model={folder}", f"outputs={tmp_path}", "dual.problems=4", "evaluate.problems=2", "grpo.max_completion_length=12", "evaluate.max_completion_length=12", "evaluate.k=[1,2,100]"])
    run = create_run(settings, "alone")
    nb = nbformat.read(project_root() / "nbs" / "stages" / f"{stage}.ipynb", 4)
    next(c for c in nb.cells if c.source.startswith("run_dir")).source = f"run_dir = {str(run.dir)!r}\nprofile = 'code-smoke'"
    NotebookClient(nb, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(str(o.get("text", "")) for c in nb.cells for o in c.get("outputs", []))
    assert ("pass@100: not with 2 answers" in said) == (stage == "4_pass_at_k")


@pytest.mark.slow
def test_system_b_from_data_to_pass_at_k(folder, tmp_path):
    "The four steps as one run; said again, nothing is done twice; one step alone can be done again."
    from grpo_lab.records import Trace, read_jsonl
    from smoke_run import steps_after
    sets = [f"student.model={folder}", f"outputs={tmp_path}", "dual.problems=6", "evaluate.problems=3", "grpo.max_completion_length=12", "evaluate.max_completion_length=12",
            "alarms.heldout_steps=1", "alarms.heldout_problems=2", "alarms.window=1"]
    run = ["run", "--profile", "code-smoke", "--run-id", "b", "--json", *[a for s in sets for a in ("--set", s)]]
    first = steps_after(tmp_path / "b", *run)
    assert {k: s["state"] for k, s in first.items()} == dict.fromkeys(("1_data", "2_synthesis", "3_grpo", "4_evaluate"), "done")
    assert first["1_data"]["metrics"] == {"train": 6, "heldout": 3, "broken_references": 0}
    traces = read_jsonl(tmp_path / "b" / "training_data" / "2_synthesis" / "traces.jsonl", Trace)
    assert len({t.problem_id for t in traces}) == 6 and {t.model for t in traces} == {"reference"}
    log = [json.loads(line) for line in (tmp_path / "b" / "training_data" / "3_grpo.log.jsonl").read_text().splitlines()]
    assert all(row["grad_norm/teacher_sft"] > 0 and "heldout" in row for row in log if "reward" in row)
    rung = [json.loads(line)["name"] for line in (tmp_path / "b" / "training_data" / "3_grpo.alarms.jsonl").read_text().splitlines()]
    assert "zero_variance" in rung, "a random model solves nothing"
    executed = json.loads((tmp_path / "b" / "notebooks" / "3_grpo.ipynb").read_text())["cells"]
    shown = "".join(str(o) for c in executed if "".join(c["source"]) == "alarm.alarms" for o in c["outputs"])
    assert "zero variance" in shown, "the notebook shows what rang"
    report = json.loads((tmp_path / "b" / "evaluation" / "pass_at_k.json").read_text())
    assert set(report["models"]) == {"base", "3_grpo"} and all(len(m["tasks"]) == 3 and m["pass@1"]["low"] <= m["pass@1"]["value"] <= m["pass@1"]["high"] for m in report["models"].values())
    assert steps_after(tmp_path / "b", *run) == first, "nothing is done twice"
    again = steps_after(tmp_path / "b", "resume", str(tmp_path / "b"), "--redo", "4_evaluate")
    assert [s["attempts"] for s in again.values()] == [1, 1, 1, 2] and again["4_evaluate"]["metrics"] == first["4_evaluate"]["metrics"]
