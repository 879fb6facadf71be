"""The sample of `drc_agreement.py`: some 180 layout programs, clean and dirty, each with its intended circuit.

A sample is (name, program, intended). `intended` is a SPICE netlist, or the program whose own netlist the layout is
compared with (the same program where it is right, the right one where it is broken), or None where there is no circuit.
Everything is drawn from one seed, so the sample is the same on every machine.
"""
import json
import random
import re
from pathlib import Path

PROBLEMS = Path(__file__).resolve().parents[1] / "data" / "circuits"

HEAD = "from glayout import *\nfrom glayout.backend import Component, rectangle\n"
CELLS = "from glayout.cells import current_mirror, diff_pair, flipped_voltage_follower, transmission_gate\n"


def call(name: str, **kw) -> str:
    return f"{name}(sky130{''.join(f', {k}={v!r}' for k, v in kw.items())})"


def cell(name: str, **kw) -> str:
    return HEAD + CELLS + f"component = {call(name, **kw)}\n"


def wrong_sizes(rng) -> list:
    "Cells drawn right, but not the ones that were asked for: clean in DRC, not in LVS."
    return [
        ("wrong width", cell("nmos", width=4, fingers=2), cell("nmos", width=3, fingers=2)),
        ("wrong length", cell("nmos", width=3, length=0.5), cell("nmos", width=3, length=0.3)),
        ("wrong fingers", cell("pmos", width=3, fingers=3), cell("pmos", width=3, fingers=2)),
        ("wrong type", cell("pmos", width=3, fingers=2), cell("nmos", width=3, fingers=2)),
        ("wrong columns", cell("current_mirror", numcols=2), cell("current_mirror", numcols=3)),
        ("wrong mirror type", cell("current_mirror", numcols=2, device="pfet"), cell("current_mirror", numcols=2)),
        ("wrong pair", cell("diff_pair", width=5, fingers=2), cell("diff_pair", width=4, fingers=2)),
        ("wrong array", cell("mimcap_array", rows=2, columns=2), cell("mimcap_array", rows=2, columns=3)),
    ]


def devices(rng) -> list:
    "Single devices over their parameters, some of them at or past what glayout can draw."
    out = []
    for i in range(34):
        kind = rng.choice(["nmos", "pmos"])
        kw = dict(width=rng.choice([0.5, 0.8, 1, 1.5, 2, 3, 4.2, 5, 7.35, 10]), fingers=rng.randint(1, 6))
        for key, values, chance in (("length", [0.15, 0.18, 0.3, 0.5, 1, 2], 0.6), ("multipliers", [2, 3], 0.3),
                                    ("with_dummy", [False, (True, False)], 0.4), ("with_substrate_tap", [False], 0.5),
                                    ("with_tie", [False], 0.25), ("rmult", [2], 0.1), ("sd_rmult", [2, 3], 0.2),
                                    ("gate_rmult", [2, 3], 0.15), ("interfinger_rmult", [2], 0.1),
                                    ("sd_route_topmet", ["met3"], 0.1), ("gate_route_topmet", ["met3"], 0.1)):
            if rng.random() < chance:
                kw[key] = rng.choice(values)
        if kind == "nmos" and rng.random() < 0.4:
            kw["with_dnwell"] = False
        code = cell(kind, **kw)
        out.append((f"{kind} {i}", code, code))
    return out


