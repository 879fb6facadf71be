"""How long a ledger of 100,000 completions takes to open, and a filter, a sort and a search to answer.

    python benchmarks/dashboard.py [--rows 100000] [--parts 1 1000]

The ledger is made up: completions of about 600 characters, in as many parts as a run of that many optimiser steps leaves. Times are the median
of several tries after the first; reading is from the page cache. `show_ms` is opening the run and its completions board together, as it is done
once: what a person waits for. The first text search is measured twice: a second after the board is there, which is about what it takes to click
into the field and type, and at once. `cpu_ms` beside a time is the processor time of it, which a busy machine does not change.
"""
import argparse
import contextlib
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


def once(f) -> tuple[float, float, object]:
    "Milliseconds by the clock and of the processor, and the result, of one call."
    began, cpu = time.perf_counter(), time.process_time()
    out = f()
    return round(1000 * (time.perf_counter() - began), 1), round(1000 * (time.process_time() - cpu), 1), out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 1000], help="files of the ledger")
    parser.add_argument("--folder", help="keep the made-up ledgers here, and use those that are there")
    parser.add_argument("--make-only", action="store_true", help="only make them")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "dashboard.json"))
    args = parser.parse_args()
    import numpy as np
    from grpo_lab import dashboards, views
    results = []
    with contextlib.ExitStack() as stack:
        for parts in args.parts:
            d = Path(args.folder) / f"{args.rows}-{parts}" if args.folder else Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if not (d / "run.json").exists():
                make(d, args.rows, parts)
            if not args.make_only:
                results.append({"rows": args.rows, "parts": parts, **measure(d, dashboards, views, np)})
                print(json.dumps(results[-1]), flush=True)
    if args.make_only:
        return
    import pyarrow
    from grpo_lab.runs import git_state, versions
    machine = {"cores": os.cpu_count(), "system": platform.system(), "load": round(os.getloadavg()[0], 1), "niceness": os.nice(0)}
    doc = {"command": "python benchmarks/dashboard.py", "machine": machine, "versions": {**versions(), "pyarrow": pyarrow.__version__}, **git_state(), "results": results}
    atomic_write(args.out, json.dumps(doc, indent=1) + "\n")


def measure(d: Path, dashboards, views, np) -> dict:
    "Everything, for one ledger."
    size = sum(f.stat().st_size for f in d.rglob("*.parquet"))
    views.open_view(d), dashboards.completions_board(views.open_view(d))  # imports, page cache
    open_ms = timed(lambda: views.open_view(d), 5)
    shown = []
    for _ in range(3):
        ms, cpu, (view, board) = once(lambda: (v := views.open_view(d), dashboards.completions_board(v)))
        shown.append((ms, cpu))
        views.read_ahead(view.rows).join()  # what the board reads in the background does not disturb the next try
    show_ms, show_cpu = sorted(shown)[1]
    board = dashboards.completions_board(views.open_view(d))
    at_once_ms, at_once_cpu, _ = once(lambda: setattr(board.controls["search"], "value", "# 77 "))
    view = views.open_view(d)
    board = dashboards.completions_board(view)
    time.sleep(1.0)
    c, rng = board.controls, iter(range(10**6))
    first_ms, first_cpu, _ = once(lambda: setattr(c["search"], "value", "# 77 "))

    def searched():
        c["search"].value = f"# {next(rng) % 2000} "
    search_ms = timed(searched, 9)
    everywhere_ms = once(lambda: setattr(c["search"], "value", "quick"))[0]  # every row has it
    c["search"].value = ""

    def filtered():
        c["verdict"].value = ("clean", "dirty", "runtime_error")[next(rng) % 3]

    def sorted_():
        c["grid"].sorted = [7, next(rng) % 2]
    filter_ms, sort_ms = timed(filtered, 9), timed(sorted_, 9)
    c["verdict"].value = dashboards.ANY
    read = iter(np.random.default_rng(0).integers(0, len(view.df), 90).tolist())
    detail_ms = timed(lambda: views.detail(view.rows, next(read)), 9)
    state = sum(len(json.dumps(w.get_state(), default=str)) for w in walk(board.widget))
    assert len(view.df) and not view.rows.remarks
    return {"ledger_mb": round(size / 1e6, 1), "open_ms": open_ms, "show_ms": show_ms, "show_cpu_ms": show_cpu, "first_search_ms": first_ms, "first_search_cpu_ms": first_cpu,
            "first_search_at_once_ms": at_once_ms, "first_search_at_once_cpu_ms": at_once_cpu, "search_ms": search_ms, "search_that_hits_every_row_ms": everywhere_ms,
            "filter_ms": filter_ms, "sort_ms": sort_ms, "read_one_ms": detail_ms, "state_in_the_notebook_kb": round(state / 1e3)}


def walk(widget):
    "A widget and everything in it."
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


if __name__ == "__main__":
    main()
