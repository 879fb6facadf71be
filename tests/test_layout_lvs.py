"""Netlists and the comparison of circuits, without any layout: text in, mismatch out."""
import itertools
import random

import pytest

from grpo_lab.layout.match import match
from grpo_lab.layout.spice import Device, SpiceError, merge, read

MIRROR = """* glayout writes mirrors like this
.subckt two_trans VDD1 VDD2 VSS1 VSS2 VG1 VG2 VB l=0.15 w=3 m=1
XA VDD1 VG1 VSS1 VB sky130_fd_pr__nfet_01v8 l=0.15 w=3 m=3
XB VDD2 VG2 VSS2 VB sky130_fd_pr__nfet_01v8 l=0.15
+ w=3 m=3 $ continued
XDUMMY VB VB VB VB sky130_fd_pr__nfet_01v8 l=0.15 w=3 m=2
.ends two_trans

.subckt CMIRROR VREF VOUT VSS B
X0 VREF VOUT VSS VSS VREF VREF B two_trans l=0.15 w=3 m={1}
.ends CMIRROR
"""


def sizes(circuit):
    return sorted((d.kind, *(round(v, 4) for _, v in sorted(d.size.items()))) for d in circuit.devices)


def subckt(*cards, pins="d g s b"):
    return f".subckt top {pins}\n" + "\n".join(cards) + "\n.ends"


def test_glayout_netlist_is_flattened_and_merged():
    circuit = read(MIRROR)
    assert circuit.name == "cmirror" and circuit.pins == ("vref", "vout", "vss", "b")
    assert sizes(circuit) == [("nfet", 0.15, 6.0), ("nfet", 0.15, 9.0), ("nfet", 0.15, 9.0)]
    assert circuit.devices[0].nets == ("vref", "vref", "vss", "b")


def test_parameters_multipliers_units_and_expressions():
    text = """.param wide=2
.subckt unit d g s b w=1 l='wide/4'
M1 d g s b nfet W={w*wide} L=l m=2
.ends
.subckt top a g b
X1 a g b b unit w=1.5 m=3
X2 a g b b unit
XC a b sky130_fd_pr__cap_mim_m3_1 l=2u w=5e-6 m=4
.ends"""
    assert sizes(read(text)) == [("mimcap", 40.0), ("nfet", 0.5, 22.0)]  # 1.5*2*2*3 + 1*2*2 = 22


def test_dummies_of_a_single_transistor_belong_to_the_bulk():
    text = subckt("X1 D G S B nfet l=1 w=1", "X2 DUM DUM DUM B nfet l=1 w=1", pins="D G S B DUM")
    assert read(text).devices[1].nets == ("b", "b", "b", "b")


@pytest.mark.parametrize("text, says", [
    ("", "no .subckt"),
    (subckt("X1 d g s b nfet l=1"), "line 2: x1 has no w="),
    (subckt("X1 d g s nfet l=1 w=1"), "line 2: x1 has 3 nodes"),
    (subckt("X1 d g s b npn l=1 w=1"), "line 2: 'npn' is neither"),
    (subckt("X1 d g s b nfet l=one w=1"), "line 2: cannot read the value 'one'"),
    (subckt("X1 d g s b nfet l=__import__('os') w=1"), "line 2"),
    (subckt("R1 d g 100"), "line 2: cards starting with 'r'"),
    (subckt("X1 d g top"), "line 2"),
])
def test_unreadable_netlists_name_the_line(text, says):
    with pytest.raises(SpiceError, match=says):
        read(text)


def mos(d, g, s, b, w=1.0, l=0.15, kind="nfet"):
    return Device(kind, (d, g, s, b), {"w": w, "l": l})


def brute(a, b):
    "Is there a renaming of nets that turns one circuit into the other? Tried one by one."
    shape = lambda devices, names: sorted(
        (d.kind, tuple(sorted((names[d.nets[0]], names[d.nets[2]]))), names[d.nets[1]], names[d.nets[3]], d.size["w"])
        for d in devices)
    nets_a, nets_b = ({n for d in devices for n in d.nets} for devices in (a, b))
    if len(nets_a) != len(nets_b):
        return False
    names_b = {n: i for i, n in enumerate(nets_b)}
    return any(shape(a, dict(zip(nets_a, p))) == shape(b, names_b) for p in itertools.permutations(range(len(nets_b))))


