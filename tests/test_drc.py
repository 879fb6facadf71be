"""Every rule of the built-in DRC: a small layout that breaks it and nothing else, and the same one that just keeps it.

The layouts are made here as lists of shapes and judged by one process of the layout interpreter.
"""
import json
import math
import subprocess

import pytest

from grpo_lab.layout import drc, layout_python

RULES = {r.name: r for r in drc.RULES}
# what a drawn shape needs around it to be legal: layers with how far they reach beyond it, in um
AROUND = {"diff": {"nsdm": 0.3}, "tap": {"nsdm": 0.3}, "capm": {"m3": 0.3}, "cap2m": {"m4": 0.3}, "mcon": {"li": 0.2, "m1": 0.2},
          "licon": {"diff": 0.3, "nsdm": 0.5, "li": 0.2}, "licon_std": {"diff": 0.3, "nsdm": 0.5, "li": 0.2},
          "licon_diff": {"diff": 0.3, "nsdm": 0.5, "li": 0.2}, "licon_poly": {"poly": 0.3, "npc": 0.3, "li": 0.2},
          "via": {"m1": 0.2, "m2": 0.2}, "via2": {"m2": 0.2, "m3": 0.3}, "via3": {"m3": 0.3, "m4": 0.3}, "via4": {"m4": 0.4, "m5": 0.7},
          "difftap": {"nsdm": 0.3}, "pdiff_in": {"psdm": 0.3, "nwell": 0.5}, "ndiff_in": {"nsdm": 0.3, "nwell": 0.5}}
DRAWN = {"difftap": "diff", "licon_std": "licon", "licon_diff": "licon", "licon_poly": "licon", "pdiff_in": "diff", "ndiff_in": "diff", "areaid": "areaid"}
SIZE = {"licon": 0.17, "mcon": 0.17, "via": 0.15, "via2": 0.2, "via3": 0.2, "via4": 0.8}  # cuts have one size
BIG = {"dnwell": 8, "nwell": 4, "m5": 4, "nsm": 5, "rdl": 20, "pad": 4, "rpm": 4, "urpm": 4}  # sides of a legal shape where 2 um is not
# rules that cannot be broken alone
ALSO = {"capm.11": {"capm.2b"}, "cap2m.11": {"cap2m.2b"}, "tunm.1": {"tunm.8"}, "tunm.2": {"tunm.8"}, "rdl.1": {"rdl.con"}, "rdl.2": {"rdl.con"},
        "x.1b.tunm": {"tunm.8"}, "x.3a.tunm": {"tunm.8"}, "x.2.licon": {"licon.1"}, "x.2.mcon": {"ct.1"}, "x.2.via": {"via.1a"},
        "x.2.via2": {"via2.1a"}, "x.2.via3": {"via3.1"}, "x.2.via4": {"via4.1"}}
STEP = 0.005


def box(layer, x1, y1, x2, y2):
    return [layer, [[x1, y1], [x1, y2], [x2, y2], [x2, y1]]]


def drawn(layer):
    return DRAWN.get(layer, layer)


def legal(subject, shapes, leave=()):
    "The shapes, with everything around them that the subject needs."
    xs, ys = [p[0] for _, pts in shapes for p in pts], [p[1] for _, pts in shapes for p in pts]
    grow = [box(layer, min(xs) - d, min(ys) - d, max(xs) + d, max(ys) + d) for layer, d in AROUND.get(subject, {}).items() if layer not in leave]
    snap = lambda v: round(round(v / STEP) * STEP, 3)  # noqa: E731  the surroundings are on the grid, whatever they surround
    return shapes + [[layer, [[snap(x), snap(y)] for x, y in pts]] for layer, pts in grow]


def side(layer):
    return SIZE.get(layer) or BIG.get(layer, 2)


def surround(inner_layer, outer, left, bottom, right, top):
    "A cut or device of one size with `outer` reaching so far beyond each side."
    s = side(drawn(inner_layer))
    inner = box(drawn(inner_layer), 0, 0, s, s)
    return legal(inner_layer, [inner], leave=(drawn(outer),)) + [box(drawn(outer), -left, -bottom, s + right, s + top)]


def gate(diff_height=2.0, beyond_gate=0.5, cap=0.3):
    "A transistor: diffusion 2 um long with a gate of 0.5 um across its middle."
    return [box("diff", -0.25 - beyond_gate, 0, 1, diff_height), box("nsdm", -2, -1, 2, diff_height + 1), box("poly", -0.25, -cap, 0.25, diff_height + 0.3)]


