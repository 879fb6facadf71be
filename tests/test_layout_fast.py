"""The fast builds draw what stock glayout draws: XOR over every layer is empty."""
import json
import subprocess

import pytest

from grpo_lab.layout.env import environment, layout_python

HEAD = """from glayout import *
from glayout.backend import Component, rectangle
from glayout.cells import current_mirror, diff_pair, flipped_voltage_follower, transmission_gate
sky130.activate()  # what every cell does first: its grid is the one that is written
"""
FEW = [
    "component = nmos(sky130, width=1.5, fingers=2, with_dummy=False, with_substrate_tap=False)",
    "component = mimcap_array(sky130, 2, 2, (4.2, 5))",
    """component = Component()
a = component << pmos(sky130, width=1, with_tie=False, with_dummy=(True, False), with_substrate_tap=False)
b = component << rectangle(size=(1, 2.013), layer=(68, 20), centered=True)
a.rotate(90).movex(7.003)
b.mirror((0, 0), (1, 1)).movey(-3)
c = component << via_stack(sky130, "poly", "met4")
c.connect("top_met_E", a.ports["multiplier_0_source_E"])
component.add_ports(a.ports, prefix="a_")
component << straight_route(sky130, a.ports["multiplier_0_gate_W"], b.ports["e1"])""",
]
FAIL = [  # errors stay errors, of the same kind
    "component = nmos(sky130, widht=3)",
    "component = pmos(sky130, width=2, fingers=4, dnwell=True)",
    "component = nmos(sky130, fingers='three')",
    "component = straight_route(sky130, nmos(sky130, with_tie=False).ports['nowhere'], None)",
    "component = via_stack(sky130, 'met1', 'met9')",
    "component = current_mirror(sky130, numcols=0)",
]
MANY = FEW + FAIL + [
    "component = nmos(sky130)",
    "component = nmos(sky130, width=0.42, length=0.5, fingers=5, multipliers=2)",
    "component = nmos(sky130, width=3.333, fingers=3, multipliers=3, rmult=2, with_dnwell=False)",
    "component = nmos(sky130, width=6, sd_rmult=3, gate_rmult=2, interfinger_rmult=2, sd_route_topmet='met3')",
    "component = pmos(sky130, width=2, fingers=4, with_dummy=(False, True))",
    "component = pmos(sky130, width=1.01, length=0.36, multipliers=2, sd_route_left=False, tie_layers=('met3', 'met2'))",
    "component = resistor(sky130, width=4, length=2, num_series=3)",
    "component = mimcap(sky130, (7, 3))",
    "component = tapring(sky130, enclosed_rectangle=(5.03, 6.01), sdlayer='n+s/d')",
    "component = current_mirror(sky130, numcols=2)",
    "component = current_mirror(sky130, numcols=4, device='pfet', width=2, with_substrate_tap=True)",
    "component = diff_pair(sky130, width=2, fingers=2)",
    "component = diff_pair(sky130, width=1, fingers=4, n_or_p_fet=False, substrate_tap=False)",
    "component = transmission_gate(sky130, width=(2, 3), fingers=(2, 1), substrate_tap=True)",
    "component = flipped_voltage_follower(sky130, width=(2, 1), length=(0.5, 0.5), sd_rmult=3)",
    "component = two_pfet_interdigitized(sky130, numcols=3, width=1)",
    "component = two_transistor_interdigitized(sky130, device='nfet', numcols=2, length=0.3)",
    """component = Component()
left = component << nmos(sky130, width=2, with_substrate_tap=False)
right = (component << pmos(sky130, width=2, with_substrate_tap=False)).movex(12.345)
component << c_route(sky130, left.ports["multiplier_0_drain_E"], right.ports["multiplier_0_drain_E"])
component << smart_route(sky130, left.ports["multiplier_0_gate_E"], right.ports["multiplier_0_gate_W"])
component << L_route(sky130, left.ports["multiplier_0_source_W"], right.ports["tie_N_top_met_N"])""",
    """component = Component()
for i in range(3):  # with ties, stock needs a minute for these
    r = component << nmos(sky130, width=1 + i, with_dummy=False, with_substrate_tap=False, with_tie=False)
    r.mirror_y().movex(9 * i)
    rename_ports_by_orientation(r)
    component.add_ports(r.get_ports_list(), prefix=f"t{i}_")
component << straight_route(sky130, component.ports["t0_multiplier_0_gate_E"], component.ports["t1_multiplier_0_gate_W"])
component = component_snap_to_grid(component)""",
    """import numpy as np
component = prec_array(nmos(sky130, with_tie=False, with_substrate_tap=False), 2, 2, (1, 1))
component.add_polygon(np.array([(0, 0), (3.0025, 0), (1.4, 2.7774)]), layer=(69, 20))
component.add_array(via_stack(sky130, "met1", "met2"), columns=3, rows=2, spacing=(2.005, 3)).rotate(30)""",
]

