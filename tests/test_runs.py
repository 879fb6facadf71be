"""The engine and the run loop with toy stage notebooks: fast, no training."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from grpo_lab.config import load_settings
from grpo_lab.engines.local import LocalEngine, check_parameters, notebook_parameters
from grpo_lab.runs import Busy, RunError, Step, StepFailed, create_run, execute_run, find_run

STAGES = ("1_initial_finetune", "2_self_improve", "3_grpo", "4_evaluate")


def notebook(path, body, parameters="run_dir = ''\nprofile = 'smoke'\niteration = 1"):
    cell = nbformat.v4.new_code_cell(parameters)
    cell.metadata["tags"] = ["parameters"]
    nb = nbformat.v4.new_notebook(cells=[cell, *[nbformat.v4.new_code_cell(b) for b in ([body] if isinstance(body, str) else body)]])
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nb, path)
    return path


BODY = """
import sys, types   # these notebooks train nothing: spare them torch, most of a kernel's start
sys.modules["torch"] = types.SimpleNamespace(manual_seed=lambda s: None, set_num_threads=lambda n: None)
from grpo_lab.runs import open_step, finish, bar
step = open_step({step}, run_dir, profile)
with bar(step, "work", 3) as b:
    for i in range(3): b.update()
step.path("training_data", step.id + ".txt").write_text(str(step.seed))
step.makes("training_data/" + step.id + ".txt")
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    "A stages folder of toy notebooks that the plan uses, and settings that write under tmp_path."
    folder = tmp_path / "stages"
    folder.mkdir()
    for stage in STAGES:
        step = "f'2_self_improve_{iteration}'" if stage.startswith("2") else repr(stage)
        parameters = "run_dir = ''\nprofile = 'smoke'" + ("\niteration = 1" if stage.startswith("2") else "")
        notebook(folder / f"{stage}.ipynb", [BODY.format(step=step), "finish(step, answer=42)"], parameters)
    monkeypatch.setenv("GRPO_LAB_STAGES", str(folder))
    settings = load_settings("smoke", sets=[f"outputs={tmp_path / 'out'}", "student.model=tiny-1m", "stage2.iterations=1"])
    return folder, settings


def quiet(**kw):
    return LocalEngine(say=lambda line: None, live=False, **kw)


def states(run):
    return [s["state"] for s in run.steps.values()]


def test_a_run_executes_its_plan_once(toy):
    _, settings = toy
    run = create_run(settings, "a")
    execute_run(run, quiet(), lambda line: None)
    assert states(run) == ["done"] * 4 and all(s["metrics"] == {"answer": 42} for s in run.steps.values())
    for step in run.plan:
        nb = nbformat.read(step.executed, 4)
        assert any("injected-parameters" in c.metadata.get("tags", []) for c in nb.cells)
        assert (run.dir / "training_data" / f"{step.id}.txt").read_text() == str(run.steps[step.id]["seed"])
        from nbformat.sign import NotebookNotary
        assert NotebookNotary().check_signature(nb), "executed notebooks are signed"
    before = run.manifest
    execute_run(run, quiet(), lambda line: None)
    assert run.manifest == before, "nothing is done twice"