def cells(rng) -> list:
    "glayout's circuit cells, with defaults and with other sizes."
    picks = [("current_mirror", dict(numcols=n, device=d)) for n, d in ((1, "nfet"), (2, "nfet"), (3, "pfet"), (4, "pfet"))]
    picks += [("current_mirror", dict(numcols=2, with_dummy=False)), ("current_mirror", dict(numcols=2, width=5, length=0.5)),
              ("current_mirror", dict(numcols=2, with_substrate_tap=True)), ("current_mirror", dict(numcols=2, with_tie=False)),
              ("diff_pair", dict()), ("diff_pair", dict(width=5, fingers=2)), ("diff_pair", dict(width=4, fingers=4, n_or_p_fet=False)),
              ("diff_pair", dict(width=3, fingers=2, length=0.5)), ("diff_pair", dict(width=1, fingers=3, substrate_tap=False)),
              ("flipped_voltage_follower", dict()), ("flipped_voltage_follower", dict(width=(2, 1), sd_rmult=3)),
              ("flipped_voltage_follower", dict(width=(4, 2), fingers=(2, 2))), ("flipped_voltage_follower", dict(device_type="pmos")),
              ("flipped_voltage_follower", dict(sd_rmult=2)), ("flipped_voltage_follower", dict(width=(5, 3), length=(1, 1))),
              ("transmission_gate", dict()), ("transmission_gate", dict(width=(3, 6), length=(0.3, 0.3))),
              ("transmission_gate", dict(fingers=(2, 4))), ("transmission_gate", dict(width=(2, 2), fingers=(2, 2), multipliers=(1, 2))),
              ("mimcap", dict(size=(5.0, 5.0))), ("mimcap", dict(size=(2.0, 10.0))), ("mimcap_array", dict(rows=2, columns=2)),
              ("mimcap_array", dict(rows=1, columns=3, size=(8.0, 4.0))), ("mimcap_array", dict(rows=3, columns=2, size=(3.0, 3.0), rmult=2)),
              ("resistor", dict()), ("resistor", dict(width=4, length=2, with_tie=True, with_substrate_tap=True)),
              ("two_nfet_interdigitized", dict(numcols=2)), ("two_pfet_interdigitized", dict(numcols=3, width=2)),
              ("tapring", dict(enclosed_rectangle=(4.0, 6.0))), ("tapring", dict(enclosed_rectangle=(1.0, 1.0))),
              ("via_stack", dict(glayer1="active_diff", glayer2="met4")), ("via_stack", dict(glayer1="poly", glayer2="met5")),
              ("via_array", dict(glayer1="met1", glayer2="met4", size=(3.0, 2.0))), ("via_array", dict(glayer1="met2", glayer2="met5", size=(1.0, 6.0)))]
    out = []
    for i, (name, kw) in enumerate(picks):
        kw = {k: v for k, v in kw.items()}
        code = cell(name, **kw)
        if name.startswith("via"):
            code = HEAD + f"component = {name}(sky130, {', '.join(repr(v) if k.startswith('glayer') else f'{k}={v!r}' for k, v in kw.items())})\n"
        out.append((f"{name} {i}", code, code if not name.startswith(("tap", "via")) else None))
    return out


def placed(rng) -> list:
    "Two devices placed by hand: far, near, touching, overlapping."
    out = []
    for i, dx in enumerate((4.0, 6.0, 6.3, 6.6, 6.9, 7.0, 7.05, 7.1, 7.2, 7.5, 8.0, 9.0, 12.0)):
        out.append((f"two nmos, x {dx}", HEAD + "component = Component()\n"
                    "a = component << nmos(sky130, width=3, fingers=2, with_dummy=False)\n"
                    f"b = component << nmos(sky130, width=3, fingers=2, with_dummy=False)\nb.movex({dx})\n", None))
    for i in range(12):
        a, b = rng.choice(["nmos", "pmos"]), rng.choice(["nmos", "pmos"])
        dx, dy = round(rng.uniform(0, 12), 2), round(rng.uniform(0, 12), 2)
        out.append((f"{a} and {b} {i}", HEAD + "component = Component()\n"
                    f"component << {a}(sky130, width={rng.choice([1, 2, 4])}, fingers={rng.randint(1, 3)})\n"
                    f"b = component << {b}(sky130, width={rng.choice([1, 2, 4])}, with_dummy=False)\nb.movex({dx}).movey({dy})\n", None))
    return out


JOINED = """.subckt PAIR DA GA DB GB S B
XA1 DA GA S B sky130_fd_pr__nfet_01v8 l=0.15 w=3 m=2
XB1 DB GB S B sky130_fd_pr__nfet_01v8 l=0.15 w=3 m=2
.ends PAIR
"""