def test_matching_agrees_with_trying_every_renaming():
    draw, seen = random.Random(7), {True: 0, False: 0}
    for _ in range(1500):
        nets, count = draw.randint(2, 5), draw.randint(1, 5)
        make = lambda: merge([mos(*(draw.randrange(nets) for _ in range(4)), w=draw.choice((1.0, 2.0))) for _ in range(count)])
        a = make()
        if draw.random() < 0.3:
            b = make()
        else:  # the same circuit under other names, in another order, drains and sources swapped, perhaps one wire moved
            names = draw.sample(range(10, 20), nets)
            cards = [[names[n] for n in d.nets] + [d.size["w"]] for d in a]
            if draw.random() < 0.6:
                cards[draw.randrange(len(cards))][draw.randrange(4)] = draw.choice(names)
            draw.shuffle(cards)
            b = merge([mos(*((s, g, d, k) if draw.random() < 0.5 else (d, g, s, k)), w=w) for d, g, s, k, w in cards])
        same = brute(a, b)
        seen[same] += 1
        assert bool(match(a, b)) != same, (a, b)
    assert min(seen.values()) > 200


def count(a, b):
    m = match(a, b)
    return len(m.devices_a) + len(m.devices_b) + len(m.nets_a) + len(m.nets_b) + (2 if m.note else 0)


def test_counts_are_graded():
    reference = read(MIRROR).devices
    wires = lambda *cards: merge([mos(*c[:4], w=c[4]) for c in cards])
    right = [("1", "1", "2", "s", 9.0), ("3", "1", "2", "s", 9.0), ("s", "s", "s", "s", 6.0)]
    assert count(wires(*right), reference) == 0
    assert count(wires(right[0], ("3", "1", "open", "s", 9.0), right[2]), reference) == 3  # one route forgotten
    assert count(wires(*[(*c[:4], c[4] * 4 / 3) for c in right]), reference) == 6  # every width wrong
    assert count(wires(right[0], (*right[1][:4], 6.0), right[2]), reference) == 2  # one width wrong
    assert count(wires(*right, ("3", "1", "4", "s", 9.0)), reference) >= 3  # a device too many
    assert count([], reference) == 7  # nothing there: 3 devices and 4 nets
    opens = wires(("1", "1", "2", "s", 9.0), ("3", "1b", "2b", "s", 9.0), right[2])
    assert count(opens, reference) > 3  # two opens are worse than one


def test_sizes_have_a_tolerance_and_no_more():
    one = [mos("d", "g", "s", "b", w=3.0)]
    for w, errors in ((3.02, 0), (2.98, 0), (3.04, 2), (2.9, 2)):
        assert count([mos("a", "b", "c", "d", w=w)], one) == errors, w
    assert count([mos("a", "b", "c", "d", w=3.0, l=0.16)], one) == 0  # 10 nm: the grid glayout snaps to
    assert count([mos("a", "b", "c", "d", w=3.0, l=0.17)], one) == 2
    assert count([mos("a", "b", "c", "d", w=3.0, kind="pfet")], one) > 0


def test_right_parts_at_the_wrong_place():
    "A 1:2 mirror with its two transistors exchanged: every part is there, the circuit is another."
    reference = [mos("in", "in", "s", "s", w=1.0), mos("out", "in", "s", "s", w=2.0)]
    assert count([mos("in", "in", "s", "s", w=2.0), mos("out", "in", "s", "s", w=1.0)], reference) > 0
    ring = lambda *order: [mos(a, b, "gnd", "bulk") for a, b in zip(order, order[1:] + order[:1])]
    assert count(ring(*"abcdef"), ring(*"uvwxyz")) == 0
    assert count(ring(*"abc") + ring(*"def"), ring(*"uvwxyz")) > 0  # alike in every neighbourhood, not as a whole


def test_parallel_devices_are_one():
    fingers = merge([mos("d", "g", "s", "b"), mos("s", "g", "d", "b"), mos("d", "g", "s", "b", l=0.3)])
    assert [d.size["w"] for d in fingers] == [2.0, 1.0]
