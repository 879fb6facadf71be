"""How well the built-in DRC and LVS agree with the foundry's full deck (KLayout program) and with Magic + netgen.

    python benchmarks/drc_agreement.py              all programs, some ten minutes on two cores
    python benchmarks/drc_agreement.py --limit 20   a quick look; prints only

It builds the programs of `drc_programs.py` (made here, trusted), judges each layout four ways, prints the table and every
disagreement, and writes benchmarks/results/drc_agreement.json. It needs the KLayout program, Magic and netgen
(`apt-get install klayout magic netgen-lvs`; with --install it runs that itself, as root) and fetches the technology files.
What is missing is said and left out. Layouts and the referees' answers are kept in the user's cache by content, so that an
interrupted run goes on where it stopped and a change of our own rules costs seconds; --fresh starts over.
"""
import argparse
import datetime
import hashlib
import importlib.metadata
import inspect
import json
import math
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

try:
    import klayout.db  # noqa: F401
except ImportError:  # this is the main interpreter: the work needs the layout interpreter
    from grpo_lab.layout.env import layout_python
    sys.exit(subprocess.call([layout_python(), __file__, *sys.argv[1:]]))

from grpo_lab.layout import deck, drc, fast, judge, lvs, magic  # noqa: E402
import drc_programs  # noqa: E402


class Kept:
    "Answers kept on disk by content: kind and key -> a dict."

    def __init__(self, folder: Path, fresh: bool):
        self.folder = folder
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, kind: str, key: str) -> bool:
        return (self.folder / f"{kind}-{sha(key)}.json").exists()

    def get(self, kind: str, key: str, make) -> dict:
        path = self.folder / f"{kind}-{sha(key)}.json"
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(make()))
            os.replace(part, path)
        return json.loads(path.read_text())


def sha(data) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()[:24]


def build(code: str, gds: Path, seconds: int = 120) -> dict:
    "Build a program in a forked child, of the warm process: its layout goes to `gds`."
    fast.load()
    words = gds.with_suffix(".txt")
    words.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        try:
            space = {}
            exec(code, space)
            component = space["component"]
            component.write_gds(gds)
            netlist = component.info.get("netlist") if hasattr(component.info, "get") else None
            words.write_text(netlist.generate_netlist() if hasattr(netlist, "generate_netlist") else netlist or "")
            os._exit(0)
        except BaseException as error:
            words.write_text(repr(error)[:200])
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    text = words.read_text() if words.exists() else "it took too long"
    return {"built": status == 0, "words": text}


def progress(what, done, total):
    if sys.stderr.isatty() or done == total or done % 10 == 0:
        print(f"\r{what} {done} of {total} ", end="\n" if done == total else "", file=sys.stderr, flush=True)


def cpu_of(pid: int) -> float:
    "CPU seconds a process has used."
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def total(details) -> int:
    return sum(d["count"] for d in details)


def ours(gds: Path, netlist, row: dict):
    start, cpu = time.perf_counter(), time.process_time()
    layout, top = judge.read_layout(gds.read_bytes())
    found = drc.check(layout, top)
    row["rules_s"], row["rules_cpu_s"] = time.perf_counter() - start, time.process_time() - cpu
    row["rules"] = {d["rule"]: d["count"] for d in found}
    row["rules_drc"] = total(found)
    row["rules_drc_shared"] = sum(n for rule, n in row["rules"].items() if rule in SHARED)
    if netlist:
        start, cpu = time.perf_counter(), time.process_time()
        layout, top = judge.read_layout(gds.read_bytes())
        row["rules_lvs"] = lvs.compare(layout, top, netlist)["errors"]
        row["rules_lvs_s"], row["rules_lvs_cpu_s"] = time.perf_counter() - start, time.process_time() - cpu


SHARED = {r.name for r in drc.RULES if r.deck}


def full(gds: Path, warm) -> dict:
    if warm._process is None:
        warm.check(gds)  # the first start is not counted
    row = {}
    cpu, start = cpu_of(warm._process.pid), time.perf_counter()
    jobs = warm._jobs
    found = warm.check(gds)
    row["deck_s"] = time.perf_counter() - start
    if warm._jobs > jobs:  # the same process as before
        row["deck_cpu_s"] = cpu_of(warm._process.pid) - cpu
    return row | {"deck": {d["rule"]: d["count"] for d in found}, "deck_drc": total(found)}