def poly_contact(x, y):
    return legal("licon_poly", [box("licon", x, y, x + 0.17, y + 0.17)])


def case(rule):
    "(shapes that break the rule, shapes that keep it)"
    kind, v, layers = rule.check, rule.value, rule.layers
    a, b = layers[0], layers[-1]
    layer, s = drawn(a), side(drawn(a))
    less = round(v - STEP, 3)
    special = SPECIAL.get(rule.name)
    if special:
        return special(less), special(v)
    if kind == "width":
        return tuple(legal(a, [box(layer, 0, 0, w, max(s, 10))]) for w in (less, v))
    if kind in ("space", "metal_space"):
        return tuple(legal(a, [box(layer, 0, 0, s, s), box(layer, s + d, 0, 2 * s + d, s)]) for d in (less, v))
    if kind == "huge":
        return tuple([box(layer, 0, 0, 4, 4), box(layer, 4 + d, 0, 8 + d, 4)] for d in (less, v))
    if kind == "area":
        w = math.ceil(math.sqrt(v) / STEP) * STEP
        keep = math.ceil(v / w / STEP - 1e-6) * STEP
        return tuple([box(layer, 0, 0, w, h)] for h in (keep - STEP, keep))
    if kind == "holes":
        w = math.ceil(math.sqrt(v) / STEP) * STEP
        keep = math.ceil(v / w / STEP - 1e-6) * STEP
        return tuple([box(layer, -5, -5, 0, 5), box(layer, w, -5, 5, 5), box(layer, -5, -5, 5, 0), box(layer, -5, h, 5, 5)] for h in (keep - STEP, keep))
    if kind in ("cut", "cut_exact"):
        return tuple(legal(a, [box(layer, 0, 0, v + d, v)]) for d in (STEP, 0))
    if kind in ("enclose", "reach"):
        big = max(0.5, 4 * v)
        return tuple(surround(b, a, big, big, big, d) for d in (less, v))
    if kind in ("adjacent", "adjacent_li"):
        return tuple(surround(b, a, 0.5, 0.5, d, less) for d in (less, v))
    if kind == "forbidden":
        return [box(layer, 0, 0, s, s)], []
    if kind == "grid":
        shift = 0.002
        return tuple(legal(a, [box(layer, d, 0, s + d, s)]) for d in (shift, 0))
    if kind == "angle90":
        return tuple(legal(a, [[layer, [[0, 0], [0, s], [s, s], [s, c], [s - c, 0]]]]) for c in (0.05, 0))
    if kind == "angle45":
        return tuple(legal(a, [[layer, [[0, 0], [0, s], [s, s], [s, 0.5], [s - c, 0]]]]) for c in (0.8, 0.5))
    raise AssertionError(f"no layout for {rule.name} ({kind}): add one to SPECIAL")


def capacitor(cap, metal, x=0.0):
    return [box(cap, x, 0, x + 2, 2), box(metal, x - 0.14, -0.14, x + 2.14, 2.14)]


