"""The command line: `grpo-lab run | resume | report | verify | eval | check | lab | dashboard | runs`.

Exit codes: 0 it worked (verify: the program is clean); 1 the run failed, or the program is not clean; 2 the command or a
setting is wrong; 3 a part of the machine is missing; 130 stopped by Ctrl-C.

Everything heavy is imported inside the command that needs it, so that help comes at once.
"""
from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from pathlib import Path

OK, FAILED, USAGE, MISSING, INTERRUPTED = 0, 1, 2, 3, 130

EPILOG = """exit codes: 0 worked (verify: clean) · 1 failed (verify: not clean) · 2 wrong command or setting · 3 a part is missing · 130 stopped

first steps:
  grpo-lab check                                   what this machine has
  grpo-lab run --profile smoke                     some minutes: does everything work?
  grpo-lab run --profile laptop --run-id demo      the real thing, small; then open outputs/demo/report.html
  grpo-lab lab                                     the notebooks
"""


class Missing(Exception):
    "A part that the command needs is not there; the text says which and how to get it."


def say(text: str = "") -> None:
    "A line for the person; standard output is for answers."
    print(text, file=sys.stderr, flush=True)


def show(answer, as_json: bool, text) -> None:
    "Print the answer: as JSON, or by calling `text`."
    if as_json:
        print(json.dumps(answer, indent=1, ensure_ascii=False, default=str), flush=True)
    else:
        text(answer)


def table(rows: list, columns: list | None = None) -> str:
    "Rows of dicts as aligned columns."
    if not rows:
        return "(nothing)"
    columns = columns or list(rows[0])
    cells = [[str(c) for c in columns]] + [["" if r.get(c) is None else str(r.get(c)) for c in columns] for r in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells)


# ---------------------------------------------------------------- run, resume, report

def settings_of(args):
    "Settings from --profile, --file, --task and --set."
    from .config import load_settings
    sets = ([f"task={args.task}"] if getattr(args, "task", None) else []) + (args.set or [])
    settings = load_settings(args.profile, args.file, sets)
    full = lambda path: str(Path(path).expanduser().resolve()) if path and path != "none" else path  # a resume may come from another folder
    settings.prompts, settings.grpo.results, settings.data, settings.layout.python, settings.dual.traces = map(full, (settings.prompts, settings.grpo.results, settings.data, settings.layout.python, settings.dual.traces))
    if Path(settings.student.model).expanduser().is_dir():
        settings.student.model = full(settings.student.model)
    if Path(settings.stage1.corpus).expanduser().is_dir():
        settings.stage1.corpus = full(settings.stage1.corpus)
    return settings


def cmd_run(args) -> int:
    if args.settings:
        from .config import describe
        rows = describe()
        show(rows, args.json, lambda rows: print(table([{**r, "default": json.dumps(r["default"], default=str)} for r in rows])))
        return OK
    settings = settings_of(args)
    need_training(settings.task)
    from .runs import create_run
    check_first(settings)
    return carry_out(create_run(settings, args.run_id), args)


def cmd_resume(args) -> int:
    from .runs import find_run, redo
    run = find_run(args.run, args.outputs)
    need_training(run.settings.task)
    if args.redo:
        redo(run, args.redo)
    if any(s["state"] != "done" for s in run.steps.values()):
        check_first(run.settings)
    return carry_out(run, args)


def carry_out(run, args) -> int:
    "Do the steps that are not done, then write the report."
    from .engines import get_engine
    from .runs import StepFailed, execute_run
    began = time.time()
    say(f"run {run.id} in {run.dir}")
    code, error, report = OK, None, None
    try:
        execute_run(run, get_engine("local", say=say), say)
        try:
            report = write_report(run)
        except OSError as why:  # the steps are done and kept
            code, error = FAILED, f"every step is done, but no report could be written ({why}): mend that, then grpo-lab report {run.id}"
            say(error)
    except StepFailed as e:
        code, error = FAILED, str(e)
        say(f"\n{e}")
        try:
            report = write_report(run)
            say(f"what there is: {report}")
        except Exception as why:  # whatever stopped the step, a full disk say, may stop the report too; the step's error is what counts
            say(f"no report could be written ({type(why).__name__}: {why})")
    answer = {"run": run.id, "folder": str(run.dir), "ok": code == OK, "error": error, "seconds": round(time.time() - began, 1),
              "steps": {k: {"state": s["state"], "seconds": s["seconds"]} for k, s in run.steps.items()}, "report": report}

    def text(a):
        if a["ok"]:
            print_table(run)
            print(f"done in {a['seconds']:.0f} s" + (f"; open {a['report']}" if a["report"] else ""))
    show(answer, args.json, text)
    return code