def test_the_kernel_is_this_interpreter_whatever_python3_means_to_the_user(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "wrong", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    nb = notebook(tmp_path / "x.ipynb", "import sys; print(sys.executable)", "a = 1")
    step = Step(id="x", notebook=str(nb), parameters={"a": 2}, run_dir=str(tmp_path))
    result = quiet().submit(step)
    assert result.ok, result.error
    assert sys.executable in step.executed.read_text()


@pytest.mark.parametrize("given, words", [({"iterations": 2}, "did you mean 'iteration'"), ({"iteration": "2"}, "'iteration' is '2' (str)"),
                                          ({"iteration": True}, "(bool)"), ({"zzz": 1}, "it has run_dir, profile, iteration")])
def test_mistyped_parameters_are_refused(tmp_path, given, words):
    nb = notebook(tmp_path / "x.ipynb", "raise SystemExit('must not run')")
    assert notebook_parameters(nb) == {"run_dir": "", "profile": "smoke", "iteration": 1}
    with pytest.raises(ValueError) as e:
        check_parameters(nb, given)
    assert words in str(e.value)
    result = quiet().submit(Step(id="x", notebook=str(nb), parameters=given, run_dir=str(tmp_path)))
    assert not result.ok and words in result.error and not (tmp_path / "notebooks").exists()


def test_an_exception_is_told_and_the_next_attempt_goes_on(toy):
    folder, settings = toy
    good = (folder / "3_grpo.ipynb").read_text()
    notebook(folder / "3_grpo.ipynb", [BODY.format(step="'3_grpo'"), "raise KeyError('column drc_errors')"], "run_dir = ''\nprofile = 'smoke'")
    run = create_run(settings, "a")
    with pytest.raises(StepFailed) as e:
        execute_run(run, quiet(), lambda line: None)
    assert "column drc_errors" in str(e.value) and f"grpo-lab resume {run.dir}" in str(e.value)
    assert states(run) == ["done", "done", "failed", "pending"] and "column drc_errors" in run.steps["3_grpo"]["error"]
    assert "column drc_errors" in run.plan[2].executed.read_text()
    kept = run.steps["1_initial_finetune"]
    (folder / "3_grpo.ipynb").write_text(good)
    execute_run(run, quiet(), lambda line: None)
    assert states(run) == ["done"] * 4 and run.steps["1_initial_finetune"] == kept and run.steps["3_grpo"]["error"] is None


def test_a_dead_kernel_and_a_notebook_without_finish_are_failures(toy):
    folder, settings = toy
    for body, words in ((["import os, sys; print('last words', file=sys.__stderr__, flush=True); os._exit(9)"], "died"), (["x = 1"], "finish()")):
        notebook(folder / "1_initial_finetune.ipynb", body, "run_dir = ''\nprofile = 'smoke'")
        run = create_run(settings, "b")
        with pytest.raises(StepFailed) as e:
            execute_run(run, quiet(), lambda line: None)
        assert words in str(e.value) and states(run)[0] == "failed"
    assert "last words" in run.plan[0].log.read_text()


RUNNER = """
import sys
from grpo_lab.runs import find_run, execute_run
from grpo_lab.engines.local import LocalEngine
execute_run(find_run(sys.argv[1]), LocalEngine(live=False))
"""


def wait_for(what, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_the_kernel_dies_with_its_engine_and_the_lock_with_both(toy, tmp_path):
    folder, settings = toy
    notebook(folder / "1_initial_finetune.ipynb", [BODY.format(step="'1_initial_finetune'"), f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))",
                                                   "time.sleep(600)"], "run_dir = ''\nprofile = 'smoke'")
    run = create_run(settings, "c")
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(run.dir)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        kernel = int((tmp_path / "pid").read_text())
        assert alive(kernel)
        with pytest.raises(Busy) as e:
            execute_run(run, quiet(), lambda line: None)
        assert str(runner.pid) in str(e.value)
        with pytest.raises(Busy):
            create_run(settings, "c")
        runner.kill()
        runner.wait()
        wait_for(lambda: not alive(kernel), 5)
    finally:
        runner.kill()
        runner.wait()
    notebook(folder / "1_initial_finetune.ipynb", [BODY.format(step="'1_initial_finetune'"), "finish(step)"], "run_dir = ''\nprofile = 'smoke'")
    execute_run(create_run(settings, "c"), quiet(), lambda line: None)
    assert states(run) == ["done"] * 4 and run.steps["1_initial_finetune"]["attempts"] == 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_stops_the_kernel_and_keeps_the_run(toy, tmp_path):
    folder, settings = toy
    notebook(folder / "1_initial_finetune.ipynb", [BODY.format(step="'1_initial_finetune'"), f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))",
                                                   "time.sleep(600)"], "run_dir = ''\nprofile = 'smoke'")
    command = [sys.executable, "-m", "grpo_lab.cli", "resume", str(create_run(settings, "d").dir)]
    runner = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: runner.poll() is not None or (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        assert runner.poll() is None, runner.stderr.read()
        kernel = int((tmp_path / "pid").read_text())
        runner.send_signal(signal.SIGINT)
        assert runner.wait(30) == 130 and "resume" in runner.stderr.read()
        wait_for(lambda: not alive(kernel), 5)
    finally:
        runner.kill()
    assert states(find_run(str(tmp_path / "out" / "d")))[0] == "running"


def test_a_step_finished_but_not_sealed_is_not_redone(toy):
    "Killed between `finish` and 'done': the work is whole, so only the word is missing."
    _, settings = toy
    run = create_run(settings, "e")
    execute_run(run, quiet(), lambda line: None)
    run.update("4_evaluate", state="running")
    execute_run(run, quiet(), lambda line: None)
    assert run.steps["4_evaluate"]["state"] == "done" and run.steps["4_evaluate"]["attempts"] == 1
    run.update("4_evaluate", state="running")
    run.plan[-1].executed.write_text(run.plan[-1].executed.read_text()[:100])   # the notebook was cut short as well
    execute_run(run, quiet(), lambda line: None)
    assert run.steps["4_evaluate"]["attempts"] == 2


def test_a_damaged_manifest_is_named(toy):
    _, settings = toy
    run = create_run(settings, "f")
    (run.dir / "run.json").write_text('{"steps": ')
    with pytest.raises(RunError, match="run.json is damaged"):
        find_run(str(run.dir))


def test_a_notebook_opened_by_hand_needs_nothing(tmp_path, monkeypatch, capsys):
    "No run folder given: it makes outputs/notebook-<profile>, starts from what there is, and may be run again from the top."
    from grpo_lab.runs import Run, finish, open_step, run_lock, start_model
    (tmp_path / "nbs" / "stages").mkdir(parents=True)
    (tmp_path / "settings.ini").write_text("")
    monkeypatch.setenv("GRPO_LAB_HOME", str(tmp_path))
    monkeypatch.delenv("GRPO_LAB_ENGINE", raising=False)
    step = open_step("3_grpo", "", "smoke")
    assert step.dir == tmp_path / "outputs" / "notebook-smoke" and step.by_hand
    assert start_model(step) is None and "starting from the base model" in capsys.readouterr().out
    other = "from grpo_lab.runs import *\nwith run_lock(%r): pass" % str(step.dir)
    done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
    assert done.returncode and "is being worked on by process" in done.stderr, "the kernel holds the run while the notebook is open"
    again = open_step("3_grpo", "", "smoke")
    (again.path("models", "3_grpo", "merged") / "config.json").parent.mkdir(parents=True)
    (again.dir / "models" / "3_grpo" / "merged" / "config.json").write_text("{}")
    finish(again)
    assert Run(step.dir).steps["3_grpo"]["state"] == "done" and Run(step.dir).steps["3_grpo"]["attempts"] == 2
    with run_lock(step.dir):
        pass
    last = open_step("4_evaluate", "", "smoke")
    assert start_model(last).parent.name == "3_grpo"
    finish(last)


def test_progress_is_drawn_for_a_terminal(toy, capsys):
    _, settings = toy
    slow = (Path(os.environ["GRPO_LAB_STAGES"]) / "1_initial_finetune.ipynb")
    notebook(slow, [BODY.format(step="'1_initial_finetune'"), "import time; time.sleep(1.5)", "finish(step)"], "run_dir = ''\nprofile = 'smoke'")
    run = create_run(settings, "g")
    lines = []
    assert LocalEngine(say=lines.append, live=True).submit(run.plan[0]).ok
    assert lines[0] == "1_initial_finetune: begins" and "done after" in lines[-1]
    assert "work 3/3" in capsys.readouterr().err
