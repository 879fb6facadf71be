"""What the speed benchmarks share: the machine and its floors, peak memory, a measurement in a process of its own, the results file.

Each measurement runs in a fresh process, so that one contestant's memory is not another's, and contestants take turns, so that a
machine that slows down slows all of them.
"""
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
sys.path.insert(0, str(ROOT))
GIB = 2**30


def busy(seconds: float = 1.0) -> float:
    "Share of the machine's processor time that is in use, looked at for a while. (The load average remembers what has ended.)"
    def look():
        spent = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(spent), spent[3] + spent[4]          # all; idle, waiting for a disk
    whole, idle = look()
    time.sleep(seconds)
    after = look()
    return round(1 - (after[1] - idle) / max(1, after[0] - whole), 2)


def machine() -> dict:
    "The machine, and how busy it was before."
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return dict(cpu=cpu, cores=len(os.sched_getaffinity(0)), kernel=platform.release(), memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
                load_before=round(os.getloadavg()[0], 2), busy_before=busy(), nice=os.nice(0))


def best_of(f, n: int = 5) -> float:
    "Seconds of the fastest of `n` calls, after one that does not count."
    f()
    times = []
    for _ in range(n):
        began = time.perf_counter()
        f()
        times.append(time.perf_counter() - began)
    return min(times)


def floors() -> dict:
    "What this machine can do at best: a large copy (bytes read plus bytes written), square matrix products, and those of 64 rows."
    import torch
    a = torch.ones(2**26)                                             # 256 MiB: well beyond the caches
    b = torch.empty_like(a)
    out = {"copy_gb_s": 2 * 4 * len(a) / best_of(lambda: b.copy_(a)) / 1e9}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        x, y = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
        out[f"matmul_{name}_tflop_s"] = 2 * 2048**3 / best_of(lambda: x @ y, 8) / 1e12
    return {k: round(v, 3) for k, v in out.items()}


def reset_peak() -> None:
    "Peak memory counts from here."
    with open("/proc/self/clear_refs", "w") as f: f.write("5")


def peak_gib() -> float:
    "Most memory this process has held since it began, or since `reset_peak`."
    return round(int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) / 2**20, 3)


def report(row: dict) -> None:
    "The last line of a measuring process: its result."
    print("RESULT " + json.dumps(row), flush=True)


def child(script: str, *args, timeout: float = 1500) -> dict:
    "Run `script` with `args` in a process of its own; what it gave to `report`."
    done = subprocess.run([sys.executable, script, *map(str, args)], capture_output=True, text=True, timeout=timeout, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
    line = next((x for x in reversed(done.stdout.splitlines()) if x.startswith("RESULT ")), None)
    if done.returncode or line is None: raise SystemExit(f"{Path(script).name} {' '.join(map(str, args))} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    row = json.loads(line.removeprefix("RESULT "))
    print(json.dumps(row), flush=True)
    return row


def turns(script: str, contestants: list, repeats: int, *args) -> dict:
    "`repeats` measurements of each contestant, in turns: {contestant: [row, ...]}."
    rows = {c: [] for c in contestants}
    for _ in range(repeats):
        for c in contestants: rows[c].append(child(script, "--one", c, *args))
    return rows


def middle(rows: list, key: str) -> float:
    return statistics.median(r[key] for r in rows)


def over_seeds(rate: dict, pairs: tuple, draws: int = 2000) -> tuple[dict, dict]:
    """95 % intervals by a bootstrap over seeds and problems together: of the mean of each contestant, and of the paired differences `pairs`.

    `rate`: {contestant: array [seeds, problems]}; one that was made only once (a base model) counts as the same for all seeds.
    """
    import numpy as np
    rng, problems = np.random.default_rng(0), next(iter(rate.values())).shape[1]
    seeds = min([len(x) for x in rate.values() if len(x) > 1] or [1])
    picks = [(rng.integers(0, seeds, seeds), rng.integers(0, problems, problems)) for _ in range(draws)]
    boot = {a: np.array([x[np.minimum(s, len(x) - 1)][:, p].mean() for s, p in picks]) for a, x in rate.items()}
    span = lambda v: [float(q) for q in np.quantile(v, [0.025, 0.975])]
    differences = {f"{a} - {b}": {"difference": float(rate[a].mean() - rate[b].mean()), "interval": span(boot[a] - boot[b])} for a, b in pairs if a in rate and b in rate}
    return {a: span(v) for a, v in boot.items()}, differences


def show_differences(differences: dict) -> None:
    for name, d in differences.items(): print(f"{name:22} {d['difference']:+.3f}  ({d['interval'][0]:+.3f} to {d['interval'][1]:+.3f})")


def table(rows: list, columns: list | None = None) -> str:
    "Rows of dicts as aligned columns."
    columns = columns or list(rows[0])
    text = lambda v: "" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v)
    cells = [columns] + [[text(r.get(c)) for c in columns] for r in rows]
    widths = [max(len(r[i]) for r in cells) for i in range(len(columns))]
    return "\n".join("  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths))) for r in cells)


def slope(x: list, y: list) -> float:
    "Exponent b of y ~ x^b: the slope of the least-squares line through the logarithms."
    import math
    u, v = [math.log(a) for a in x], [math.log(a) for a in y]
    mu, mv = statistics.mean(u), statistics.mean(v)
    return sum((a - mu) * (b - mv) for a, b in zip(u, v)) / sum((a - mu) ** 2 for a in u)


def write(name: str, doc: dict, before: dict, out: str = "") -> None:
    "benchmarks/results/<name>.json: command, machine, versions, commit, then the figures. Where other work ran at the same time, CPU seconds compare better than the clock's."
    from grpo_lab.runs import git_state, versions
    head = dict(command=" ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]]), date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), **git_state(),
                machine={**before, "load_after": round(os.getloadavg()[0], 2)}, machine_was_shared=before["busy_before"] > 0.2, versions=versions())
    from grpo_lab.records import atomic_write
    if out != "-": atomic_write(out or RESULTS / f"{name}.json", json.dumps({**head, **doc}, indent=1) + "\n")
