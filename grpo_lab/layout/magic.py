"""A second opinion on DRC and LVS: Magic and netgen, free tools that share no code with KLayout.

Used by `benchmarks/drc_agreement.py` to judge the judge; nothing else needs it. It wants the Debian packages `magic` and
`netgen-lvs`, and the SKY130 technology files that `deck.fetch()` takes out of the `cf-precheck` package.

    second_opinion("cell.gds", netlist)  ->  {"drc": [error_details, ...], "lvs": {"errors": 3, "details": [...]}, ...}

The technology file is written for a newer Magic than Debian's 8.3.105. `relaxed()` makes a copy that the old one can
read: the version requirement, parasitics of fringe shields and conditions on device sizes go. What is left drops
size-specific resistors and bipolar transistors, which glayout does not draw here; rules of DRC stay as they are.

The layout is flattened and both netlists lose their ports, as in `lvs.py`: cells carry no labels, so the comparison is
about topology, devices and sizes. Standard library only.
"""
from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import deck

SECONDS = 60.0  # of CPU for each program, and ten times as long by the clock
# Rules about what surrounds a cell in its chip, which a cell cannot keep on its own: well taps and latch-up distances.
CONTEXT = re.compile(r"\((nwell\.4|LU\.\w+)")


class MagicMissing(RuntimeError):
    "Magic or netgen is not there; the message says how to get it."


class MagicFailed(RuntimeError):
    "Magic or netgen ended without a result; the message has its last words."


def programs() -> tuple[str | None, str | None]:
    "Paths of Magic and of netgen, each None where it is not installed."
    return shutil.which("magic"), shutil.which("netgen-lvs") or shutil.which("netgen")


def missing() -> str:
    "What is lacking and how to mend it; an empty string where nothing is."
    magic, netgen = programs()
    names = [n for n, p in (("magic", magic), ("netgen-lvs", netgen)) if not p]
    said = [f"{' and '.join(names)} not installed (Debian, Ubuntu: `apt-get install {' '.join(names)}`)"] if names else []
    if not (deck.fetched("sky130A.tech") and deck.fetched("sky130A_setup.tcl")):
        said.append("the technology files have not been fetched (`python -m grpo_lab.layout.deck`)")
    return "; ".join(said)


def relaxed(tech: str) -> str:
    "The text of a technology file, made readable for Magic 8.3.105."
    out, lines = [], iter(tech.splitlines())
    for line in lines:
        while line.rstrip().endswith("\\"):
            line = line.rstrip()[:-1] + " " + next(lines, "").strip()
        words = line.split()
        first = words[0] if words else ""
        if first in ("fringeshieldhalo", "requires"):
            continue
        if first == "defaultsidewall":
            line = " " + " ".join(words[:4])
        if first == "device" and re.search(r"\s\w+[<>]=?[\d.]+", line):
            if not re.fullmatch(r"sky130_fd_pr__[np]fet_01v8(_\w+)?", words[2]):
                continue
            line = re.sub(r"\s\w+[<>]=?[\d.]+", "", line)
        out.append(line)
    return "\n".join(out) + "\n"


_SCRIPT = r'''
proc judge {number gds top spice} {
  gds read $gds
  if {$top eq ""} { foreach c [cellname list topcells] { if {$c ne "(UNNAMED)"} { set top $c } } }
  load $top
  flatten grpo_lab_flat_$number
  load grpo_lab_flat_$number
  select top cell
  expand
  box grow c 2000
  drc check
  drc catchup
  foreach {why boxes} [drc listall why] {
    foreach b $boxes { puts "@@ $b | $why" }
  }
  puts "@@scale [cif scale out]"
  extract all
  ext2spice -o $spice grpo_lab_flat_$number
  puts "@@done $number"
}
scalegrid 1 2
gds readonly true
gds rescale false
drc style drc(full)
drc euclidean on
extract no capacitance
extract no resistance
extract no coupling
extract no adjust
ext2spice lvs
ext2spice merge none
ext2spice scale off
%s
quit -noprompt
'''


def _run(command, folder: Path, seconds: float, text: str = "") -> str:
    try:
        done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, errors="replace",
                              timeout=deck.PATIENCE * seconds, start_new_session=True,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (round(seconds), round(seconds) + 5)))
    except subprocess.TimeoutExpired:
        raise MagicFailed(f"{Path(command[0]).name} gave no answer in {deck.PATIENCE * seconds:g} s") from None
    return done.stdout + done.stderr


