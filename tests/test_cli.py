"""The command line: help, settings, exit codes, JSON."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

from grpo_lab import cli
from grpo_lab.config import load_settings
from grpo_lab.runs import create_run

COMMANDS = ("run", "resume", "report", "verify", "eval", "check", "lab", "runs")


def grpo_lab(*argv, **kw):
    return subprocess.run([sys.executable, "-m", "grpo_lab.cli", *argv], capture_output=True, text=True, timeout=120, **kw)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as e:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert e.value.code == 0 and f"grpo-lab {command}" in text and len(text) > 150


def test_the_overview_names_every_command_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {c} " in text for c in COMMANDS) and "exit codes" in text


@pytest.mark.parametrize("argv", [["--help"], ["check"], ["runs"], ["run", "--settings"]])
def test_light_commands_import_nothing_heavy(argv):
    heavy = ("torch", "transformers", "trl", "peft", "datasets", "pandas", "matplotlib", "papermill", "numpy")
    code = ("import sys\nfrom grpo_lab.cli import main\n"
            f"try: main({argv!r})\nexcept SystemExit: pass\n"
            f"print('HEAVY', [m for m in {heavy!r} if m in sys.modules])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout
    assert "HEAVY []" in out, out[-300:]


TENSORS = {"advantages", "objectives", "rollout", "logprobs", "grpo", "trajectories", "masked_lm", "denoising", "estimators", "coupled"}


def test_chapters_that_are_not_about_tensors_import_nothing_heavy():
    "So a notebook that only reads, judges or draws starts at once."
    chapters = sorted({f.stem for f in Path(cli.__file__).parent.glob("*.py")} - TENSORS - {"__init__", "_modidx"})
    code = (f"import sys, importlib\nfor c in {chapters!r}:\n    importlib.import_module('grpo_lab.' + c)\n"
            "    heavy = [m for m in ('torch', 'transformers', 'trl', 'datasets', 'pandas', 'matplotlib', 'numpy') if m in sys.modules]\n"
            "    if heavy: sys.exit(f'{c} imports {heavy}')\nprint('LIGHT')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("LIGHT\n"), done.stderr[-500:]


def test_settings_are_listed(capsys):
    assert cli.main(["run", "--settings", "--json"]) == 0
    rows = {r["setting"]: r for r in json.loads(capsys.readouterr().out)}
    assert rows["grpo.num_generations"]["type"] == "int" and rows["seed"]["meaning"]


@pytest.mark.parametrize("argv, words", [
    (["run", "--set", "grpo.num_generation=8"], "did you mean 'grpo.num_generations'"),
    (["run", "--set", "grpo.num_generations=many"], "'grpo.num_generations' = 'many'"),
    (["run", "--set", "seed"], "write it as name=value"),
    (["run", "--profile", "laptob"], "did you mean 'laptop'"),
    (["run", "--task", "circuit"], "'task' = 'circuit'"),
    (["run", "--file", "no-such.json"], "no such settings file"),
    (["run", "--run-id", "../up", "--profile", "smoke"], "run id '../up'"),
    (["resume", "nothing-of-that-name"], "there is no run"),
    (["verify", "no-such.py", "--problem", "x"], "no file no-such.py"),
    (["eval", "--model", "./no-such-model", "--task", "starter"], "student.model=./no-such-model: "),
    (["eval", "demo", "--set", "evaluate.num_samples=4"], "the settings of a run are fixed"),
    (["run", "--set", "grpo.max_steps=0"], "0 steps train nothing; -1: by epochs"),
    (["run", "--set", "search.group_size=1"], "nothing to be compared with"),
])
def test_mistakes_end_with_code_2_and_name_themselves(argv, words, capsys):
    assert cli.main(argv) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("bad, code", [
    ("grpo.num_generations=5", 2), ('grpo.rewards=["drc"]', 2), ("grpo.reward_weights=[1,2]", 2), ("grpo.lr_scheduler_type=lineer", 2), ("grpo.save_steps=3 grpo.num_iterations=2", 2),
    ("stage1.corpus=/no/such", 2), ("student.model=/no/such/folder", 2), ("layout.python=/no/such", 2), ("student.load_in_4bit=true", 3), ("grpo.sampler=vllm", 3), ("layout.drc=full", 3)])
def test_what_would_stop_a_run_after_minutes_stops_it_before_it_starts(bad, code, tmp_path, capsys, monkeypatch):
    import importlib.util
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in ("vllm", "bitsandbytes") else real(name, *a))
    monkeypatch.setenv("GRPO_LAB_KLAYOUT", "/nowhere/klayout")
    assert cli.main(["run", "--profile", "smoke", "--set", f"outputs={tmp_path}", *(x for b in bad.split() for x in ("--set", b))]) == code
    said = capsys.readouterr().err
    assert bad.split("=")[0] in said and "Traceback" not in said and not list(tmp_path.iterdir())


def test_verify_with_a_deck_that_is_not_here_is_code_3(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GRPO_LAB_KLAYOUT", "/nowhere/klayout")
    (tmp_path / "p.py").write_text("component = 1")
    assert cli.main(["verify", str(tmp_path / "p.py"), "--problem", "transistor_h00", "--set", "layout.drc=full"]) == 3
    assert "apt-get install klayout" in capsys.readouterr().err


def test_a_full_disk_is_one_line(tmp_path, capsys, monkeypatch):
    import errno
    import grpo_lab.report
    run = create_run(load_settings("smoke", sets=[f"outputs={tmp_path}", "student.model=tiny-1m"]), "full")
    monkeypatch.setattr(grpo_lab.report, "write_report", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    assert cli.main(["report", str(run.dir)]) == 1
    assert "No space left on device; free space" in capsys.readouterr().err
    monkeypatch.setattr("grpo_lab.runs.execute_run", lambda *_: None)                                # every step is done
    assert cli.carry_out(run, type("Args", (), {"json": True})()) == 1
    assert "every step is done, but no report could be written" in json.loads(capsys.readouterr().out)["error"]


def test_report_and_eval_answer_programs_in_json(unbroken, capsys):
    from pathlib import Path
    assert cli.main(["report", str(unbroken.dir), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["run"] == unbroken.id and Path(answer["report"]).read_text().lstrip().lower().startswith("<!doctype html>")
    assert cli.main(["eval", str(unbroken.dir), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    ledger = unbroken.ledger.read("4_evaluate")
    assert [r["step"] for r in answer["by_step"]] == ["base", *(k for k in unbroken.steps if k != "2_self_improve_1" and k != "4_evaluate")]
    for row in answer["by_step"]:
        mine = ledger[ledger.model == row["step"]]
        assert row["problems"] == mine.problem_id.nunique() and row["clean"] == pytest.approx(mine.clean.mean())
    assert {r["family"] for r in answer["by_family"]} == set(ledger.family)


def test_an_unknown_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as e:
        cli.main(["trian"])
    assert e.value.code == 2


def test_check_says_what_is_missing_and_what_it_costs(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code = cli.main(["check", "--json"])
    rows = {r["part"]: r for r in json.loads(capsys.readouterr().out)}
    assert {"torch", "GPU", "layout interpreter", "sandbox", "full DRC deck", "Magic", "model hub", "teacher endpoint"} <= set(rows)
    assert all(r["have"] or r["cost"] for r in rows.values()), "a lack without its cost"
    assert rows["model hub"]["detail"].startswith("switched off")
    assert code == (0 if all(r["have"] for r in rows.values() if r["needed"]) else 3)


def test_check_without_a_layout_interpreter_is_code_3(capsys, monkeypatch):
    monkeypatch.setenv("GRPO_LAB_LAYOUT_PYTHON", "/no/such/python")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert cli.main(["check"]) == 3
    assert "LACK layout interpreter" in capsys.readouterr().out
    assert cli.main(["run", "--profile", "smoke"]) == 3
    assert "grpo_lab.layout.env" in capsys.readouterr().err


def test_an_unreachable_hub_costs_little(monkeypatch):
    assert cli.reachable("http://127.0.0.1:9", 0.5) is False


def test_runs_are_listed_and_other_settings_refused(tmp_path, capsys):
    settings = ["--profile", "smoke", "--set", f"outputs={tmp_path}", "--set", "student.model=tiny-1m"]
    create_run(load_settings("smoke", sets=settings[3::2]), "mine")
    assert cli.main(["runs", "--outputs", str(tmp_path), "--json"]) == 0
    assert [(r["run"], r["state"], r["done"]) for r in json.loads(capsys.readouterr().out)] == [("mine", "unfinished", 0)]
    assert cli.main(["run", *settings, "--set", "seed=5", "--run-id", "mine"]) == 2
    assert "seed: 0 -> 5" in capsys.readouterr().err


def test_verify_needs_a_known_problem_and_good_tests(tmp_path, capsys):
    program = tmp_path / "p.py"
    program.write_text("component = 1\n")
    assert cli.main(["verify", str(program)]) == 2
    assert "--problem" in capsys.readouterr().err
    assert cli.main(["verify", str(program), "--problem", "transistor_x00"]) == 2
    assert "near it" in capsys.readouterr().err
    (tmp_path / "t.json").write_text('{"a": 1}')
    assert cli.main(["verify", str(program), "--tests", str(tmp_path / "t.json")]) == 2
    assert "list of assert statements" in capsys.readouterr().err


def test_verify_against_asserts(tmp_path):
    pytest.importorskip("grpo_lab.sandbox", reason="no sandbox")
    from grpo_lab import sandbox
    if not hasattr(sandbox, "verify_code"):
        pytest.skip("the sandbox judges no asserts yet")
    (tmp_path / "good.py").write_text("def f(x): return x + 1\n")
    (tmp_path / "bad.py").write_text("def f(x): return x\n")
    (tmp_path / "t.json").write_text('["assert f(1) == 2", "assert f(-1) == 0"]')
    for name, code, passed in (("good", 0, 2), ("bad", 1, 0)):
        done = grpo_lab("verify", str(tmp_path / f"{name}.py"), "--tests", str(tmp_path / "t.json"), "--json")
        assert done.returncode == code, done.stderr
        assert json.loads(done.stdout)["passed"] == passed


def test_verify_a_layout_program(tmp_path):
    pytest.importorskip("grpo_lab.verify")
    from grpo_lab.circuits import load_problems
    from grpo_lab.layout.env import is_ready
    if not is_ready():
        pytest.skip("no layout interpreter")
    problem = next(p for p in load_problems("train") if p.family == "transistor")
    (tmp_path / "good.py").write_text(problem.reference)
    (tmp_path / "empty.py").write_text("from glayout.backend import Component\ncomponent = Component()\n")
    answers = {}
    for name, code in (("good", 0), ("empty", 1)):
        done = grpo_lab("verify", "--task", "circuits", "--problem", problem.id, str(tmp_path / f"{name}.py"), "--json")
        assert done.returncode == code, done.stderr + done.stdout
        answers[name] = json.loads(done.stdout)
    assert answers["good"]["clean"] and answers["good"]["drc_errors"] == answers["good"]["lvs_errors"] == 0
    assert answers["empty"]["drc_errors"] == 0 and not answers["empty"]["clean"] and answers["empty"]["reward"] < answers["good"]["reward"]


def test_the_installed_command_is_this_one():
    script = Path(sys.executable).with_name("grpo-lab")
    if not script.exists():
        pytest.skip("grpo-lab is not installed beside this interpreter")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("grpo-lab ")