def routed(rng) -> list:
    "Two devices routed by the program: right, route forgotten, wrong port, wrong kind of route."
    start = (HEAD + "component = Component()\n"
             "a = component << nmos(sky130, width=3, fingers=2, with_dummy=False, with_substrate_tap=False)\n"
             "b = component << nmos(sky130, width=3, fingers=2, with_dummy=False, with_substrate_tap=False)\nb.movex({dx})\n")
    routes = ['component << straight_route(sky130, a.ports["multiplier_0_source_E"], b.ports["multiplier_0_source_W"])',
              'component << straight_route(sky130, a.ports["multiplier_0_drain_E"], b.ports["multiplier_0_gate_W"])',
              'component << c_route(sky130, a.ports["multiplier_0_gate_E"], b.ports["multiplier_0_gate_E"])',
              'component << c_route(sky130, a.ports["multiplier_0_drain_W"], b.ports["multiplier_0_source_W"], extension=2)',
              'component << L_route(sky130, a.ports["multiplier_0_drain_N"], b.ports["multiplier_0_source_W"])',
              'component << smart_route(sky130, a.ports["multiplier_0_gate_E"], b.ports["multiplier_0_gate_W"])',
              'component << straight_route(sky130, a.ports["multiplier_0_source_E"], b.ports["multiplier_0_source_W"], width=0.1)']
    out = [(f"route {i}, x {dx}", start.format(dx=dx) + r + "\n", JOINED) for i, r in enumerate(routes) for dx in (8, 12)]
    return out + [("route forgotten", start.format(dx=12), JOINED)]


def shapes(rng) -> list:
    "Rectangles drawn by hand: on their own, and dropped on a good cell."
    layers = ["met1", "met2", "met3", "met4", "met5", "poly", "active_diff", "via1", "via2", "mcon", "nwell", "capmet", "n+s/d"]
    out = []
    for i in range(14):
        lines = [HEAD + "component = Component()"]
        for _ in range(rng.randint(1, 6)):
            size = (rng.choice([0.05, 0.1, 0.14, 0.17, 0.2, 0.3, 0.5, 1, 4]), rng.choice([0.1, 0.17, 0.3, 0.8, 2, 5]))
            lines.append(f"r = component << rectangle(size={size}, layer=sky130.get_glayer({rng.choice(layers[:6])!r}))\n"
                         f"r.movex({round(rng.uniform(0, 4), 2)}).movey({round(rng.uniform(0, 4), 2)})")
        out.append((f"rectangles {i}", "\n".join(lines) + "\n", None))
    for i in range(16):
        layer = rng.choice(layers)
        size = (rng.choice([0.1, 0.17, 0.3, 1]), rng.choice([0.17, 0.3, 1, 4]))
        good = rng.choice(["nmos(sky130, width=3, fingers=2)", "pmos(sky130, width=2, with_dummy=False)", "via_stack(sky130, 'met1', 'met5')"])
        out.append((f"{layer} dropped {i}", HEAD + f"component = Component()\ncomponent << {good}\n"
                    f"r = component << rectangle(size={size}, layer=sky130.get_glayer({layer!r}))\n"
                    f"r.movex({round(rng.uniform(-4, 4), 2)}).movey({round(rng.uniform(-5, 5), 2)})\n", None))
    out += [("turned by 45", HEAD + "component = Component()\nr = component << rectangle(size=(1, 3), layer=sky130.get_glayer('met2'))\nr.rotate(45)\n", None),
            ("off grid", HEAD + "component = Component()\nr = component << rectangle(size=(1, 3), layer=sky130.get_glayer('met2'))\nr.movex(0.003)\n"
             "component << nmos(sky130, width=1.003)\n", None),
            ("wide wires, near", HEAD + "component = Component()\ncomponent << rectangle(size=(4, 8), layer=sky130.get_glayer('met3'))\n"
             "r = component << rectangle(size=(4, 8), layer=sky130.get_glayer('met3'))\nr.movex(4.2)\n", None),
            ("two capacitors, near", HEAD + "component = Component()\ncomponent << mimcap(sky130, size=(4, 4))\n"
             "r = component << mimcap(sky130, size=(4, 4))\nr.movex(5)\n", None),
            ("two capacitors, far", HEAD + "component = Component()\ncomponent << mimcap(sky130, size=(4, 4))\n"
             "r = component << mimcap(sky130, size=(4, 4))\nr.movex(7)\n", None),
            ("empty", HEAD + "component = Component()\n", cell("nmos", width=3, fingers=2))]
    return out