def check_first(settings) -> None:
    """Everything that can be seen before a run starts: problems, settings that do not fit together, what the user brought, memory, missing parts.

    Raises `RunError` naming the bad line, entry or setting, and `Missing` where the model cannot fit or a part is not here.
    """
    from .memory import check_memory
    from .runs import RunError, check_data, check_possible
    from .signoff import bring_results
    from .system_a import free_prompts
    from .tasks import load_problems, source_folder
    check_data(settings)
    lacking = check_possible(settings)
    try:
        free_prompts(settings)
        if settings.grpo.results:
            bring_results(settings.grpo.results, load_problems(settings.task, "train", source_folder(settings)))
    except ValueError as e:
        raise RunError(str(e)) from None
    found = check_memory(settings)
    if found.level == "lack" and settings.on_low_memory == "refuse":
        raise Missing(f"{found.text}. To start all the same: --set on_low_memory=warn")
    if lacking:
        raise Missing(lacking)
    say(found.text)


def write_report(run) -> str | None:
    "Path of the report; None, with a line, where this installation has no report module."
    import importlib.util
    if importlib.util.find_spec("grpo_lab.report") is None:
        say("no report was written: grpo_lab.report is not installed")
        return None
    from .report import write_report as write
    say("writing the report")
    return str(write(run.dir))


def cmd_report(args) -> int:
    from .runs import find_run
    run = find_run(args.run, args.outputs)
    path = write_report(run)
    if path is None:
        return MISSING
    show({"run": run.id, "report": path}, args.json, lambda a: print(a["report"]))
    if args.open:
        import webbrowser
        webbrowser.open(Path(path).as_uri())
    return OK


def cmd_runs(args) -> int:
    from .runs import list_runs
    rows = list_runs(args.outputs)
    show(rows, args.json, lambda rows: print(table(rows, ["run", "state", "done", "steps", "profile", "created"]) if rows else "no runs yet: grpo-lab run"))
    return OK


# ---------------------------------------------------------------- eval

def eval_tables(run) -> dict:
    "Held-out results by step and by family, from the ledger."
    from .evaluate import table_by_family, table_by_step
    ledger = run.ledger.read("4_evaluate")
    if not len(ledger):
        return {"by_step": [], "by_family": []}
    return {"by_step": records(table_by_step(ledger, k=tuple(run.settings.evaluate.k))), "by_family": records(table_by_family(ledger))}


def records(frame) -> list:
    "A data frame as plain rows, its index included where it has a name."
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    return json.loads(frame.to_json(orient="records"))