SPECIAL = {
    "hvtr.2": lambda d: [box("hvtr", 0, 0, 2, 2), box("hvtp", 2 + d, 0, 4 + d, 2)],
    "difftap.2": lambda d: gate(diff_height=d),
    "difftap.9": lambda d: legal("diff", [box("diff", 0, 0, 2, 2)]) + [box("nwell", 2 + d, 0, 6, 2)],
    "difftap.11": lambda d: [box("diff", 0, 0, 2, 2), box("psdm", -0.2, -0.2, 2.2, 2.2), box("nwell", 2 + d, 0, 6, 2)],
    "poly.4": lambda d: legal("diff", [box("diff", 0, 0, 2, 2)]) + [box("poly", 2 + d, 0, 2.5, 2)],
    "poly.7": lambda d: gate(beyond_gate=d),
    "poly.8": lambda d: gate(cap=d),
    "nsd.8": lambda d: legal("diff", [box("diff", 0, 0, 2, 2)]) + ([box("psdm", -0.3, -0.3, 2.3, 2.3)] if d < 0 else []),
    "nsd.9": lambda d: [box("diff", 0, 0, 2, 2), box("nsdm", -0.3, -0.3, 2 + d, 2.3)],
    "licon.4": lambda d: legal("licon", [box("licon", 0, 0, 0.17, 0.17)], leave=("li",) if d < 0 else ()),
    "licon.5b": lambda d: legal("licon", [box("licon", 0, 0, 0.17, 0.17)], leave=("diff",)) + [box("tap", -0.3, -0.3, 0.17 + d, 0.47), box("diff", 0.17 + d, -0.3, 2, 0.47), box("nsdm", -0.5, -0.5, 2.5, 1)],
    "licon.9": lambda d: poly_contact(0, 0) + [box("psdm", 0.17 + d, -1, 2, 1)],
    "licon.11": lambda d: gate() + [box("licon", 0.25 + d, 1, 0.42 + d, 1.17), box("li", 0.2, 0.7, 1, 1.5)],
    "licon.13": lambda d: legal("licon", [box("licon", 0, 0, 0.17, 0.17)]) + [box("npc", 0.17 + d, -0.5, 1, 0.5)],
    "licon.13a": lambda d: legal("licon", [box("licon", 0, 0, 0.17, 0.17)]) + ([box("npc", -0.5, -0.5, 0.5, 0.5)] if d < 0 else []),
    "licon.14": lambda d: [box("licon", 0, 0, 0.17, 0.17), box("poly", -0.08, -0.08, 0.25, 0.25), box("npc", -0.3, -0.3, 0.47, 0.47), box("li", -0.2, -0.2, 0.4, 0.4),
                           box("diff", 0.17 + d, -1, 2, 1), box("nsdm", 0.17 + d, -1.2, 2.2, 1.2)],
    "licon.17": lambda d: gate() + [box("licon", -0.085, 1 if d < 0 else 5, 0.085, 1.17 if d < 0 else 5.17)] + [box("li", -0.3, 0.5, 0.3, 1.5)]
    if d < 0 else gate(),
    "capm.2b": lambda d: capacitor("capm", "m3") + capacitor("capm", "m3", 2.28 + d),
    "cap2m.2b": lambda d: capacitor("cap2m", "m4") + capacitor("cap2m", "m4", 2.28 + d),
    "capm.4": lambda d: legal("via3", [box("via3", 0, 0, 0.2, 0.2)], leave=("m3",)) + [box("capm", -1, -1, 1.2, 0.2 + d), box("m3", -1.5, -1.5, 1.7, 1.5)],
    "cap2m.4": lambda d: legal("via4", [box("via4", 0, 0, 0.8, 0.8)], leave=("m4",)) + [box("cap2m", -1, -1, 1.8, 0.8 + d), box("m4", -1.5, -1.5, 2.3, 2)],
    "capm.5": lambda d: [box("capm", 0, 0, 2, 2), box("via3", 2 + d, 1, 2.2 + d, 1.2), box("m3", -1, -1, 4, 3), box("m4", 1.9, 0.8, 2.8, 1.6)],
    "cap2m.5": lambda d: [box("cap2m", 0, 0, 2, 2), box("via4", 2 + d, 1, 2.8 + d, 1.8), box("m4", -1, -1, 5, 3), box("m5", 1.2, 0.2, 4, 2.6)],
    "capm.11": lambda d: capacitor("capm", "m3") + [box("m3", 2 + d, 0, 4, 2)],
    "cap2m.11": lambda d: capacitor("cap2m", "m4") + [box("m4", 2 + d, 0, 4, 2)],
    "ct.4": lambda d: legal("mcon", [box("mcon", 0, 0, 0.17, 0.17)], leave=("li",)) + [box("li", -0.2, -0.2, 0.17 + d, 0.37)],
}

PROGRAM = """
import json, sys
import klayout.db as kdb
from grpo_lab.layout import drc
LAYERS = dict(drc.LAYERS, areaid=(81, 2))
out = []
for shapes in json.load(sys.stdin):
    layout = kdb.Layout(); layout.dbu = 0.001
    top = layout.create_cell("TOP")
    for layer, points in shapes:
        top.shapes(layout.layer(*LAYERS[layer])).insert(kdb.Polygon([kdb.Point(round(x * 1000), round(y * 1000)) for x, y in points]))
    out.append(drc.check(layout, top))
json.dump(out, sys.stdout)
"""


