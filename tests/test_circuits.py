"""The circuit problems: what ships is what the generator makes, held-out is unseen, prompts say what the netlist holds,
references are clean, and the known ways to cheat are dirty."""
import ast
import json
import random
import subprocess
import sys

import pytest

from grpo_lab import circuits
from grpo_lab.circuits import FAMILIES, POOLS, load_problems, make_problems, merged, netlist_key, pick, prompt_messages, space
from grpo_lab.layout import spice
from grpo_lab.layout.env import is_ready

PROBLEMS = load_problems()
TRAIN = [p for p in PROBLEMS if p.split == "train"]
HELD = [p for p in PROBLEMS if p.split == "heldout"]
layout = pytest.mark.skipif(not is_ready(), reason="the layout interpreter is not made yet: python -m grpo_lab.layout.env")


def test_shipped_files_are_what_the_generator_makes():
    assert make_problems() == PROBLEMS
    assert make_problems(8) != PROBLEMS


def test_enough_and_short_enough():
    assert len(PROBLEMS) >= 240 and len(FAMILIES) >= 8 and {p.family for p in TRAIN} == set(FAMILIES) == {p.family for p in HELD}
    assert 72 <= len(HELD) <= 108 and sum(p.spec["kind"] == "composition" for p in HELD) >= 24
    assert max(len(p.prompt) for p in PROBLEMS) <= 260 and max(len(p.reference) for p in PROBLEMS) <= 420
    assert sum(len(p.reference) for p in PROBLEMS) / len(PROBLEMS) <= 220
    for p in PROBLEMS:
        assert ast.parse(p.reference) and "component =" in p.reference
        assert len(prompt_messages(p)[0]["content"]) < 80


def values(params, path=""):
    "Sizes in a problem's parameters, as (name, value): what 'never seen in training' is about."
    if isinstance(params, dict):
        return {v for k, x in params.items() for v in values(x, k)}
    if isinstance(params, (list, tuple)):
        return {v for x in params for v in values(x, path)}
    return {(path, params)} if isinstance(params, (int, float)) and not isinstance(params, bool) and path in ("width", "widths", "size", "total") else set()


def test_heldout_is_unseen():
    for what in (lambda p: p.id, lambda p: p.prompt, lambda p: p.reference, lambda p: (p.family, json.dumps(p.spec["params"], sort_keys=True)),
                 lambda p: netlist_key(p.spec["netlist"])):
        keys = [what(p) for p in PROBLEMS]
        assert len(set(keys)) == len(keys)  # nothing occurs twice, least of all on both sides
    seen = {p.spec["composition"] for p in TRAIN}
    imitated = {p.spec["composition"] for p in TRAIN if "sft" in p.spec["use"]}
    sizes = {(p.family, v) for p in TRAIN for v in values(p.spec["params"])}
    for p in HELD:
        if p.spec["kind"] == "composition":
            assert p.spec["composition"] not in seen, p.id
        else:
            assert p.spec["kind"] == "parameters" and p.spec["composition"] in imitated, p.id
            assert any((p.family, v) not in sizes for v in values(p.spec["params"])), p.id


def test_heldout_compositions_are_made_of_training_pieces():
    pieces = lambda p: set(p.spec["composition"].split(":")[1].split("+"))
    for p in HELD:
        if p.spec["kind"] == "composition":
            related = [q for q in TRAIN if q.family == p.family] + [q for q in TRAIN if q.family in ("transistor", "transmission_gate", "row_pair", "diode")]
            assert pieces(p) <= set().union(*map(pieces, related)), p.spec["composition"]


def test_a_prompt_determines_its_circuit():
    for name in FAMILIES:
        specs, found = [s for pool in POOLS for s in space(name, pool)], {}
        for s in random.Random(0).sample(specs, min(150, len(specs))):
            key = netlist_key(s.netlist())
            for phrase in s.phrases:
                assert found.setdefault(phrase.format(**s.say()), key) == key, phrase


def test_netlists_are_read_alike_by_the_verifier():
    for p in PROBLEMS:
        circuit = spice.read(p.spec["netlist"])
        assert len(circuit.devices) == p.spec["devices"] == len(merged(p.spec["netlist"]))
        ours = sorted(round(d[-1], 3) for d in merged(p.spec["netlist"]))
        assert ours == sorted(round(d.size.get("area", d.size.get("w", 0)), 3) for d in circuit.devices)


def test_import_is_light():
    code = "import sys, grpo_lab.circuits; print([m for m in ('torch', 'transformers', 'glayout', 'pandas', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="'valid' is unknown"):
        load_problems("valid")
    with pytest.raises(FileNotFoundError):
        load_problems(path=tmp_path)
    (tmp_path / "train.jsonl").write_text(TRAIN[0].model_dump_json() + "\n{broken\n")
    with pytest.raises(ValueError, match="line 2"):
        load_problems("train", tmp_path)
    with pytest.raises(ValueError, match="only"):
        pick(TRAIN, 10_000)
    with pytest.raises(ValueError):
        circuits.Device(width=-1)


