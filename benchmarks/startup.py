"""How soon the command line answers, and what importing a chapter costs.

    python benchmarks/startup.py        about a minute

Each figure is a fresh process; the median and the slowest of several. `torch` says whether the process had imported it. Writes benchmarks/results/startup.json.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

import measure

COMMANDS = (["--help"], ["--version"], ["check"], ["runs"], ["run", "--settings"], ["run", "--help"])
HEAVY = ("torch", "transformers", "trl", "pandas", "matplotlib")


def seconds(code: str, env: dict) -> tuple:
    "Wall seconds of a Python process, and which heavy packages it imported."
    code = f"import sys\ntry:\n  {code}\nexcept SystemExit: pass\nprint('HEAVY', *[m for m in {HEAVY!r} if m in sys.modules])"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=measure.ROOT)
    took = time.perf_counter() - began
    last = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("HEAVY")), None)
    if last is None: raise SystemExit(f"{code}\n{done.stderr[-1500:]}")
    return took, last.split()[1:]


def costly(argv: list, env: dict, n: int = 5) -> list:
    "The imports that cost most by themselves, milliseconds."
    out = subprocess.run([sys.executable, "-X", "importtime", "-m", "grpo_lab.cli", *argv], capture_output=True, text=True, env=env, cwd=measure.ROOT).stderr
    rows = [line.removeprefix("import time:").split("|") for line in out.splitlines() if line.startswith("import time:") and "self" not in line]
    return [{"module": m.strip(), "ms": round(int(own) / 1000, 1)} for own, _, m in sorted(rows, key=lambda r: -int(r[0]))[:n]]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--repeats", type=int, default=7); p.add_argument("--out", default="", help="results file; - for none")
    o = p.parse_args()
    before, env = measure.machine(), {**os.environ, "HF_HUB_OFFLINE": "1"}

    def row(name: str, code: str, n: int) -> dict:
        seconds(code, env)                                          # byte code, page cache
        found = [seconds(code, env) for _ in range(n)]
        return {"what": name, "median_s": round(statistics.median(t for t, _ in found), 3), "slowest_s": round(max(t for t, _ in found), 3), "imports": " ".join(found[0][1])}
    bare = row("python that does nothing", "pass", o.repeats)
    commands = [row("grpo-lab " + " ".join(a), f"from grpo_lab.cli import main; main({a!r})", o.repeats) for a in COMMANDS]
    chapters = sorted(f.stem for f in (measure.ROOT / "grpo_lab").glob("*.py") if not f.stem.startswith("_"))
    modules = [row(f"import grpo_lab.{m}", f"import grpo_lab.{m}", 1) for m in chapters]
    print(measure.table([bare, *commands]) + "\n\n" + measure.table(modules))
    measure.write("startup", {"bare": bare, "commands": commands, "modules": modules, "costly_imports": {" ".join(a): costly(a, env) for a in (["--help"], ["check"])}}, before, o.out)


if __name__ == "__main__": main()
