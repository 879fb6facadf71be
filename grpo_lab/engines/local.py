"""Execute a step's notebook on this machine: papermill here, the kernel in a process of its own.

What this adds to papermill:

- The kernel is this very interpreter, whatever kernels the user has registered under the name 'python3'.
- A parameter that the notebook does not have, or of another type than its default, is refused (papermill only warns).
- The kernel dies with this process, also by SIGKILL, so that it cannot go on writing into a run that someone resumes.
- What the kernel process itself prints (a crash in C code, the kernel's log) goes to logs/<step>.log.
- Ctrl-C stops the kernel and comes through as KeyboardInterrupt.
- The executed notebook is signed, so that JupyterLab shows its widgets.
"""
from __future__ import annotations

import ast
import ctypes
import difflib
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

from ..runs import Result, Step

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def notebook_parameters(path: str | os.PathLike) -> dict:
    "Names and default values in the notebook's parameters cell. Raises ValueError where it has no such cell."
    import nbformat
    nb = nbformat.read(path, as_version=4)
    cells = [c for c in nb.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path}: needs exactly one cell tagged 'parameters', has {len(cells)}")
    found = {}
    for node in ast.parse(cells[0].source).body:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and node.value is not None:
            found[target.id] = ast.literal_eval(node.value)
    return found


def check_parameters(path: str | os.PathLike, given: dict) -> None:
    "Raise ValueError, naming the nearest right one, for a parameter that the notebook lacks or of another type."
    known = notebook_parameters(path)
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ValueError(f"{Path(path).name} has no parameter '{name}'" + (f"; did you mean '{near[0]}'?" if near else f": it has {', '.join(known)}"))
        default = known[name]
        fits = default is None or isinstance(value, type(default)) and (isinstance(value, bool) == isinstance(default, bool)) \
            or isinstance(default, float) and type(value) is int
        if not fits:
            raise ValueError(f"{Path(path).name}: parameter '{name}' is {value!r} ({type(value).__name__}), and its default {default!r} is {type(default).__name__}")


try:
    _prctl = ctypes.CDLL(None).prctl
except (OSError, AttributeError, TypeError):
    _prctl = None  # not Linux: ipykernel's own watch over its parent does it, a second later