def rounded(rows: list) -> list:
    return [{k: f"{v:.3g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows]


def print_table(run) -> None:
    "The held-out table, where there is one."
    try:
        rows = eval_tables(run)["by_step"]
    except ImportError:
        return
    if rows:
        print("\nheld-out problems:\n" + table(rounded(rows)) + "\n")


def eval_model(args) -> int:
    "pass@k of one model on a split of a task; no run is needed."
    settings = settings_of(args)
    need_training(settings.task)
    import tempfile
    from .evaluate import evaluate_model, pass_report, possible_k
    from .ledger import _frame
    from .records import atomic_write
    from .tasks import open_task, pick
    from .verify import open_verifier
    model = None if args.model == "base" else args.model
    if model is not None:
        settings.student.model = model
    task, e = open_task(settings), settings.evaluate
    problems = task.load(args.split)
    if 0 < e.problems < len(problems):
        problems = pick(problems, e.problems, settings.seed)
    if not problems:
        say(f"task {settings.task} has no problems in the split '{args.split}'")
        return USAGE
    samples = e.num_samples if e.temperature > 0 else 1
    say(f"{len(problems)} problems of {settings.task} ({args.split}), {samples} answers each")
    k, more = possible_k(e.k, samples)
    if more:
        say(more)
    with tempfile.TemporaryDirectory() as cache, open_verifier(settings, cache_dir=Path(cache)) as verifier:
        rows = evaluate_model(settings, problems, task.messages, verifier, name=args.model, seed=settings.seed)
    report = {"task": settings.task, "split": args.split, "evaluate": e.model_dump(), **pass_report(_frame(rows), k)}
    if args.out:
        atomic_write(args.out, json.dumps(report, indent=1) + "\n")

    def text(r):
        found = r["models"][args.model]
        print(table([{"k": k, "pass@k": f"{v['value']:.3f}", "95 % interval": f"{v['low']:.3f} to {v['high']:.3f}"} for k, v in ((k, found.get(f"pass@{k}")) for k in r["k"]) if v]))
    show(report, args.json, text)
    return OK


def cmd_eval(args) -> int:
    if bool(args.run) == bool(args.model):
        say("say what to evaluate: a run (grpo-lab eval RUN), or a model (grpo-lab eval --model FOLDER --task starter)")
        return USAGE
    if args.model:
        try:
            return eval_model(args)
        except ValueError as e:
            say(f"grpo-lab: {e}")
            return USAGE
    if args.set or args.file or args.task or args.out:
        say("the settings of a run are fixed: leave out --set, --file, --task and --out, or evaluate a model of it with them (grpo-lab eval --model outputs/RUN/models/STEP/merged ...)")
        return USAGE
    from .runs import execute_run, find_run, redo
    run = find_run(args.run, args.outputs)
    if args.again or run.steps["4_evaluate"]["state"] != "done":
        unfinished = [k for k, s in run.steps.items() if s["state"] != "done" and k != "4_evaluate"]
        if unfinished:
            say(f"run {run.id} is not finished ({', '.join(unfinished)} to do): grpo-lab resume {run.id}")
            return FAILED
        need_training(run.settings.task)
        from .engines import get_engine
        redo(run, "4_evaluate")
        execute_run(run, get_engine("local", say=say), say)
    tables = eval_tables(run)

    def text(t):
        print(table(rounded(t["by_step"])))
        if args.by_family:
            print("\n" + table(rounded(t["by_family"])))
    show({"run": run.id, **tables}, args.json, text)
    return OK


# ---------------------------------------------------------------- verify

def cmd_verify(args) -> int:
    code = sys.stdin.read() if args.program == "-" else Path(args.program).read_text(encoding="utf-8")
    if args.tests:
        return verify_tests(args, code)
    settings = settings_of(args)
    from .tasks import open_task
    try:
        task = open_task(settings)
        problems = {p.id: p for p in task.load()}
    except ValueError as e:
        say(f"grpo-lab: {e}")
        return USAGE
    if args.problem not in problems:
        import difflib
        near = difflib.get_close_matches(args.problem or "", problems, 3, 0.3)
        say((f"there is no problem '{args.problem}'" if args.problem else "say which problem: --problem ID, or give --tests FILE")
            + (f"; near it: {', '.join(near)}" if near else f"; {len(problems)} problems, for example {', '.join(list(problems)[:3])}"))
        return USAGE
    if settings.task == "circuits":
        need_layout()
    import tempfile
    from .rewards import REWARDS
    from .verify import open_verifier
    one = {k: getattr(settings, k).model_copy(update={"workers": 1}) for k in ("layout", "sandbox")}
    settings = settings.model_copy(update=one)
    with tempfile.TemporaryDirectory() as cache, open_verifier(settings, cache_dir=Path(cache)) as verifier:
        verdict = verifier.verify([(problems[args.problem], code)])[0]
    return tell_verdict(args, {"problem": args.problem, "reward": float(REWARDS[task.reward](verdict)), "clean": verdict.clean, **verdict.model_dump()})


def verify_tests(args, code: str) -> int:
    "Judge a program against asserts."
    try:
        tests = json.loads(Path(args.tests).read_text(encoding="utf-8"))
        if not isinstance(tests, list) or not tests or not all(isinstance(t, str) for t in tests):
            raise ValueError("not a list of strings")
    except ValueError as e:
        say(f'{args.tests}: must be a JSON list of assert statements, such as ["assert f(1) == 2"] ({e})')
        return USAGE
    from .sandbox import verify_code
    setup = Path(args.setup).read_text(encoding="utf-8") if args.setup else ""
    verdict = verify_code(code, tests, setup=setup, timeout=args.timeout, memory=args.memory)
    doc = verdict if isinstance(verdict, dict) else verdict.model_dump() if hasattr(verdict, "model_dump") else vars(verdict)
    clean = doc["status"] == "ok" and doc["total"] > 0 and doc["passed"] == doc["total"]
    return tell_verdict(args, {"clean": clean, **doc})


def tell_verdict(args, doc: dict) -> int:
    def text(d):
        print("clean" if d["clean"] else "not clean")
        for k in ("problem", "reward", "status", "passed", "total", "drc_errors", "lvs_errors", "devices", "devices_expected", "seconds"):
            if d.get(k) is not None and not (k in ("passed", "total") and not d.get("total")):
                print(f"  {k:17}{d[k]:.3g}" if isinstance(d[k], float) else f"  {k:17}{d[k]}")
        for e in d.get("error_details") or []:
            print(f"  {e.get('kind')}: {e.get('rule')} x{e.get('count', 1)}  {e.get('description', '')}")
        if d.get("log"):
            print("  log:\n    " + d["log"].strip().replace("\n", "\n    "))
    show(doc, args.json, text)
    return OK if doc["clean"] else FAILED


# ---------------------------------------------------------------- check

def need_training(task: str = "circuits") -> None:
    "Raise `Missing` where the training packages are not installed, or what the task's verifier needs."
    from importlib.util import find_spec
    lack = [m for m in ("torch", "transformers", "trl", "peft", "papermill") if find_spec(m) is None]
    if lack:
        raise Missing(f"{', '.join(lack)} not installed: pip install -e . -c constraints.txt, or `make demo` which does it all")
    if task == "circuits":
        need_layout()


def need_layout() -> None:
    "Raise `Missing` where there is no layout interpreter."
    from .layout.env import OVERRIDE, is_ready
    if not is_ready():
        raise Missing(f"the layout interpreter (glayout, KLayout) is missing: {sys.executable} -m grpo_lab.layout.env makes it, once; or set {OVERRIDE}")


def checks(seconds: float = 0.6, teacher: str = "") -> list:
    "What this machine has: rows of part, have, detail, cost (of the lack)."
    import shutil
    from importlib.metadata import PackageNotFoundError, version
    rows = []

    def row(part, have, detail, cost="", needed=False):
        rows.append({"part": part, "have": bool(have), "detail": detail, "cost": "" if have else cost, "needed": needed})

    for name, cost in (("torch", "no training at all: pip install -e . -c constraints.txt"), ("transformers", "no training at all"), ("trl", "no stage 3"),
                       ("peft", "no LoRA"), ("papermill", "steps cannot be run from the command line"), ("jupyterlab", "no `grpo-lab lab`")):
        try:
            row(name, True, version(name), needed=name != "jupyterlab")
        except PackageNotFoundError:
            row(name, False, "not installed", cost, needed=name != "jupyterlab")
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*")) if Path("/proc/driver/nvidia/gpus").is_dir() else []
    build = next((r["detail"] for r in rows if r["part"] == "torch"), "")
    gpu = bool(gpus) and "+cpu" not in build
    row("GPU", gpu, f"{len(gpus)} NVIDIA" if gpu else f"{len(gpus)} NVIDIA, but this torch is built without CUDA" if gpus else "none found",
        "the laptop profile is made for this; 7B models need one")
    from .config import PROFILES, load_settings
    from .memory import GIB, check_memory, gpu_memory, main_memory
    cores, memory, gpu_bytes = os.cpu_count() or 1, main_memory() / GIB or None, gpu_memory()
    row("cores", cores >= 2, str(cores), "everything takes about twice as long")
    row("memory", memory is None or memory >= 7.5, "unknown" if memory is None else f"{memory:.1f} GiB", "the laptop profile may run out: --set student.gradient_checkpointing=true and smaller batches")
    for name in PROFILES:
        found = check_memory(load_settings(name), gpu_bytes)
        row(f"memory, {name}", found.level in ("ok", "unknown"), found.text.removeprefix("memory: "), f"the profile {name} " + ("does not fit here" if found.level == "lack" else "may run out of memory"))
    from .layout import env
    ready = env.is_ready()
    row("layout interpreter", ready, os.environ.get(env.OVERRIDE) or str(env.home()), "no circuits, so no runs: python -m grpo_lab.layout.env", needed=True)
    try:
        from .sandbox import strength
        text = str(strength())
        row("sandbox", text == "strong", text, "model-written programs run only if you accept weaker containment by name (--set sandbox.strength=...)")
    except Exception as e:  # a kernel that answers oddly must not break the overview
        row("sandbox", False, f"{type(e).__name__}: {e}", "model-written programs cannot be contained")
    from .layout import deck
    row("full DRC deck", not deck.missing(), deck.klayout_program() if not deck.missing() else deck.missing(), "no layout.drc=full; the built-in rules do not need it")
    row("Magic", shutil.which("magic"), shutil.which("magic") or "not found", "no second opinion in the DRC benchmark; runs do not need it")
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes"):
        row("model hub", False, "switched off by HF_HUB_OFFLINE", "the default student comes out of a package instead; other models must be local folders")
    else:
        ok = reachable(hub, seconds)
        row("model hub", ok, hub if ok else f"{hub} does not answer", "the default student comes out of a package instead; other models must be local folders")
    ok = bool(teacher) and reachable(teacher, seconds)
    row("teacher endpoint", ok, teacher if ok else f"{teacher} does not answer" if teacher else "none set (--set teacher.base_url=...)", "none: the reference teacher needs no model")
    return rows


def reachable(url: str, seconds: float) -> bool:
    "Does anything answer there? Looked up in a thread, because a name server may be slower than we care to wait."
    import threading
    answer = []

    def ask():
        import urllib.error
        import urllib.request
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds)
            answer.append(True)
        except urllib.error.HTTPError:
            answer.append(True)  # it said no, but it is there
        except Exception:
            answer.append(False)
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answer and answer[0])