def second(jobs: list) -> list:
    """What Magic and netgen say of (flat GDS, netlist or None, top cell) jobs, in one Magic process; one by one if that
    fails, so that a layout that Magic cannot take costs only itself."""
    start, cpu = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    try:
        said = magic.second_opinions(jobs, seconds=60 * len(jobs))
    except magic.MagicFailed as error:
        return [row for job in jobs for row in second([job])] if len(jobs) > 1 else [{"magic_error": str(error)[:300]}]
    rows = []
    for one, (_, netlist, _) in zip(said, jobs):
        row = {"magic": {d["rule"]: d["count"] for d in one["drc"]}, "magic_drc": total(d for d in one["drc"] if not d["context"]),
               "magic_drc_tubs": total(d for d in one["drc"] if not d["context"] and not d["rule"].startswith("nwell.5"))}
        if netlist:
            row["netgen_lvs"] = one["lvs"]["errors"]
        if len(jobs) == 1:  # a fair time is that of one layout
            row |= {"magic_s": time.perf_counter() - start, "magic_cpu_s": sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - cpu}
        rows.append(row)
    return rows


MAGIC_CODE = magic._SCRIPT + "".join(inspect.getsource(f) for f in (magic.relaxed, magic._drc, magic.flat_devices, magic._cards, magic._lvs))


def ranks(values):
    order, out, i = sorted(range(len(values)), key=values.__getitem__), [0.0] * len(values), 0
    while i < len(order):
        j = i
        while j + 1 < len(order) and values[order[j + 1]] == values[order[i]]:
            j += 1
        for k in order[i:j + 1]:
            out[k] = (i + j) / 2
        i = j + 1
    return out


def pearson(a, b):
    ma, mb = statistics.fmean(a), statistics.fmean(b)
    spread = math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))
    return sum((x - ma) * (y - mb) for x, y in zip(a, b)) / spread if spread else float("nan")


def compare(rows, a, b) -> dict:
    "Agreement of two judges on the rows that both of them judged."
    pairs = [(r[a], r[b], r["name"]) for r in rows if a in r and b in r]
    if not pairs:
        return {}
    x, y = [p[0] for p in pairs], [p[1] for p in pairs]
    same = [(p > 0) == (q > 0) for p, q, _ in pairs]
    return {"programs": len(pairs), "agree": sum(same), "agreement": round(sum(same) / len(pairs), 4),
            "dirty_a": sum(p > 0 for p in x), "dirty_b": sum(q > 0 for q in y), "equal_counts": sum(p == q for p, q in zip(x, y)),
            "pearson": round(pearson(x, y), 4), "pearson_log1p": round(pearson([math.log1p(v) for v in x], [math.log1p(v) for v in y]), 4),
            "spearman": round(pearson(ranks(x), ranks(y)), 4), "spearman_dirty": round(dirty_rank(x, y), 4),
            "disagree": [{"name": n, "a": p, "b": q} for (p, q, n), s in zip(pairs, same) if not s]}


def dirty_rank(x, y):
    "Rank correlation over the programs that either judge finds dirty: how well the counts grade mistakes."
    pairs = [(p, q) for p, q in zip(x, y) if p or q]
    return pearson(ranks([p for p, _ in pairs]), ranks([q for _, q in pairs])) if len(pairs) > 2 else float("nan")


PAIRS = [("DRC", "built-in rules", "full deck", "rules_drc", "deck_drc"),
         ("DRC", "built-in, rules the deck has", "full deck", "rules_drc_shared", "deck_drc"),
         ("DRC", "built-in rules", "Magic", "rules_drc", "magic_drc"), ("DRC", "full deck", "Magic", "deck_drc", "magic_drc"),
         ("DRC", "built-in rules", "Magic, no tub rules", "rules_drc", "magic_drc_tubs"), ("DRC", "full deck", "Magic, no tub rules", "deck_drc", "magic_drc_tubs"),
         ("LVS", "built-in", "Magic + netgen", "rules_lvs", "netgen_lvs"),
         ("LVS", "built-in", "Magic + netgen, no tubs", "rules_lvs", "netgen_lvs_plain")]