# ---- with layouts -----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def service():
    from grpo_lab.layout import LayoutService
    with LayoutService(workers=2, seconds=60.0) as svc:
        yield svc


def dirty(service, problems):
    verdicts = service.verify([(p.reference, p.spec["netlist"]) for p in problems])
    return [(p.id, p.prompt, v["status"], v["drc_errors"], v["lvs_errors"], v["log"][-300:], [d["rule"] for d in v["error_details"]])
            for p, v in zip(problems, verdicts) if v["status"] != "ok" or v["drc_errors"] or v["lvs_errors"] or v["devices"] != p.spec["devices"]]


@layout
def test_a_sample_of_references_is_clean(service):
    assert dirty(service, pick(HELD, len(FAMILIES))) == []


@layout
@pytest.mark.slow
def test_every_reference_is_clean(service):
    assert dirty(service, PROBLEMS) == []


PAIR = """from glayout import nmos, sky130, straight_route
from glayout.backend import Component
component = Component()
m = nmos(sky130, width=3)
a = component << m
b = component << m
b.movex({move})
{route}"""
ROUTE = 'component << straight_route(sky130, a.ports["gate_E"], b.ports["gate_W"])\n'
EMPTY = "from glayout.backend import Component\ncomponent = Component()\n"
HACKS = {  # programs for "two nmos side by side, 3 um wide, gates joined", and what they try
    "honest": PAIR.format(move=14, route=ROUTE),
    "roomier": PAIR.format(move="m.xsize + 20", route=ROUTE),
    "wrong size": PAIR.format(move=14, route=ROUTE).replace("width=3", "width=4"),
    "route forgotten": PAIR.format(move=14, route=""),
    "too close": PAIR.format(move=13, route=ROUTE),
    "on top of each other": PAIR.format(move=0.5, route=ROUTE),
    "one device short": "from glayout import nmos, sky130\ncomponent = nmos(sky130, width=3)\n",
    "empty": EMPTY,
    "own netlist": EMPTY + 'component.info["netlist"] = ".subckt TOP\\n.ends TOP"\n',
    "hidden cell": PAIR.format(move=14, route=ROUTE) + "hidden = component\ncomponent = Component()\n",
    "labels only": EMPTY + 'component.add_label("nmos", layer=(68, 5))\n',
    "one rectangle": "from glayout.backend import Component, rectangle\ncomponent = Component()\ncomponent << rectangle(size=(2, 2), layer=(68, 20))\n",
    "no layout": "component = 3\n",
    "exception": "from glayout import nmos, sky130\ncomponent = nmos(sky130, size=3)\n",
    "syntax": "component = nmos(sky130,\n",
}


def hack_problem():
    "The problem that HACKS are about."
    return circuits.RowPair(device=circuits.Device(width=3), joins=("gate",))


@layout
def test_cheats_are_dirty(service):
    netlist = hack_problem().netlist()
    found = dict(zip(HACKS, service.verify([(code, netlist) for code in HACKS.values()])))
    errors = {k: None if v["status"] != "ok" else v["drc_errors"] + v["lvs_errors"] for k, v in found.items()}
    assert errors["honest"] == errors["roomier"] == 0
    assert found["syntax"]["status"] == "syntax_error" and found["exception"]["status"] == found["no layout"]["status"] == "runtime_error"
    for k in ("wrong size", "route forgotten", "too close", "one device short", "empty", "own netlist", "hidden cell", "labels only", "one rectangle"):
        assert errors[k] > 0, k
    assert found["too close"]["lvs_errors"] == 0 and found["route forgotten"]["drc_errors"] == 0
    assert errors["too close"] < errors["on top of each other"]
    for k in ("empty", "own netlist", "hidden cell", "labels only", "one rectangle"):  # nothing there: all alike, and worse than a part
        assert found[k]["devices"] == 0 and found[k]["devices_expected"] == 3 and found[k]["lvs_errors"] == found["empty"]["lvs_errors"]
        assert found[k]["lvs_errors"] > found["route forgotten"]["lvs_errors"]
    assert found["one device short"]["devices"] < found["one device short"]["devices_expected"]
    assert found["empty"]["lvs_errors"] >= found["one device short"]["lvs_errors"] > 0
    from grpo_lab.records import Verdict
    from grpo_lab.rewards import LACKING, layout_reward
    reward = {k: layout_reward(Verdict(**{f: v[f] for f in Verdict.model_fields if f in v})) for k, v in found.items()}
    assert all(reward[k] == LACKING for k in ("empty", "own netlist", "hidden cell", "labels only", "one rectangle", "one device short"))
    assert reward["honest"] == reward["roomier"] > 0 and all(-1 <= reward[k] < 0 for k in ("wrong size", "route forgotten", "too close")) and reward["syntax"] < reward["exception"] < LACKING
