"""The layout interpreter: a Python of its own for glayout and KLayout, made once and found quickly afterwards.

glayout 0.2.0 needs numpy 1.24 and klayout 0.28; the training stack needs newer ones. Giving layouts their own
interpreter keeps both `pip check` clean, and programs written by a model never see the training packages.

    python -m grpo_lab.layout.env            make it (seconds when it is there already, minutes the first time)
    from grpo_lab.layout.env import layout_python
    layout_python()                          its path, making it where needed

Where it lives: `<sys.prefix>/layout`, so it goes away with the virtual environment it belongs to. Set
GRPO_LAB_LAYOUT_PYTHON to the path of another interpreter with the same packages to use that one instead.
"""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
OVERRIDE = "GRPO_LAB_LAYOUT_PYTHON"
MARKER = "grpo-lab-layout.json"
PYTHON = (3, 11)  # the version the freeze was made with; numpy 1.24 has no wheels for 3.12 and later


class LayoutEnvError(RuntimeError):
    "The layout interpreter is missing or could not be made; the message says what to do."


def home() -> Path:
    "The folder of the layout interpreter: beside the packages of the interpreter that runs this."
    if (Path(sys.prefix) / MARKER).exists():  # we are the layout interpreter
        return Path(sys.prefix)
    prefix = Path(sys.prefix)
    if os.access(prefix, os.W_OK) or (prefix / "layout" / MARKER).exists():
        return prefix / "layout"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grpo_lab" / "layout"


def _fingerprint() -> str:
    "What the marker must say for an existing interpreter to count as complete and current."
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def _python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def is_ready() -> bool:
    "True where `layout_python()` would return at once, without installing anything."
    if os.environ.get(OVERRIDE):
        return os.access(os.environ[OVERRIDE], os.X_OK)
    return _complete(home())


def _complete(folder: Path) -> bool:
    try:
        marker = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return False
    return marker.get("requirements") == _fingerprint() and os.access(_python_of(folder), os.X_OK)


def layout_python(create: bool = True,  # make the interpreter where it is missing; False raises instead
                  log=None,  # called with one line of progress at a time; None prints to standard error
                  ) -> str:
    "Path of the layout interpreter. Raises LayoutEnvError, saying what to do, where there is none."
    override = os.environ.get(OVERRIDE)
    if override:
        if not os.access(override, os.X_OK):
            raise LayoutEnvError(f"{OVERRIDE}={override} is not a program that can be run: point it at a Python that has "
                                 f"the packages of {REQUIREMENTS.name}, or unset it to use the built-in one.")
        return override
    folder = home()
    if _complete(folder):
        return str(_python_of(folder))
    if not create:
        raise LayoutEnvError(f"no layout interpreter at {folder}: make it with `{sys.executable} -m grpo_lab.layout.env` "
                             f"(a few minutes, about 1 GB), or set {OVERRIDE}.")
    return _make(folder, log or (lambda line: print(line, file=sys.stderr, flush=True)))


def _base_python() -> str:
    "A Python 3.11 to make the virtual environment with."
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    name = "python{}.{}".format(*PYTHON)
    found = shutil.which(name)
    if not found:
        raise LayoutEnvError(f"layouts need {name} (their pinned numpy has no wheels for {sys.version_info[0]}."
                             f"{sys.version_info[1]}): install {name}, or set {OVERRIDE} to a Python with those packages.")
    return found


def _make(folder: Path, log) -> str:
    import fcntl
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(folder.with_name(folder.name + ".lock"), "w")
    except OSError as e:
        raise LayoutEnvError(f"cannot write {folder.parent} ({e}): make that folder writable, or set {OVERRIDE}.") from e
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes that start together make it once
        if _complete(folder):
            return str(_python_of(folder))
        start = time.time()
        log(f"layout interpreter: making {folder} (once; a few minutes)")
        shutil.rmtree(folder, ignore_errors=True)  # an unfinished one: the marker is written last
        _step([_base_python(), "-m", "venv", str(folder)], "make a virtual environment", log)
        python = str(_python_of(folder))
        count = sum(1 for line in REQUIREMENTS.read_text().splitlines() if "==" in line)
        log(f"layout interpreter: installing {count} pinned packages")
        _step([python, "-m", "pip", "install", "--no-deps", "--no-input", "-r", str(REQUIREMENTS)], "install packages",
              log, show=("Collecting", "Installing"))
        _step([python, "-m", "pip", "check"], "pip check", log)
        cache = folder / "cache"
        for name in ("pdk", "matplotlib"):
            (cache / name).mkdir(parents=True, exist_ok=True)
        log("layout interpreter: first import (compiles and warms caches)")
        _step([python, "-c", "import glayout, klayout.db; assert glayout.sky130 is not None"], "import glayout", log,
              env=environment(folder))
        fd, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(fd, "w") as f:
            json.dump({"requirements": _fingerprint(), "python": sys.version.split()[0], "made": time.time()}, f)
        os.replace(temporary, folder / MARKER)
        log(f"layout interpreter: ready after {time.time() - start:.0f} s")
        return python


def _step(command: list, what: str, log, show=(), env=None) -> None:
    "Run one command; pass on the lines that start with `show`; on failure raise with the last lines it printed."
    done, last = 0, []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                               stdin=subprocess.DEVNULL)
    try:
        for line in process.stdout:
            last = (last + [line.rstrip()])[-15:]
            if line.startswith(show) and show:
                done += 1
                if line.startswith("Installing") or done % 10 == 1:
                    log(f"  {done:3d} {line.strip()[:100]}")
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if code:
        raise LayoutEnvError(f"layout interpreter: could not {what} (exit status {code}). Last lines:\n  " +
                             "\n  ".join(last) + f"\nMend the cause and run `{sys.executable} -m grpo_lab.layout.env` "
                             f"again, or set {OVERRIDE}.")


def environment(folder: Path | None = None) -> dict:
    "The clean environment the layout processes run in: no user settings, caches kept inside the interpreter's folder."
    folder = folder or home()
    cache = folder / "cache"
    if not os.access(cache, os.W_OK):
        cache = Path(tempfile.gettempdir()) / f"grpo-lab-layout-{os.getuid()}"
    for name in ("pdk", "matplotlib"):
        try:
            (cache / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            pass
    env = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(cache),
        "LANG": "C.UTF-8",
        "PDK_ROOT": str(cache / "pdk"),  # glayout.sky130 is silently None without it; any folder will do
        "GLAYOUT_BACKEND": "gdsfactory",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "PYTHONHASHSEED": "0",
        "QT_QPA_PLATFORM": "offscreen",
    }
    env.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")})
    return env


if __name__ == "__main__":
    try:
        print(layout_python())
    except LayoutEnvError as error:
        sys.exit(str(error))