NOTES = {
    "tubs": "glayout draws deep n-wells without the ring of n-well that rules nwell.5 and nwell.7 ask for. Magic reports them (the deck does "
            "not) and takes the p-well above each as a net of its own, so that two transistors no longer share a bulk. Rows with 'no tub(s)' "
            "leave those rules, or the layouts that break them, out.",
    "context": "Magic's nwell.4 and LU.* (well taps, latch-up distances) are about what surrounds a cell and are left out of its counts.",
    "extra": "rules_drc_shared leaves out the published rules that the deck does not check (see drc.rules(), column deck).",
    "time": "Wall times are those of the machine as it was (see load_average); CPU times are comparable.",
}


def derive(row: dict):
    "Adds what is computed from a row's own figures."
    if "netgen_lvs" in row and not any(rule.startswith(("nwell.5", "nwell.7", "dnwell")) for rule in row["magic"]):
        row["netgen_lvs_plain"] = row["netgen_lvs"]


def tabulate(rows: list) -> list:
    for row in rows:
        derive(row)
    return [{"check": check, "a": a, "b": b} | compare(rows, ka, kb) for check, a, b, ka, kb in PAIRS]


TIMES = [("built-in DRC", "rules_s", "rules_cpu_s"), ("full deck, warm", "deck_s", "deck_cpu_s"), ("built-in LVS", "rules_lvs_s", "rules_lvs_cpu_s"),
         ("Magic DRC + netgen LVS", "magic_s", "magic_cpu_s")]


def version(command):
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL).stdout.strip().splitlines()
        return lines[0] if lines else None
    except (OSError, subprocess.TimeoutExpired):
        return None