def _die_with_parent():
    "In the child, before exec: ask the kernel to kill it when its parent goes."
    if _prctl:
        _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _manager_class(step: Step, log, started: list):
    "A kernel manager for papermill that starts this interpreter, with our environment, and reports itself to `started`."
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        @property
        def kernel_spec(self):
            return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                              display_name="Python 3", language="python")

        async def _async_start_kernel(self, **kw):
            env = {**os.environ, **kw.pop("env", {}), "GRPO_LAB_ENGINE": str(os.getpid()), "PYTHONUNBUFFERED": "1",
                   "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
            started.append(self)
            await super()._async_start_kernel(env=env, stdout=log, stderr=log, preexec_fn=_die_with_parent, **kw)

        start_kernel = _async_start_kernel

    return Manager


def sign(path: str | os.PathLike) -> bool:
    "Sign a notebook so that JupyterLab trusts its outputs; False where the user's Jupyter folder cannot be written."
    import nbformat
    from nbformat.sign import NotebookNotary
    try:
        NotebookNotary().sign(nbformat.read(path, as_version=4))
        return True
    except Exception:  # sqlite and traitlets errors of several kinds: the notebook is only less pretty
        return False


def explain(error: BaseException, step: Step) -> str:
    "An exception of papermill or its kernel in a few lines."
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    if isinstance(error, PapermillExecutionError):
        lines = [line for line in ANSI.sub("", "\n".join(error.traceback)).splitlines() if line.strip()]
        text = f"{error.ename}: {ANSI.sub('', error.evalue)}"
        where = [line.strip() for line in lines if line.strip().startswith("---->")]
        return text + (f"\n  at: {where[0][5:].strip()}" if where else "")
    if isinstance(error, DeadKernelError):
        return ("the notebook's process died. Most often the machine ran out of memory: close other programs, or use smaller "
                "batches (--set stage1.per_device_train_batch_size=2, --set grpo.micro_batch_size=4). Its last words are in the log.")
    return f"{type(error).__name__}: {error}"


class LocalEngine:
    "Runs one notebook at a time on this machine."

    def __init__(self, say=None, live: bool | None = None):
        "say: called with a line when a step begins and ends. live: redraw a progress line on stderr; None: where it is a terminal."
        self.say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self.live = sys.stderr.isatty() if live is None else live

    def submit(self, step: Step) -> Result:
        "Execute a step. Raises KeyboardInterrupt when the user stops it; every other trouble is in the result."
        began = time.time()
        try:
            if not Path(step.notebook).is_file():
                raise FileNotFoundError(f"there is no stage notebook {step.notebook}")
            check_parameters(step.notebook, step.parameters)
            for folder in (step.executed.parent, step.log.parent):
                folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as e:
            return Result(id=step.id, ok=False, error=str(e))
        self.say(f"{step.id}: begins")
        error = self._execute(step, began)
        result = Result(id=step.id, ok=error is None, error="" if error is None else explain(error, step), seconds=round(time.time() - began, 3))
        self._clear()
        self.say(f"{step.id}: {'done' if result.ok else 'failed'} after {clock(result.seconds)}")
        return result

    def _execute(self, step: Step, began: float):
        "Run papermill in a thread, so that this one can show progress and hear Ctrl-C; the exception, or None."
        started, outcome = [], []
        with open(step.log, "a", encoding="utf-8") as log:
            log.write(f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')} {step.id}, started by process {os.getpid()}\n")
            log.flush()
            thread = threading.Thread(target=self._papermill, args=(step, log, started, outcome), daemon=True)
            thread.start()
            try:
                self._watch(step, thread, began)
            except BaseException:
                kill(started)
                thread.join(10)
                raise
        return outcome[0] if outcome else RuntimeError("papermill ended without a word")

    def _papermill(self, step: Step, log, started: list, outcome: list) -> None:
        import logging
        import warnings
        logging.getLogger("papermill").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="papermill|nbformat|jupyter_client|nbclient")
        try:
            import papermill
            papermill.execute_notebook(
                step.notebook, str(step.executed), parameters=step.parameters, kernel_name="python3", language="python",
                progress_bar=False, start_timeout=180, stdout_file=log, stderr_file=log, coalesce_streams=True,
                kernel_manager_class=_manager_class(step, log, started), raise_on_iopub_timeout=False)
            sign(step.executed)
            outcome.append(None)
        except BaseException as e:
            if step.executed.exists():
                sign(step.executed)
            outcome.append(e)

    def _watch(self, step: Step, thread: threading.Thread, began: float) -> None:
        "Until the thread ends: a line that is redrawn on a terminal, or one every half minute elsewhere."
        progress, last = Path(step.run_dir) / "logs" / f"{step.id}.progress", time.time()
        while thread.is_alive():
            thread.join(0.25)
            if not thread.is_alive() or not self.live and time.time() - last < 30:
                continue
            try:
                line = progress.read_text(encoding="utf-8")
            except OSError:
                line = ""
            text = f"{step.id}: {clock(time.time() - began)}  {line}"
            if self.live:
                sys.stderr.write("\r\x1b[K" + text[: _columns() - 1])
                sys.stderr.flush()
            elif line:
                self.say(text)
                last = time.time()

    def _clear(self) -> None:
        if self.live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def kill(managers: list) -> None:
    "End the kernels that were started, at once."
    for manager in managers:
        pid = getattr(manager.provisioner, "pid", None)
        if pid:
            try:
                os.killpg(pid, signal.SIGKILL)  # it leads a session of its own
            except (ProcessLookupError, PermissionError):
                pass


def clock(seconds: float) -> str:
    "65 -> '1:05'"
    m, s = divmod(int(seconds + 0.5), 60)
    return f"{m // 60}:{m % 60:02d}:{s:02d}" if m >= 60 else f"{m}:{s:02d}"


def _columns() -> int:
    import shutil
    return shutil.get_terminal_size((100, 20)).columns