def _top_of(netlist: str) -> str:
    "The subcircuit that no other one uses (the last of them)."
    names = re.findall(r"^\s*\.subckt\s+(\S+)", netlist, re.I | re.M)
    if not names:
        raise ValueError("the netlist has no .subckt: a circuit's netlist must hold one")
    used = {w for line in netlist.splitlines() if line[:1].upper() == "X" for w in line.split()}
    return ([n for n in names if n not in used] or names)[-1]


def second_opinion(gds,  # path of a GDS file
                   netlist: str | None = None,  # trusted SPICE .subckt text; None skips LVS
                   top: str = "",  # top cell; empty takes the only one
                   seconds: float = SECONDS,  # of CPU, for each program
                   ) -> dict:
    "DRC by Magic, LVS by Magic's extraction and netgen. Raises MagicMissing or MagicFailed."
    return second_opinions([(gds, netlist, top)], seconds)[0]


def second_opinions(jobs,  # (GDS path, netlist or None, top cell) of each layout; no cell name twice, whatever the file
                    seconds: float = SECONDS,  # of CPU, for each program
                    ) -> list[dict]:
    "As `second_opinion`, for many layouts in one Magic process: most of its time goes into starting."
    said = missing()
    if said:
        raise MagicMissing(f"no second opinion: {said}")
    magic, netgen = programs()
    with tempfile.TemporaryDirectory(prefix="grpo-lab-magic-") as tmp:
        folder = Path(tmp)
        (folder / "relaxed.tech").write_text(relaxed(deck.fetched("sky130A.tech").read_text()))
        calls = [f'judge {i} "{Path(gds).resolve()}" "{top}" "{folder / f"{i}.spice"}"' for i, (gds, _, top) in enumerate(jobs)]
        (folder / "run.tcl").write_text(_SCRIPT % "\n".join(calls))
        said = _run([magic, "-dnull", "-noconsole", "-rcfile", "/dev/null", "-T", str(folder / "relaxed.tech"), "run.tcl"], folder, seconds)
        parts = re.split(r"^@@done \d+$", said, flags=re.M)
        if len(parts) != len(jobs) + 1:
            raise MagicFailed(f"Magic ended early, after {len(parts) - 1} layouts: " + " ".join(said.strip().splitlines()[-2:]))
        return [{"drc": _drc(part)} | ({"lvs": _lvs(netgen, folder, folder / f"{i}.spice", netlist, seconds)} if netlist is not None else {})
                for i, (part, (_, netlist, _)) in enumerate(zip(parts, jobs))]


def _drc(said: str) -> list[dict]:
    scale = float(re.search(r"^@@scale (\S+)", said, re.M).group(1))
    found: dict[str, dict] = {}
    for box, why in re.findall(r"^@@ (\S+ \S+ \S+ \S+) \| (.*)$", said, re.M):
        name = re.findall(r"\(([^()]*)\)\s*$", why)
        detail = found.setdefault(why, {"kind": "drc", "rule": name[0] if name else why[:40], "description": why,
                                        "count": 0, "boxes": [], "context": bool(CONTEXT.search(why))})
        detail["count"] += 1  # one for each tile of the error area: three or four for each broken place
        if len(detail["boxes"]) < 20:
            detail["boxes"].append([round(float(v) * scale, 3) for v in box.split()])
    return list(found.values())


