"""The layout interpreter: made once, made again when a set-up was killed, replaceable, and clear when it cannot be had."""
import json
import os
import subprocess
import sys

import pytest

from grpo_lab.layout import env


@pytest.fixture
def place(tmp_path, monkeypatch):
    "An empty prefix, and set-up steps that are noted instead of run."
    steps = []

    def step(command, what, log, show=(), env=None):
        steps.append(what)
        if "venv" in command:
            python = os.path.join(command[-1], "bin", "python")
            os.makedirs(os.path.dirname(python))
            os.symlink(sys.executable, python)
        if what == step.fails:
            raise env_module.LayoutEnvError(f"could not {what}")

    env_module = env
    step.fails = None
    monkeypatch.delenv(env.OVERRIDE, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(env, "_step", step)
    return tmp_path / "layout", steps, step


def test_made_once_and_found_afterwards(place):
    folder, steps, _ = place
    with pytest.raises(env.LayoutEnvError, match="python.* -m grpo_lab.layout.env"):
        env.layout_python(create=False)
    said = []
    assert env.layout_python(log=said.append) == str(folder / "bin" / "python") and said
    assert steps == ["make a virtual environment", "install packages", "pip check", "import glayout"]
    assert env.is_ready() and env.layout_python(create=False) == str(folder / "bin" / "python")
    assert len(steps) == 4


def test_an_unfinished_or_outdated_one_is_made_again(place, tmp_path, monkeypatch):
    folder, steps, step = place
    step.fails = "pip check"
    with pytest.raises(env.LayoutEnvError, match="pip check"):
        env.layout_python(log=lambda line: None)
    (folder / "half").touch()
    assert not env.is_ready()
    step.fails = None
    env.layout_python(log=lambda line: None)
    assert not (folder / "half").exists() and env.is_ready()
    newer = tmp_path / "requirements.txt"
    newer.write_text("glayout==9.9.9\n")
    monkeypatch.setattr(env, "REQUIREMENTS", newer)
    assert not env.is_ready()
    (folder / env.MARKER).write_text("{")  # a torn marker counts as none
    env.layout_python(log=lambda line: None)
    assert env.is_ready() and json.loads((folder / env.MARKER).read_text())["requirements"]


def test_another_interpreter_by_setting(place, monkeypatch):
    monkeypatch.setenv(env.OVERRIDE, sys.executable)
    assert env.layout_python() == sys.executable and env.is_ready()
    monkeypatch.setenv(env.OVERRIDE, "/nowhere/python")
    assert not env.is_ready()
    with pytest.raises(env.LayoutEnvError, match="GRPO_LAB_LAYOUT_PYTHON=/nowhere/python"):
        env.layout_python()


def test_the_real_one_has_what_it_should():
    "Every pinned package is there, nothing conflicts, and the clean environment gives a working sky130."
    python = env.layout_python()
    pins = {line.split("==")[0].lower().replace("_", "-"): line.split("==")[1].strip()
            for line in env.REQUIREMENTS.read_text().splitlines() if "==" in line}
    code = "import json, importlib.metadata as m; print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
    there = json.loads(subprocess.run([python, "-I", "-c", code], check=True, capture_output=True).stdout)
    assert {name: there.get(name) for name in pins} == pins
    assert set(there) - set(pins) <= {"pip", "setuptools"}
    assert subprocess.run([python, "-m", "pip", "check"], capture_output=True).returncode == 0
    done = subprocess.run([python, "-c", "import glayout; print(glayout.sky130.name)"], env=env.environment(), capture_output=True, text=True)
    assert done.stdout.strip() == "sky130", done.stderr