def cmd_check(args) -> int:
    rows = checks(teacher=settings_of(args).teacher.base_url)
    show(rows, args.json, lambda rows: print("\n".join(
        f"{'ok  ' if r['have'] else 'LACK' if r['needed'] else '-   '} {r['part']:20} {r['detail']}" + (f"\n{'':26}costs: {r['cost']}" if r["cost"] else "") for r in rows)))
    return OK if all(r["have"] for r in rows if r["needed"]) else MISSING


# ---------------------------------------------------------------- lab

def cmd_lab(args) -> int:
    import subprocess
    from importlib.util import find_spec
    from .config import project_root
    if find_spec("jupyterlab") is None:
        raise Missing("JupyterLab is not installed: pip install -e . -c constraints.txt, or `make lab`")
    root = project_root()
    page = "nbs/index.ipynb"
    try:
        from .dashboards import write_index
        page = str(write_index(root).relative_to(root))
    except Exception as e:  # an outputs folder that cannot be written is no reason not to open the notebooks
        say(f"no index of the runs could be written ({type(e).__name__}: {e})")
    say(f"JupyterLab on {root}; Ctrl-C twice ends it")
    return subprocess.call([sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}", f"--LabApp.default_url=/lab/tree/{page}", *args.rest], cwd=root)


def cmd_dashboard(args) -> int:
    import subprocess
    from importlib.util import find_spec
    if find_spec("voila") is None:
        raise Missing("Voila is not installed: pip install -e . -c constraints.txt; the same dashboards are in `grpo-lab lab`")
    from .runs import find_run
    run = find_run(args.run, args.outputs)
    page = Path(__file__).parent / "templates" / "dashboard.ipynb"
    say(f"dashboards of {run.id} on http://localhost:{args.port}/; Ctrl-C ends it")
    command = [sys.executable, "-m", "voila", str(page), f"--port={args.port}", "--Voila.ip=127.0.0.1", "--Voila.open_browser=" + str(not args.no_browser), "--show_tracebacks=True"]
    return subprocess.call(command, env={**os.environ, "GRPO_LAB_RUN": str(run.dir)})


# ---------------------------------------------------------------- the parser

def build_parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="grpo-lab", formatter_class=raw, epilog=EPILOG,
                                     description="Watch a code model learn from a teacher and from verified rewards.")
    from . import __version__
    parser.add_argument("--version", action="version", version=f"grpo-lab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name, function, help, more=""):
        p = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}. {more}".strip(), formatter_class=raw)
        p.set_defaults(function=function)
        return p

    def with_settings(p, profile="laptop"):
        p.add_argument("--profile", default=profile, metavar="NAME", help=f"laptop, smoke, gpu-7b; code problems: code, code-smoke, code-gpu; also diffusion, workflows and their -smoke (default: {profile})")
        p.add_argument("--file", metavar="JSON", help="JSON document with any of the settings, laid over the profile")
        p.add_argument("--set", action="append", metavar="NAME=VALUE", help="one setting, for example grpo.num_generations=8; may be repeated")
        p.add_argument("--task", metavar="NAME", help="circuits, starter, oneliners, humaneval or mbpp (default: circuits)")

    def with_json(p):
        p.add_argument("--json", action="store_true", help="print the answer as JSON")

    def with_run(p):
        p.add_argument("run", metavar="RUN", help="run id, or path of a run folder")
        p.add_argument("--outputs", metavar="FOLDER", help="folder of the run folders (default: the project's outputs/)")

    p = command("run", cmd_run, "run the three stages and the evaluation",
                "A run id that exists is gone on with;\nwhat is done is not done again. `grpo-lab run --settings` lists every setting.")
    with_settings(p)
    p.add_argument("--run-id", metavar="NAME", help="name of the run and of its folder under outputs/ (default: profile and time)")
    p.add_argument("--settings", action="store_true", help="list every setting with its default and meaning, and stop")
    with_json(p)

    p = command("resume", cmd_resume, "go on with a run that was stopped")
    with_run(p)
    p.add_argument("--redo", metavar="STEP", help="do this step and all later ones again, for example 3_grpo")
    with_json(p)

    p = command("report", cmd_report, "write report.html of a run: one file that opens offline")
    with_run(p)
    p.add_argument("--open", action="store_true", help="open it in the browser")
    with_json(p)

    p = command("verify", cmd_verify, "judge one program, and print verdict and reward",
                "\n  grpo-lab verify --problem ID program.py             a layout program: DRC, LVS\n"
                "  grpo-lab verify --task starter --problem ID program.py   a code problem: its hidden tests\n"
                "  grpo-lab verify program.py --tests tests.json       any program against assert statements\n"
                "The program runs in the sandbox. Exit code 0 only when it is clean.")
    p.add_argument("program", metavar="PROGRAM", help="a Python file; - reads standard input")
    with_settings(p)
    p.add_argument("--problem", metavar="ID", help="which problem it should solve")
    p.add_argument("--tests", metavar="FILE", help="JSON list of assert statements")
    p.add_argument("--setup", metavar="FILE", help="with --tests: Python that the asserts need, run by the judge")
    p.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="with --tests: time limit (default: 10)")
    p.add_argument("--memory", type=int, default=1024, metavar="MB", help="with --tests: memory limit (default: 1024)")
    with_json(p)

    p = command("eval", cmd_eval, "the held-out table of a run, or pass@k of a model",
                "\n  grpo-lab eval RUN                                                    the table of a run\n"
                "  grpo-lab eval --model FOLDER --task starter --set evaluate.num_samples=20    pass@k of a model; --model base: the student before training")
    p.add_argument("run", nargs="?", metavar="RUN", help="run id, or path of a run folder")
    p.add_argument("--outputs", metavar="FOLDER", help="folder of the run folders (default: the project's outputs/)")
    p.add_argument("--model", metavar="FOLDER", help="a merged model, a hub id, or base; then no run is needed")
    p.add_argument("--split", choices=("train", "heldout"), default="heldout", help="with --model: which problems (default: heldout)")
    p.add_argument("--out", metavar="JSON", help="with --model: write the report, problem by problem, to this file")
    with_settings(p, "code")
    p.add_argument("--again", action="store_true", help="sample and judge the held-out problems again first")
    p.add_argument("--by-family", action="store_true", help="also by problem family")
    with_json(p)

    p = command("check", cmd_check, "say what this machine has and lacks, and what each lack costs")
    with_settings(p)
    with_json(p)

    p = command("lab", cmd_lab, "open JupyterLab on an index of runs, walk-throughs and notebooks", "Further arguments go to JupyterLab, for example: grpo-lab lab --no-browser --port 8899")
    p.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="for JupyterLab")

    p = command("dashboard", cmd_dashboard, "serve the dashboards of a run, without notebooks", "Voila shows them on this machine only (127.0.0.1); there is no password.")
    with_run(p)
    p.add_argument("--port", type=int, default=8866, metavar="N", help="default: 8866")
    p.add_argument("--no-browser", action="store_true", help="do not open a browser")

    p = command("runs", cmd_runs, "list the runs there are")
    p.add_argument("--outputs", metavar="FOLDER", help="folder of the run folders (default: the project's outputs/)")
    with_json(p)
    return parser


