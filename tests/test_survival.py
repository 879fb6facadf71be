"""Runs are killed, disks fill, files are damaged: nothing that was earned is lost, and errors name themselves.

Every run here is a real one, all stages through papermill and the real trainers, with a random model of a few thousand weights.
"""
import json
import os
import resource
import shutil
import signal
import sys
import time

import pytest

from grpo_lab.layout.env import is_ready
from grpo_lab.runs import Run

pytest.importorskip("grpo_lab.grpo")
from smoke_run import RUN, start, whole  # noqa: E402

pytestmark = [pytest.mark.skipif(not is_ready(), reason="no layout interpreter"),
              pytest.mark.skipif(sys.platform != "linux", reason="kills by signal, watches /proc")]


def kill_when(process, condition, what):
    "SIGKILL as soon as the condition holds."
    end = time.time() + 900
    while time.time() < end:
        if condition():
            process.kill()
            process.wait()
            return
        assert process.poll() is None, f"the run ended before {what}: {process.stderr.read()[-3000:]}"
        time.sleep(0.002)
    process.kill()
    raise AssertionError(f"{what} never came")


def text(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def artefacts(run):
    "Everything a run leaves that must not depend on how it came about."
    ledger = run.ledger.read().drop(columns=["seconds"])
    ledger = ledger.sort_values(["stage", "model", "group_id", "sample", "step"], kind="stable").reset_index(drop=True)
    files = {}
    for folder in ("generated", "master_predictions", "training_data", "evaluation"):
        for p in sorted((run.dir / folder).rglob("*")):
            if p.is_file() and not p.name.endswith(".log.jsonl"):
                files[str(p.relative_to(run.dir))] = p.read_bytes()
    states = {k: (s["state"], s["seed"], s["inputs"], s["outputs"], s["metrics"]) for k, s in run.steps.items()}
    return ledger, files, states


def weights(run):
    from safetensors.numpy import load_file
    return {str(p.relative_to(run.dir)): load_file(p) for p in sorted((run.dir / "models").rglob("*.safetensors"))}


def same(a, b):
    import numpy as np
    import pandas as pd
    (ledger_a, files_a, states_a), (ledger_b, files_b, states_b) = artefacts(a), artefacts(b)
    pd.testing.assert_frame_equal(ledger_a, ledger_b)
    assert files_a.keys() == files_b.keys()
    assert not [k for k in files_a if files_a[k] != files_b[k]]
    for step in states_a:
        assert states_a[step][:4] == states_b[step][:4], step
        for key, value in states_a[step][4].items():
            assert key in ("seconds",) or states_b[step][4][key] == value, (step, key)
    wa, wb = weights(a), weights(b)
    assert wa.keys() == wb.keys() and any("adapter" in k for k in wa)
    for name in wa:
        for tensor in wa[name]:
            np.testing.assert_allclose(wa[name][tensor], wb[name][tensor], rtol=0, atol=1e-7, err_msg=f"{name} {tensor}")


KILL_IN_WRITE = '''
import os, signal
real = os.replace
def replace(src, dst, **kw):
    if os.path.basename(dst) == "run.json" and "GRPO_LAB_ENGINE" not in os.environ: os.kill(os.getpid(), signal.SIGKILL)
    return real(src, dst, **kw)
os.replace = replace
'''


def test_a_run_killed_four_times_ends_like_an_unbroken_one(made, unbroken, tmp_path):
    folder = tmp_path / RUN
    progress = lambda step: text(folder / "logs" / f"{step}.progress")

    kill_when(start(made, tmp_path), lambda: progress("1_initial_finetune").startswith("train ") and not progress("1_initial_finetune").startswith("train 0"), "training")
    assert Run(folder).steps["1_initial_finetune"]["state"] == "running"

    kill_when(start(made, tmp_path), lambda: progress("2_self_improve_1").startswith("write"), "generation")
    first = Run(folder).steps["1_initial_finetune"]
    assert first["state"] == "done" and first["attempts"] == 2
    notebook = (folder / "notebooks" / "1_initial_finetune.ipynb").stat().st_mtime_ns
    model = (folder / "models" / "1_initial_finetune" / "merged" / "model.safetensors").stat().st_mtime_ns

    kill_when(start(made, tmp_path), lambda: Run(folder).steps["2_self_improve_1"]["state"] == "done", "the end of a step")

    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(KILL_IN_WRITE)
    process = start(made, tmp_path, env={"PYTHONPATH": str(tmp_path / "hook")})    # the runner's first own write: 2_self_improve_2 is done
    process.communicate(timeout=900)
    assert process.returncode == -signal.SIGKILL
    assert list(folder.glob(".run.json.*.tmp")), "it was killed between writing and renaming"
    assert Run(folder).steps["2_self_improve_2"]["state"] == "running" and Run(folder).steps["2_self_improve_2"]["finished"]

    run, _ = whole(made, tmp_path)
    assert run.steps["1_initial_finetune"] == first, "what was done is not done again"
    assert (folder / "notebooks" / "1_initial_finetune.ipynb").stat().st_mtime_ns == notebook
    assert (folder / "models" / "1_initial_finetune" / "merged" / "model.safetensors").stat().st_mtime_ns == model
    assert run.steps["2_self_improve_2"]["attempts"] == 1, "its work was whole, so only the word was missing"
    same(run, unbroken)
    assert not [p for p in folder.rglob("*.tmp")] and not list((folder / "models").glob(".saving*"))


HALF_A_CHECKPOINT = '''
import builtins, os, time
real = builtins.open
def open(file, mode="r", *args, **kw):
    if str(file).endswith("checkpoint-2/trainer_state.json") and "w" in mode:
        with real(file, mode, *args, **kw) as f: f.write('{"epoch": ')
        time.sleep(900)
    return real(file, mode, *args, **kw)
builtins.open = open
'''


def test_a_run_killed_in_grpo_in_a_checkpoint_and_in_the_evaluation_ends_like_an_unbroken_one(made, unbroken, tmp_path):
    from grpo_lab.runs import checkpoint_step, redo
    folder = tmp_path / RUN
    shutil.copytree(unbroken.dir, folder)
    manifest = json.loads((folder / "run.json").read_text())
    manifest["settings"]["grpo"]["save_steps"] = 1
    (folder / "run.json").write_text(json.dumps(manifest))
    redo(Run(folder), "3_grpo")
    kept = Run(folder).steps["2_self_improve_2"]
    begun = time.time_ns()
    fresh = lambda part: any(p.stat().st_mtime_ns > begun for p in (folder / "ledger").glob(part))
    go = lambda **kw: start(made, tmp_path, "grpo.save_steps=1", **kw)

    kill_when(go(), lambda: fresh("3_grpo--step-000001*.parquet"), "the first update")
    assert Run(folder).steps["3_grpo"]["state"] == "running" and not fresh("3_grpo--step-000002*.parquet")

    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HALF_A_CHECKPOINT)
    half = folder / "models" / ".3_grpo-trainer" / "checkpoint-2" / "trainer_state.json"
    kill_when(go(env={"PYTHONPATH": str(tmp_path / "hook")}), lambda: text(half), "the second checkpoint")
    assert text(half) == '{"epoch": ' and checkpoint_step(Run(folder), "3_grpo") == 1
    first = folder / "ledger" / "3_grpo--step-000001.parquet"
    written = first.stat().st_mtime_ns

    kill_when(go(), lambda: fresh("4_evaluate--*.parquet"), "the evaluation")
    assert Run(folder).steps["4_evaluate"]["state"] == "running"
    run, _ = whole(made, tmp_path, "grpo.save_steps=1")
    assert first.stat().st_mtime_ns == written, "the first step was in a checkpoint and is not done again"
    assert run.steps["2_self_improve_2"] == kept and run.steps["3_grpo"]["attempts"] == unbroken.steps["3_grpo"]["attempts"] + 3
    same(run, unbroken)