def problems(rng, right: int = 14, broken: int = 14) -> list:
    "Reference programs of the shipped circuit problems, as they are and with one mistake each."
    rows = [json.loads(line) for name in ("train", "heldout") for line in (PROBLEMS / f"{name}.jsonl").read_text().splitlines()]
    rng.shuffle(rows)
    out = [(f"{r['id']}", r["reference"], r["spec"]["netlist"]) for r in rows[:right]]
    for r in (rows * 2)[right:]:
        if broken and (code := spoil(r["reference"], rng)) != r["reference"]:
            out.append((f"{r['id']} spoiled", code, r["spec"]["netlist"]))
            broken -= 1
    return out


def spoil(code: str, rng) -> str:
    "One mistake of the kinds that models make: a number, a port, a forgotten line, another device, a shape too many."
    lines = code.rstrip("\n").split("\n")
    body = [i for i, line in enumerate(lines) if not line.startswith(("from", "import", "component = Component()"))]
    way = rng.choice(["number", "number", "number", "near", "near", "port", "line", "device", "shape", "option"])
    i = rng.choice(body)
    if way == "number" and (hits := list(re.finditer(r"(?<![\w.])\d+(\.\d+)?(?![\w.])", lines[i]))):
        m = rng.choice(hits)
        value = float(m.group()) * rng.choice([0.3, 0.5, 0.8, 1.3, 2]) + rng.choice([0, 0, 0.07])
        lines[i] = lines[i][:m.start()] + (str(max(1, round(value))) if "." not in m.group() and rng.random() < 0.7 else f"{value:.2f}") + lines[i][m.end():]
    elif way == "near":
        for k in body:
            lines[k] = re.sub(r"(move[xy]\()(\w+\.[xy]size \+ )?(\d+(\.\d+)?)", lambda m: f"{m[1]}{m[2] or ''}{float(m[3]) * rng.choice([0.2, 0.5, 0.7, 0.85]):.2f}", lines[k])
    elif way == "port":
        old, new = rng.sample(["source", "drain", "gate"], 2)
        lines[i] = lines[i].replace(old, new, 1)
    elif way == "line" and len(body) > 1:
        del lines[rng.choice(body[1:])]
    elif way == "device":
        old, new = rng.choice([("nmos", "pmos"), ("nfet", "pfet"), ("fingers", "multipliers"), ("columns", "rows")])
        lines = "\n".join(lines).replace(old, new).split("\n")
    elif way == "option":
        lines[i] = re.sub(r"(nmos|pmos)\(sky130", rf"\1(sky130, {rng.choice(['sd_rmult=2', 'rmult=2', 'with_tie=False', 'gate_rmult=3', 'length=0.15', 'with_dummy=False'])}", lines[i])
    elif way == "shape":
        layer, size = rng.choice(["met1", "met2", "met3", "poly"]), rng.choice([(0.1, 2), (0.3, 0.3), (4, 0.2), (1, 5)])
        lines += ["from glayout.backend import rectangle", "top = component", "from glayout.backend import Component", "component = Component()",
                  "component << top", f"r = component << rectangle(size={size}, layer=sky130.get_glayer({layer!r}))",
                  f"r.movex({rng.uniform(-5, 5):.2f}).movey({rng.uniform(-5, 5):.2f})"]
    return "\n".join(lines) + "\n"


def samples(seed: int = 7) -> list:
    "All samples, in a fixed order."
    rng = random.Random(seed)
    return [s for part in (devices, cells, wrong_sizes, placed, routed, shapes, problems) for s in part(rng)]