def main(argv: list | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if argv[:1] == ["lab"] and not {"-h", "--help"} & set(argv):  # argparse would read JupyterLab's options as ours
        args = argparse.Namespace(function=cmd_lab, rest=argv[1:])
    else:
        args = parser.parse_args(argv)
    try:
        return args.function(args)
    except KeyboardInterrupt:
        say("\nstopped; what is done is kept (grpo-lab resume goes on)")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except Missing as e:
        say(f"grpo-lab: {e}")
        return MISSING
    except ModuleNotFoundError as e:
        say(f"grpo-lab: a part is missing: {e}; `grpo-lab check` shows what there is")
        return MISSING
    except Exception as e:
        known = errors()
        if isinstance(e, known["failed"]):
            say(f"grpo-lab: {e}")
            return FAILED
        if isinstance(e, known["usage"]):
            say(f"grpo-lab: {e}" if not isinstance(e, FileNotFoundError) or not e.filename else f"grpo-lab: there is no file {e.filename}")
            return USAGE
        if isinstance(e, known["missing"]):
            say(f"grpo-lab: {e}")
            return MISSING
        if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG):
            say(f"grpo-lab: {e}; free space or choose another folder, then say it again (a run goes on with grpo-lab resume)")
            return FAILED
        raise


def errors() -> dict:
    "Our exceptions, by exit code; looked up late, because importing them costs."
    from .config import SettingsError
    from .runs import Busy, RunError, StepFailed
    missing = []
    for module, name in (("grpo_lab.sandbox", "SandboxError"), ("grpo_lab.layout.env", "LayoutEnvError"), ("grpo_lab.layout.deck", "DeckMissing")):
        if module in sys.modules and hasattr(sys.modules[module], name):
            missing.append(getattr(sys.modules[module], name))
    return {"failed": (StepFailed, Busy), "usage": (SettingsError, RunError, FileNotFoundError, IsADirectoryError, UnicodeDecodeError), "missing": tuple(missing)}


if __name__ == "__main__":
    sys.exit(main())