def test_a_second_start_does_nothing(made, unbroken):
    before = {p: p.stat().st_mtime_ns for p in unbroken.dir.rglob("*") if p.is_file() and p.name not in ("report.html", ".lock")}
    whole(made, unbroken.dir.parent)
    assert {p: p.stat().st_mtime_ns for p in unbroken.dir.rglob("*") if p.is_file() and p.name not in ("report.html", ".lock")} == before


def test_training_data_comes_from_earlier_iterations_only(unbroken):
    from grpo_lab.teacher import check_lineage, used_by
    check_lineage(unbroken.manifest, unbroken.dir)
    assert used_by(unbroken.manifest)["2_self_improve_2"] == [1] and used_by(unbroken.manifest)["2_self_improve_1"] == []
    assert {f"training_data/iteration_{n}.jsonl" for n in (1, 2)} <= set(unbroken.manifest["steps"]["3_grpo"]["inputs"])
    log = [json.loads(line) for line in (unbroken.dir / "training_data" / "3_grpo.log.jsonl").read_text().splitlines()]
    assert log and all(row["grad_norm/teacher_sft"] > 0 for row in log), "corrections are repeated beside GRPO"
    rows = unbroken.dir / "training_data" / "iteration_1.jsonl"
    forged = json.loads(json.dumps(unbroken.manifest))
    forged["steps"]["2_self_improve_1"]["inputs"].append(str(rows.relative_to(unbroken.dir)))
    with pytest.raises(ValueError, match="2_self_improve_1"):
        check_lineage(forged, unbroken.dir)