def in_layout_interpreter(program, data):
    from pathlib import Path
    root = Path(drc.__file__).resolve().parents[2]
    done = subprocess.run([layout_python(), "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{program}"],
                          input=json.dumps(data), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def judged():
    cases = [shapes for name in RULES for shapes in case(RULES[name])]
    found = in_layout_interpreter(PROGRAM, cases)
    return {name: (found[2 * i], found[2 * i + 1]) for i, name in enumerate(RULES)}


@pytest.mark.parametrize("name", RULES)
def test_rule_broken_and_just_kept(name, judged):
    broken, kept = ({d["rule"]: d for d in details} for details in judged[name])
    assert name in broken
    assert set(broken) - {name} <= ALSO.get(name, set()), "something else is broken too"
    assert name not in kept and set(kept) <= ALSO.get(name, set()), "at the limit the rule is kept"
    detail = broken[name]
    assert detail["kind"] == "drc" and 1 <= detail["count"] <= 8 and len(detail["boxes"]) == detail["count"]
    assert all(len(b) == 4 and max(map(abs, b)) < 50 for b in detail["boxes"])


MORE = """
import json, sys
import klayout.db as kdb
from grpo_lab.layout import drc

def layout_of(dbu=0.001):
    layout = kdb.Layout(); layout.dbu = dbu
    return layout, layout.create_cell("TOP"), layout.layer(68, 20)

def names(layout, top):
    return {d["rule"]: d["count"] for d in drc.check(layout, top)}

out = {}
layout, top, met1 = layout_of()
out["empty"] = names(layout, top)
other = layout.create_cell("OTHER")
other.shapes(met1).insert(kdb.Box(0, 0, 50, 50))
top.shapes(met1).insert(kdb.Box(0, 0, 1000, 1000))
out["hidden"] = names(layout, top)
top.insert(kdb.CellInstArray(other.cell_index(), kdb.Trans(2000, 0)))
out["used"] = names(layout, top)
top.shapes(layout.layer(200, 7)).insert(kdb.Box(0, 0, 1, 1))
out["unknown layer"] = names(layout, top)

layout, top, met1 = layout_of(dbu=0.005)
top.shapes(met1).insert(kdb.Box(0, 0, 28, 400))
top.shapes(met1).insert(kdb.Box(55, 0, 83, 400))
out["5 nm units"] = drc.check(layout, top)

layout, top, met1 = layout_of()
cell = layout.create_cell("ARRAY")
cell.shapes(met1).insert(kdb.Box(0, 0, 10, 10))
big = layout.create_cell("BIG")
big.insert(kdb.CellInstArray(cell.cell_index(), kdb.Trans(), kdb.Vector(20, 0), kdb.Vector(0, 20), 30000, 30000))
top.insert(kdb.CellInstArray(big.cell_index(), kdb.Trans(), kdb.Vector(1000000, 0), kdb.Vector(0, 1000000), 30000, 30000))
out["bomb"] = drc.check(layout, top)

layout, top, met1 = layout_of()
for i in range(60):
    top.shapes(met1).insert(kdb.Box(0, 1000 * i, 100, 1000 * i + 500))
out["many"] = drc.check(layout, top)
out["only"] = [d["rule"] for d in drc.check(layout, top, only={"m1.6"})]
json.dump(out, sys.stdout)
"""


@pytest.fixture(scope="module")
def more():
    return in_layout_interpreter(MORE, None)


def test_only_the_flattened_top_cell_counts(more):
    assert more["empty"] == more["hidden"] == {}
    assert more["used"] == more["unknown layer"] == {"m1.1": 2, "m1.6": 1}


def test_values_hold_in_other_database_units(more):
    (detail,) = more["5 nm units"]
    assert (detail["rule"], detail["count"], detail["boxes"]) == ("m1.2", 1, [[0.14, 0, 0.275, 2.0]])


def test_a_small_file_with_a_huge_array_is_refused_at_once(more):
    (detail,) = more["bomb"]
    assert detail["rule"] == "size" and detail["count"] == 1 and "810000000000000000 shapes" in detail["description"]


def test_counts_are_whole_and_boxes_are_capped(more):
    assert {d["rule"]: d["count"] for d in more["many"]} == {"m1.1": 60, "m1.6": 60}
    assert all(len(d["boxes"]) == drc.MAX_BOXES for d in more["many"])
    assert more["only"] == ["m1.6"]


def test_the_rule_table_reads_well():
    table = drc.rules()
    sources = {r["name"]: r["source"].rsplit("rule ", 1)[-1] for r in table}
    assert (sources["m1.2"], sources["x.1b.m1"], sources["difftap.1_tap"], sources["licon.13a"]) == ("m1.2", "x.1b", "difftap.1", "licon.13")
    assert len({r["name"] for r in table}) == len(table) >= 150
    for row in table:
        assert row["description"] and row["source"].startswith("SkyWater SKY130") and row["url"].startswith("https://skywater-pdk")
        assert row["value"] == 0 or row["value"] == pytest.approx(round(row["value"], 4))
        if row["check"] in ("width", "space", "metal_space", "cut", "area"):
            assert f"{row['value']:g} um" in row["description"]