STOCK = """
import json, sys, warnings
warnings.filterwarnings("ignore")
for i, program in enumerate(json.load(sys.stdin)):
    scope = {}
    try:
        exec(program, scope)
    except Exception as e:
        open(f"{sys.argv[1]}/{i}.gds", "w").write(f"failed with {type(e).__name__}")
    else:
        scope["component"].write_gds(f"{sys.argv[1]}/{i}.gds", logging=False)
"""
FAST = """
import json, sys
sys.path.insert(0, sys.argv[2])
import klayout.db as db
from grpo_lab.layout import guest, judge
guest.prepare()
answer, keep = [], []
for i, program in enumerate(json.load(sys.stdin)):
    reply = guest.run(program.encode())
    stock_gds = open(f"{sys.argv[1]}/{i}.gds", "rb").read()
    if reply[:1] != b"G":
        kind = json.loads(reply[1:])["message"].split("\\n")[1].split(":")[0]
        answer.append({"failed": kind, "alike": stock_gds == b"failed with " + kind.encode()})
        continue
    if stock_gds[:6] == b"failed":
        answer.append({"failed": "in stock only"})
        continue
    layouts = []
    for gds in (reply[1:], stock_gds):
        layout, top = judge.read_layout(gds)
        keep.append((layout, top))  # KLayout's regions look into it
        layouts.append({(info.layer, info.datatype): db.Region(top.begin_shapes_rec(layout.layer(info))).merged()
                        for info in layout.layer_infos()})
    ours, stock = layouts
    empty = db.Region()
    answer.append({"xor": sum((ours.get(k, empty) ^ stock.get(k, empty)).count() for k in ours.keys() | stock.keys()),
                   "shapes": sum(r.count() for r in ours.values()), "layers": len(ours)})
json.dump(answer, sys.stdout)
"""


def compare(programs, folder):
    "XOR of each program's layout, built fast, with what stock glayout and gdsfactory write for it."
    text, python, env = json.dumps([HEAD + p for p in programs]), layout_python(), environment()
    root = __file__.rsplit("/", 2)[0]
    subprocess.run([python, "-c", STOCK, folder], input=text, text=True, check=True, env=env, stdout=subprocess.DEVNULL)
    done = subprocess.run([python, "-c", FAST, folder, root], input=text, text=True, check=True, env=env, capture_output=True)
    return json.loads(done.stdout)


def check(programs, folder):
    answers = compare(programs, str(folder))
    assert len(answers) == len(programs)
    for program, answer in zip(programs, answers):
        if "failed" in answer:
            assert program in FAIL and answer.get("alike"), (program, answer)
            continue
        assert program not in FAIL, program
        assert answer.get("xor") == 0, (program, answer)
        assert answer["shapes"] > 10 and answer["layers"] > 2, (program, answer)


def test_same_geometry_sample(tmp_path):
    check(FEW, tmp_path)


@pytest.mark.slow
def test_same_geometry_many(tmp_path):
    check(MANY, tmp_path)


def test_xor_sees_a_difference(tmp_path):
    "The comparison itself: a shape 5 nm wider is seen."
    (tmp_path / "a").mkdir()
    text = "component = Component()\ncomponent.add_polygon([(0, 0), (%s, 0), (%s, 1), (0, 1)], layer=(68, 20))"
    python, env, root = layout_python(), environment(), __file__.rsplit("/", 2)[0]
    run = lambda code, width: subprocess.run([python, "-c", code, str(tmp_path), root], env=env, text=True, check=True,
                                             input=json.dumps([HEAD + text % (width, width)]), capture_output=True)
    run(STOCK, "1.0")
    assert json.loads(run(FAST, "1.0").stdout)[0]["xor"] == 0
    assert json.loads(run(FAST, "1.005").stdout)[0]["xor"] == 1