def test_two_runs_at_once_do_not_disturb_each_other(made, unbroken, tmp_path):
    pair = [start(made, tmp_path / name) for name in "ab"]
    for process in pair:
        _, err = process.communicate(timeout=1200)
        assert process.returncode == 0, err[-3000:]
    for name in "ab":
        same(Run(tmp_path / name / RUN), unbroken)


def test_a_damaged_lesson_and_a_full_disk_cost_one_step_and_can_be_mended(made, unbroken, tmp_path):
    folder = tmp_path / RUN
    shutil.copytree(unbroken.dir, folder)
    from grpo_lab.runs import redo
    redo(Run(folder), "2_self_improve_2")
    kept = Run(folder).steps["2_self_improve_1"]

    lessons = folder / "training_data" / "iteration_1.jsonl"
    good = lessons.read_text()
    lessons.write_text(good[: len(good) - 30])
    _, err = whole(made, tmp_path, code=1)
    assert "iteration_1.jsonl, line" in err and "valid JSON" in err and "resume" in err
    assert Run(folder).steps["2_self_improve_2"]["state"] == "failed" and Run(folder).steps["2_self_improve_1"] == kept
    lessons.write_text(good)

    size = (folder / "models" / "1_initial_finetune" / "merged" / "model.safetensors").stat().st_size
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))    # everything but a model's weights stays under it
    _, err = whole(made, tmp_path, code=1, preexec_fn=limit)
    assert Run(folder).steps["2_self_improve_2"]["state"] in ("failed", "running") and Run(folder).steps["2_self_improve_1"] == kept
    assert "2_self_improve_2 failed" in err and "resume" in err and ("large" in err.lower() or "space" in err.lower()), err[-2000:]

    run, _ = whole(made, tmp_path)
    same(run, unbroken)


def test_an_unwritable_outputs_folder_is_refused_at_once(made, tmp_path):
    (tmp_path / "file").write_text("")
    places = [tmp_path / "file" / "outputs"]
    if os.getuid():    # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        places.append(tmp_path / "locked")
    for place in places:
        process = start(made, place)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 2 and "choose another outputs folder" in err


@pytest.mark.parametrize("damage, words", [(lambda line: line[: len(line) // 2], "nvalid JSON"),
                                           (lambda line: json.dumps({k: v for k, v in json.loads(line).items() if k != "prompt"}), "prompt")])
def test_a_damaged_problem_set_is_named_before_anything_starts(made, tmp_path, damage, words):
    shutil.copytree(made / "data", tmp_path / "data")
    file = tmp_path / "data" / "circuits" / "heldout.jsonl"
    lines = file.read_text().splitlines()
    lines[2] = damage(lines[2])
    file.write_text("\n".join(lines) + "\n")
    process = start(made, tmp_path / "out", f"data={tmp_path / 'data'}")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 2 and "heldout.jsonl, line 3" in err and words in err
    assert not (tmp_path / "out").exists()
