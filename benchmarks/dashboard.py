"""How long a ledger of 100,000 completions takes to open, and a filter, a sort and a search to answer.

    python benchmarks/dashboard.py [--rows 100000] [--parts 1000]

The ledger is made up: completions of about 600 characters with 2,000 different texts among them, in as many parts as a run of that
many optimiser steps leaves. Times are the median of several tries after the first; reading is from the page cache.
"""
import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path

from grpo_lab.evaluate import example_rows
from grpo_lab.ledger import Ledger
from grpo_lab.records import atomic_write


def make(folder: Path, rows: int, parts: int) -> None:
    "A ledger of that size, from the rows of a made-up run."
    rng, ledger = random.Random(0), Ledger(folder / "ledger", "made-up")
    base = [r for (stage, _), found in example_rows(0, steps=40).items() if stage == "3_grpo" for r in found]
    each = rows // parts
    for p in range(parts):
        some = []
        for k in range(each):
            r = dict(base[(p * each + k) % len(base)])
            r |= {"step": p + 1, "group_id": f"3_grpo/{p + 1}/{k // 8}", "sample": k % 8, "reward": r["reward"] + rng.uniform(-.01, .01),
                  "completion": r["completion"] + f"\n# {rng.randrange(2000)} " + "the quick brown fox draws a transistor " * 12}
            some.append(r)
        ledger.write("3_grpo", some, f"step-{p + 1:06d}")
    atomic_write(folder / "run.json", json.dumps({"run_id": "made-up", "settings": {}, "steps": {"3_grpo": {"state": "done"}}}))


def timed(f, n: int = 5) -> float:
    "Milliseconds, the median of `n` calls."
    out = []
    for _ in range(n):
        began = time.perf_counter()
        f()
        out.append(1000 * (time.perf_counter() - began))
    return round(statistics.median(out), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 1000], help="files of the ledger")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "dashboard.json"))
    args = parser.parse_args()
    import numpy as np
    from grpo_lab import dashboards, views
    results = []
    for parts in args.parts:
        with tempfile.TemporaryDirectory() as d:
            make(Path(d), args.rows, parts)
            size = sum(f.stat().st_size for f in Path(d).rglob("*.parquet"))
            views.open_view(d)  # imports, page cache
            open_ms = timed(lambda: views.open_view(d), 3)
            view = views.open_view(d)
            began = time.perf_counter()
            board = dashboards.completions_board(view)
            board_ms = round(1000 * (time.perf_counter() - began), 1)
            c, rng = board.controls, iter(range(10**6))

            def filtered():
                c["verdict"].value = ("clean", "dirty", "runtime_error")[next(rng) % 3]

            def sorted_():
                c["grid"].sorted = [7, next(rng) % 2]
            filter_ms, sort_ms = timed(filtered, 9), timed(sorted_, 9)
            c["verdict"].value = dashboards.ANY
            began = time.perf_counter()
            c["search"].value = "# 77 "
            first_ms = round(1000 * (time.perf_counter() - began), 1)

            def searched():
                c["search"].value = f"# {next(rng) % 2000} "
            search_ms = timed(searched, 5)
            c["search"].value = ""
            at = np.random.default_rng(0).integers(0, len(view.df), 9).tolist()
            read = iter(at * 10)
            detail_ms = timed(lambda: views.detail(view.rows, next(read)), 9)
            state = sum(len(json.dumps(w.get_state(), default=str)) for w in walk(board.widget))
            results.append({"rows": len(view.df), "parts": parts, "ledger_mb": round(size / 1e6, 1), "open_ms": open_ms, "board_ms": board_ms, "filter_ms": filter_ms, "sort_ms": sort_ms,
                            "first_search_ms": first_ms, "search_ms": search_ms, "read_one_ms": detail_ms, "state_in_the_notebook_kb": round(state / 1e3)})
            print(json.dumps(results[-1]), flush=True)
    doc = {"command": "python benchmarks/dashboard.py", "machine": {"cores": os.cpu_count(), "system": platform.system(), "load": round(os.getloadavg()[0], 1)}, "results": results}
    atomic_write(args.out, json.dumps(doc, indent=1) + "\n")


def walk(widget):
    "A widget and everything in it."
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


if __name__ == "__main__":
    main()