def flat_devices(netlist: str) -> list[tuple[list[str], str, dict]]:
    "All transistors and capacitors of a netlist's top circuit as (nets, model, sizes in um), its hierarchy dissolved."
    circuits: dict[str, tuple] = {}
    current = None
    for line in re.sub(r"\n\s*\+", " ", netlist).splitlines():
        plain = re.sub(r"\s*=\s*", "=", line).split()
        if not plain or plain[0].startswith("*"):
            continue
        if plain[0].lower() == ".subckt":
            pins, given = [w for w in plain[2:] if "=" not in w], dict(w.split("=", 1) for w in plain[2:] if "=" in w)
            current = circuits[plain[1]] = (pins, given, [])
        elif plain[0].lower() == ".ends":
            current = None
        elif current is not None and plain[0][0].upper() in "XMC":
            nets = [w for w in plain[1:] if "=" not in w]
            current[2].append((plain[0], nets[:-1], nets[-1], dict(w.split("=", 1) for w in plain[1:] if "=" in w)))

    def number(text, scope):
        text = text.strip("{}'")
        if re.fullmatch(r"[-+\d.]+(e[-+]?\d+)?u?", text, re.I):
            value = float(text.rstrip("uU"))
            return value * 1e-6 if text[-1] in "uU" and value > 1e3 else value
        for name in sorted(scope, key=len, reverse=True):
            text = re.sub(rf"\b{re.escape(name)}\b", repr(scope[name]), text)
        product = 1.0
        for factor in text.split("*"):  # glayout writes names, numbers and products of them
            product *= float(factor)
        return product

    devices: list = []

    def expand(name, nets, prefix, scope):
        pins, defaults, cards = circuits[name]
        values = {k: number(v, {}) for k, v in defaults.items()} | scope
        bound = dict(zip(pins, nets))
        for label, card_nets, model, given in cards:
            outer = [bound.get(n, f"{prefix}{n}") for n in card_nets]
            sizes = {k.lower(): number(v, values) for k, v in given.items() if k.lower() in ("l", "w", "m")}
            for copy in range(round(sizes.pop("m", 1))):
                if model in circuits:
                    expand(model, outer, f"{prefix}{label}_{copy}_", sizes)
                else:
                    devices.append((outer, model, sizes))

    top = _top_of(netlist)
    pins = circuits[top][0]
    # a cell on its own has its dummy transistors tied to its bulk
    expand(top, ["B" if p == "DUM" and "B" in pins else p for p in pins], "", {})
    return devices


def _cards(devices) -> str:
    lines = []
    for i, (nets, model, sizes) in enumerate(devices):
        sides = [sizes.get("l", 0), sizes.get("w", 0)]
        if "cap_mim" in model:
            sides.sort()  # a plate may be turned by 90 degrees
        nets = [re.sub(r"\W", "_", n) for n in nets]
        lines.append(f"X{i} {' '.join(nets)} {model} l={sides[0]:g} w={sides[1]:g}\n")
    return "".join(lines)


def _lvs(netgen, folder: Path, spice: Path, netlist: str, seconds: float) -> dict:
    drawn = "".join(line + "\n" for line in spice.read_text().splitlines() if not re.match(r"\.(end|ends|global|subckt)\b", line, re.I))
    devices = len(re.findall(r"^[XMCR]\S* ", drawn, re.M))
    if not devices:
        return {"errors": 10, "devices": 0, "details": [{"kind": "lvs", "rule": "empty", "description": "the layout has no devices", "count": 10, "boxes": []}]}
    for name, circuit, text in (("a.spice", "drawn", ".subckt drawn\n" + drawn + ".ends\n"), ("b.spice", "wanted", netlist)):
        (folder / name).write_text(f".subckt {circuit}\n{_cards(flat_devices(text))}.ends\n")
    said = _run([netgen, "-batch", "lvs", "a.spice drawn", "b.spice wanted", str(deck.fetched("sky130A_setup.tcl")), "comp.out", "-json"], folder, seconds)
    report = folder / "comp.out"
    if not report.exists() or not (folder / "comp.json").exists():
        raise MagicFailed("netgen ended early: " + " ".join(said.strip().splitlines()[-2:]))
    text = report.read_text(errors="replace")
    result = json.loads((folder / "comp.json").read_text())
    result = [r for r in result if r.get("name", [""])[0] == "drawn"] or result
    counts = {"nets": 0, "devices": 0, "sizes": len(re.findall(r"\(delta=|\bvs\.", text))}
    for part in result[-1:]:
        counts["nets"] = sum(max(len(a), len(b)) for a, b in part.get("badnets", []))
        counts["devices"] = sum(max(len(a), len(b)) for a, b in part.get("badelements", []))
    matched = bool(re.search(r"Circuits match uniquely|match with \d+ symmetr|Circuits match correctly", text + said))
    errors = sum(counts.values())
    if not matched and not errors:
        errors = counts["devices"] = 1
    words = {"nets": "nets without a counterpart", "devices": "devices without a counterpart", "sizes": "devices of another size"}
    return {"errors": errors, "devices": devices,
            "details": [{"kind": "lvs", "rule": k, "description": words[k], "count": n, "boxes": []} for k, n in counts.items() if n]}