def machine() -> dict:
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version(),
            "load_average": [round(v, 1) for v in os.getloadavg()]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, help="judge only so many programs, spread over the sample; write nothing")
    parser.add_argument("--install", action="store_true", help="apt-get install the three programs first (needs root)")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    parser.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "drc_agreement.json"), help="where the result goes")
    args = parser.parse_args()
    if args.install:
        subprocess.run(["apt-get", "update", "-q"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "klayout", "magic", "netgen-lvs"], check=True)
    try:
        deck.fetch(lambda line: print(line, file=sys.stderr))
    except deck.DeckMissing as error:
        print(error, file=sys.stderr)
    lacking = {"full deck": deck.missing(), "Magic + netgen": magic.missing()}
    for what, said in lacking.items():
        if said:
            print(f"{what} left out: {said}", file=sys.stderr)

    samples = drc_programs.samples()
    if args.limit:
        samples = samples[::max(1, len(samples) // args.limit)][:args.limit]
    rows, failed, kept = [], [], Kept(deck.cache().parent / "drc_agreement", args.fresh)

    def built(code):
        gds = kept.folder / f"{sha(code)}.gds"
        return gds, kept.get("build", code, lambda: build(code, gds))

    warm = deck.Deck() if not lacking["full deck"] else None
    for i, (name, code, intended) in enumerate(samples):
        gds, made = built(code)
        if not made["built"]:
            failed.append({"name": name, "why": made["words"]})
            continue
        netlist = intended if intended is None or ".subckt" in intended else built(intended)[1]["words"]
        layout = sha(gds.read_bytes())
        row = {"name": name, "program": sha(code), "layout": layout, "netlist": netlist}
        steps = [lambda: ours(gds, netlist, row)]
        if warm:
            steps.append(lambda: row.update(kept.get("deck", layout + deck.FILES["sky130A_mr.drc"][1], lambda: full(gds, warm))))
        for step in steps:
            try:
                step()
            except (deck.DeckFailed, magic.MagicFailed, ValueError, KeyError, judge.Refused) as error:
                row.setdefault("errors", []).append(f"{type(error).__name__}: {error}"[:300])
        rows.append(row)
        progress("judged", i + 1, len(samples))
    if warm:
        warm.close()
    if not lacking["Magic + netgen"]:
        magic_says(rows, kept)
    report(args, rows, failed)


def magic_says(rows: list, kept: Kept):
    "Adds what Magic and netgen say to the rows; the first five one by one, for the time, the rest in batches."
    def key(row):
        return row["layout"] + (row["netlist"] or "") + MAGIC_CODE
    todo = [r for r in rows if not kept.has("magic", key(r))]
    batches = [[r] for r in todo[:5]] + [todo[i:i + 12] for i in range(5, len(todo), 12)]
    for i, batch in enumerate(batches):
        jobs = []
        for row in batch:
            layout, top = judge.read_layout((kept.folder / f"{row['program']}.gds").read_bytes())  # flattened
            name = f"J{row['program']}"
            layout.rename_cell(top.cell_index(), name)
            layout.write(str(flat := kept.folder / f"{name}.gds"))
            jobs.append((flat, row["netlist"], name))
        for row, said, job in zip(batch, second(jobs), jobs):
            kept.get("magic", key(row), lambda: said)
            job[0].unlink(missing_ok=True)
        progress("Magic batches", i + 1, len(batches))
    for row in rows:
        row |= kept.get("magic", key(row), dict)
        if "magic_error" in row:
            row.setdefault("errors", []).append("Magic: " + row["magic_error"])


def report(args, rows: list, failed: list):
    "Prints the table and the disagreements; writes the result."
    table = tabulate(rows)
    times = [{"what": what, "median_s": round(statistics.median(v), 4), "p95_s": round(sorted(v)[int(len(v) * 0.95)], 4),
              "median_cpu_s": round(statistics.median(c), 4) if (c := [r[kc] for r in rows if kc in r]) else None}
             for what, k, kc in TIMES if (v := [r[k] for r in rows if k in r])]
    by_rule: dict = {}
    owner = {d: r.name for r in drc.RULES for d in r.deck}
    for row in rows:
        if "deck" in row:
            seen: dict = {}
            for category, n in row["deck"].items():
                seen.setdefault(owner.get(category, category), [0, 0])[1] += n
            for rule, n in row["rules"].items():
                seen.setdefault(rule, [0, 0])[0] += n
            for rule, (a, b) in seen.items():
                entry = by_rule.setdefault(rule, {"ours": 0, "deck": 0, "programs": 0, "programs_that_differ": 0})
                entry["ours"] += a
                entry["deck"] += b
                entry["programs"] += 1
                entry["programs_that_differ"] += a != b

    print(f"\n{len(rows)} layouts judged, {len(failed)} programs did not build\n")
    print(f"{'':4} {'judge a':30} {'judge b':24} {'agree':>12} {'share':>7} {'dirty a/b':>10} {'Spearman':>9} {'Pearson':>8}")
    for t in table:
        if "agree" in t:
            print(f"{t['check']:4} {t['a']:30} {t['b']:24} {t['agree']:>5} of {t['programs']:<4}{t['agreement']:>7.1%} "
                  f"{t['dirty_a']:>5}/{t['dirty_b']:<4} {t['spearman']:>9.3f} {t['pearson']:>8.3f}")
    for t in times:
        print(f"{t['what']:26} median {t['median_s']:.3f} s" + (f" ({t['median_cpu_s']:.3f} s of CPU)" if t["median_cpu_s"] else "") + f", 95 % under {t['p95_s']:.3f} s")
    named = {r["name"]: r for r in rows}
    for t in table:
        for d in t.get("disagree", []) if t["b"] != "Magic" else []:  # tubs, nearly all of them
            r = named[d["name"]]
            print(f"  {t['check']}: {t['a']} {d['a']}, {t['b']} {d['b']}: {d['name']}"
                  + (f"  {r.get('rules')} | {r.get('deck') if 'deck' in t['b'] else r.get('magic')}" if t["check"] == "DRC" else ""))
    for row in rows:
        for said in row.get("errors", []):
            print(f"  {row['name']}: {said}")
    if args.limit:
        return
    result = {"command": "python benchmarks/drc_agreement.py", "date": datetime.date.today().isoformat(),
              "commit": version(["git", "-C", str(ROOT), "rev-parse", "HEAD"]), "machine": machine(),
              "versions": {"klayout module": importlib.metadata.version("klayout"), "glayout": importlib.metadata.version("glayout"),
                           "KLayout program": version(["klayout", "-v"]), "Magic": version(["magic", "--version"]),
                           "netgen": version(["dpkg-query", "-W", "-f", "${Version}", "netgen-lvs"]) if shutil.which("dpkg-query") else None,
                           "deck": deck.PACKAGE},
              "programs": len(rows), "not_built": failed, "table": table, "times": times, "notes": NOTES,
              "rules": dict(sorted(by_rule.items())),
              "rows": [{k: (round(v, 4) if isinstance(v, float) else v) for k, v in r.items() if k not in ("netlist", "layout")} for r in rows]}
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(part, out)
    print(f"\nwritten: {args.out}")


if __name__ == "__main__":
    main()
