"""Programs to verdicts through real processes: golden mistakes, programs that misbehave, processes that die."""
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from grpo_lab.layout import LayoutService, layout_python

HEAD = "from glayout import *\nfrom glayout.backend import Component, rectangle\n" \
       "from glayout.cells import current_mirror, transmission_gate, flipped_voltage_follower\n"


def mos(name, d, g, s, b, w, l=0.15, kind="nfet"):
    return f"X{name} {d} {g} {s} {b} sky130_fd_pr__{kind}_01v8 l={l} w={w}"


def subckt(pins, *cards):
    return f".subckt TOP {pins}\n" + "\n".join(cards) + "\n.ends\n"


NMOS = subckt("D G S B", mos("1", *"DGSB", 6))
MIRROR = subckt("REF OUT VSS B", mos("A", "REF", "REF", "VSS", "B", 9), mos("B", "OUT", "REF", "VSS", "B", 9),
                mos("DUM", "B", "B", "B", "B", 6))
GATE = subckt("IN OUT VSS VCC GN GP", mos("N", "OUT", "GN", "IN", "VSS", 1), mos("P", "OUT", "GP", "IN", "VCC", 1, kind="pfet"),
              mos("DN", *["VSS"] * 4, 2), mos("DP", *["VCC"] * 4, 2, kind="pfet"))
PAIR = subckt("D1 D2 G S B", mos("1", "D1", "G", "S", "B", 3), mos("2", "D2", "G", "S", "B", 3))
CAPS = subckt("A B", *[f"X{i} A B sky130_fd_pr__cap_mim_m3_1 l=5 w=5" for i in range(4)])
FVF = subckt("IN BULK OUT IB", mos("1", "IB", "IN", "OUT", "BULK", 13.21, 2.37), mos("D1", *["BULK"] * 4, 26.42, 2.37),
             mos("2", "OUT", "IB", "BULK", "BULK", 7.43, 1.97), mos("D2", *["BULK"] * 4, 14.86, 1.97))
ROUTED = """cell = nmos(sky130, width=3, with_dummy=False, with_substrate_tap=False)
component = Component()
a = component << cell
b = (component << cell).movex({x})
"""
GATES = 'component << straight_route(sky130, a.ports["multiplier_0_gate_E"], b.ports["multiplier_0_gate_W"])\n'
SOURCES = 'component << straight_route(sky130, a.ports["multiplier_0_source_E"], b.ports["multiplier_0_source_W"])\n'

GOLDEN = [  # program, netlist, DRC clean?, LVS errors, devices
    ("component = nmos(sky130, width=3, fingers=2, with_dummy=False)", NMOS, True, 0, 1),
    ("component = nmos(sky130, width=2, fingers=3, with_dummy=False)", NMOS, True, 0, 1),  # the same transistor
    ("component = nmos(sky130, width=3, fingers=2, with_dummy=False).ref()", NMOS, True, 0, 1),
    ("component = pmos(sky130, width=3, fingers=2, with_dummy=False)", NMOS, True, 10, 1),  # the wrong kind
    ("component = current_mirror(sky130, numcols=3)", MIRROR, True, 0, 3),
    ("component = current_mirror(sky130, numcols=3, width=4)", MIRROR, True, 6, 3),
    ("component = current_mirror(sky130, numcols=3, length=0.3)", MIRROR, True, 6, 3),
    ("component = current_mirror(sky130, numcols=2)", MIRROR, True, 4, 3),
    ("component = transmission_gate(sky130)", GATE, True, 0, 4),
    ("component = Component()", GATE, True, 10, 0),  # empty
    (ROUTED.format(x=12) + GATES + SOURCES, PAIR, True, 0, 2),
    (ROUTED.format(x=12) + GATES, PAIR, True, 3, 2),  # a route forgotten
    (ROUTED.format(x=1.5) + GATES + SOURCES, PAIR, False, None, None),  # one on top of the other
    ("component = mimcap_array(sky130, 2, 2)", CAPS, True, 0, 1),
    ("component = mimcap_array(sky130, 2, 3)", CAPS, True, 2, 1),
    ("component = flipped_voltage_follower(sky130, sd_rmult=3)", FVF, False, 3, 4),
    ("component = rectangle(size=(0.1, 5), layer=(68, 20))", NMOS, False, 5, 0),  # a thin wire
]


@pytest.fixture(scope="module")
def service():
    with LayoutService(workers=2, seconds=60, memory_mb=512) as svc:
        yield svc


def test_golden_mistakes(service):
    verdicts = service.verify([(HEAD + program, netlist) for program, netlist, *_ in GOLDEN])
    for (program, _, clean, lvs, devices), v in zip(GOLDEN, verdicts):
        assert v["status"] == "ok", (program, v)
        assert (v["drc_errors"] == 0) == clean, (program, v)
        assert v["drc_errors"] + v["lvs_errors"] == sum(d["count"] for d in v["error_details"])
        if lvs is None:
            assert v["lvs_errors"] > 0, (program, v)
        else:
            assert (v["lvs_errors"], v["devices"]) == (lvs, devices), (program, v)
    forgotten = next(v for (p, *_), v in zip(GOLDEN, verdicts) if p == ROUTED.format(x=12) + GATES)
    [detail] = forgotten["error_details"]
    assert detail["rule"] == "open" and "net s: 2 nets in the layout" in detail["description"] and detail["boxes"]


def test_own_netlist_and_labels_do_not_help(service):
    "What a candidate says about itself is not read: neither its info, nor labels, nor cells beside the top."
    forged = """component = Component("TOP")
component.info["netlist"] = ".subckt TOP\\n.ends"
component.add_label("D", position=(0, 0), layer=(68, 5))
hidden = nmos(sky130, width=3, fingers=2, with_dummy=False)
"""
    [v] = service.verify([(HEAD + forged, NMOS)])
    assert v["status"] == "ok" and (v["devices"], v["devices_expected"], v["lvs_errors"]) == (0, 1, 5)


MISBEHAVE = {  # program -> status, what the log says
    "component = nmos(sky130, widht=3)": ("runtime_error", "line 4: component = nmos(sky130, widht=3)\nTypeError"),
    "component = nmos(sky130,": ("syntax_error", "line 4"),
    "component = " + "(" * 9000 + ")" * 9000: ("syntax_error", "nested"),
    "component = nmos(sky130, width=1)\ndel component": ("runtime_error", "no variable named `component`"),
    "component = {'nmos': 3}": ("runtime_error", "`component` is a dict"),
    "import os\nos._exit(0)": ("runtime_error", "exit status 0"),
    "raise SystemExit(0)": ("runtime_error", "exit(0)"),
    "import os\nos.kill(os.getpid(), 9)": (None, ""),
    "import os\nos.kill(os.getppid(), 9)": ("refused", "line 5"),
    "open('/etc/passwd')": ("refused", "line 4"),
    "while True: print('x' * 1000)": ("runtime_error", "printed more than"),
    "class E(BaseException):\n    def __str__(self): raise ValueError\nraise E()": ("runtime_error", "line 6: raise E()"),
    "def f(): f()\nf()": ("runtime_error", "RecursionError"),
    "x = 'a' * 10**11": ("memory", "memory"),
    "component = Component()\ncomponent.add_polygon([(0, 0), (9e9, 0), (9e9, 9)], layer=(68, 20))": ("runtime_error", "GDS"),
    "component = Component()\ncomponent.add_polygon([(0, 0), (3e5, 0), (3e5, 9)], layer=(68, 20))": ("runtime_error", "beyond"),
    "a = rectangle(size=(1, 1), layer=(68, 20))\nfor i in range(7):\n    component = Component()\n"
    "    component.add_array(a, columns=12, rows=1, spacing=(2, 2))\n    a = component": ("runtime_error", "shapes"),
}


def test_programs_that_misbehave_cost_only_themselves(service):
    good = (HEAD + "component = nmos(sky130, width=3, fingers=2, with_dummy=False)", NMOS)
    verdicts = service.verify([(HEAD + program, NMOS) for program in MISBEHAVE] + [good])
    for (program, (status, says)), v in zip(MISBEHAVE.items(), verdicts):
        assert v["status"] == status or (status is None and v["status"] != "ok"), (program[:80], v)
        assert says in v["log"], (program[:80], v)
        assert v["drc_errors"] is None and v["devices_expected"] == 1 and v["error_details"][0]["kind"] == "run"
        assert os.path.dirname(os.path.dirname(os.path.abspath(__file__))) not in v["log"]
    assert verdicts[-1]["status"] == "ok" and verdicts[-1]["lvs_errors"] == 0


def test_a_program_that_loops_or_eats_memory():
    with LayoutService(workers=2, seconds=3, memory_mb=100) as svc:
        loop, eat = svc.verify([(HEAD + "while True: pass", NMOS), (HEAD + "x = []\nwhile True: x.append(bytearray(1 << 22))", NMOS)])
    assert (loop["status"], eat["status"]) == ("timeout", "memory")


def test_equal_items_are_judged_once_and_in_order(service, monkeypatch):
    built = []
    run = service.pool.run
    monkeypatch.setattr(service.pool, "run", lambda payload, **how: (built.append(payload), run(payload, **how))[1])
    one, two = "component = nmos(sky130, width=0.77)", "component = Component() # 77"
    seen = []
    items = [(HEAD + p, NMOS) for p in (one, two, one, one, two)]
    verdicts = service.verify(items, progress=lambda done, total: seen.append((done, total)), keep_gds=True)
    assert len(built) == 2 and seen[-1] == (5, 5)
    assert [v["devices"] for v in verdicts] == [2, 0, 2, 2, 0]
    assert verdicts[0] == verdicts[2] and verdicts[0] is not verdicts[2]
    assert service.verify(items)[0]["lvs_errors"] == verdicts[0]["lvs_errors"] and len(built) == 2  # remembered
    assert service.judge(verdicts[0]["gds"], NMOS)["lvs_errors"] == verdicts[0]["lvs_errors"]


def test_parts_made_ready_change_no_verdict(service):
    "Programs that share a transistor get it ready-made; every shape is where it was."
    import hashlib
    program = "component = Component()\na = component << nmos(sky130, width=4, fingers=3)\nb = (component << nmos(sky130, width=4, fingers=3)).movex(a.xsize + {})"
    codes = [HEAD + program.format(x) for x in (2, 5, 9)]
    together = service.verify([(code, PAIR) for code in codes], keep_gds=True)
    with LayoutService(workers=1, cache=False) as alone:
        apart = [alone.verify([(code, PAIR)], keep_gds=True)[0] for code in codes]   # one at a time: nothing is shared, so nothing made ready
    for a, b in zip(together, apart):
        assert a["gds"] and hashlib.sha256(a["gds"]).digest() == hashlib.sha256(b["gds"]).digest()
        assert {**a, "seconds": 0, "gds": 0} == {**b, "seconds": 0, "gds": 0}


def test_only_known_parts_with_plain_numbers_are_made_ready():
    from grpo_lab.layout.parts import checked, parts
    assert parts("a = nmos(sky130, width=3, fingers=2)\nb = nmos(sky130, width=3, fingers=2)\nc = pmos(sky130, 2.5, with_tie=False)") == \
        [["nmos", [], {"width": 3, "fingers": 2}], ["pmos", [2.5], {"with_tie": False}]]
    for code in ("nmos(sky130, width=1e9)", "nmos(sky130, width=True)", "nmos(sky130, width=x)", "nmos(pdk, width=3)", "nmos(sky130, **k)",
                 "nmos(sky130, decorator=print)", "eval(sky130, 3)", "glayout.nmos(sky130, width=3)", "nmos(sky130, width=float('nan'))", "nmos(",
                 "nmos(sky130, name='x')", "nmos(sky130, width=-3)", "(" * 500, "x" * 9000):
        assert parts(code) == [], code
    for hint in (None, 7, "nmos", [["system", ["id"], {}]], [["nmos", ["3"], {}]], [["nmos", [], {"fingers": 1e6}]], [["nmos", [[1]], {}]], [[1, 2]],
                 [["nmos", [], {"__class__": 3}]], [[["nmos"], [], {}]]):
        assert checked(hint) == [], hint


def test_forged_files_are_refused_and_kill_nothing(service):
    [v] = service.verify([(HEAD + "component = nmos(sky130, width=3, fingers=2, with_dummy=False)", NMOS)], keep_gds=True)
    gds = v["gds"]
    assert service.judge(gds, NMOS)["lvs_errors"] == 0
    end = b"\x00\x04\x04\x00"
    second = b"\x00\x1c\x05\x02" + bytes(24) + b"\x00\x06\x06\x06ZZ" + b"\x00\x04\x07\x00"
    for bad in (b"", b"GDS", gds[:-2000], gds[:100], b"#!/bin/sh\n", os.urandom(5000), b"\x00\x06\x00\x02\x02\x58" + os.urandom(5000),
                gds[:-4] + second + end):
        assert service.judge(bad, NMOS)["status"] == "runtime_error", bad[:40]
    assert "2 top cells" in service.judge(gds[:-4] + second + end, NMOS)["log"]
    assert service.judge(gds, NMOS)["lvs_errors"] == 0


def test_a_bad_trusted_netlist_is_an_error_of_ours(service):
    with pytest.raises(ValueError, match="item 1 cannot be read: netlist line 2"):
        service.verify([("component = 1", NMOS), ("component = 1", subckt("d", "Q1 d d d npn"))])


def test_dead_and_hanging_processes_are_replaced():
    items = lambda n: [(HEAD + f"component = nmos(sky130, width={n}, fingers=2, with_dummy=False)", NMOS)]
    with LayoutService(workers=1, seconds=60) as svc:
        assert svc.verify(items(3))[0]["lvs_errors"] == 0
        [judge] = svc.judges
        os.kill(judge.process.pid, signal.SIGKILL)  # between two jobs
        [worker] = svc.pool._all
        os.kill(worker.proc.pid, signal.SIGKILL)
        assert svc.verify(items(2))[0]["status"] == "ok"
        os.kill(judge.process.pid, signal.SIGSTOP)  # hangs on the next job
        judge.seconds = 1
        [v] = svc.verify(items(1))
        assert v["status"] == "timeout" and "DRC and LVS" in v["log"]
        judge.seconds = 60
        assert svc.verify(items(1))[0]["status"] == "ok"  # a timeout is not remembered
        assert judge.started == 3


def descendants(marker):
    "Processes with this marker in their environment."
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f, open(f"/proc/{pid}/stat") as s:
                if marker in f.read() and s.read().rsplit(")", 1)[1].split()[0] != "Z":
                    found.append(int(pid))
        except OSError:
            pass
    return found


@pytest.mark.parametrize("how", ["close", "kill", "interrupt"])
def test_nothing_is_left_behind(how, tmp_path):
    program = textwrap.dedent(f"""
        import sys
        from grpo_lab.layout import LayoutService, env
        plain = env.environment
        env.environment = lambda *a: {{**plain(*a), "LEFT_BEHIND": {str(tmp_path)!r}}}
        with LayoutService(workers=2, seconds=60) as svc:
            good = ({HEAD!r} + "component = nmos(sky130, width=1)", {NMOS!r})
            svc.verify([good])
            print("warm", flush=True)
            if {how != "close"}:
                svc.verify([({HEAD!r} + f"while True: {{n}}", {NMOS!r}) for n in range(4)])
    """)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root)
    assert process.stdout.readline() == b"warm\n", process.stderr.read()
    marker = f"LEFT_BEHIND={tmp_path}".encode()
    if how != "close":
        assert len(descendants(marker)) >= 3
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGINT)
    process.wait(60)
    deadline = time.monotonic() + 20
    while descendants(marker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not descendants(marker)


def test_pictures(service):
    [v] = service.verify([(HEAD + ROUTED.format(x=1.5), PAIR)], keep_gds=True)
    boxes = [box for d in v["error_details"] for box in d["boxes"]]
    assert boxes
    plain, marked = service.render(v["gds"]), service.render(v["gds"], boxes=boxes, width=600, height=400)
    for png, size in ((plain, (480, 360)), (marked, (600, 400))):
        assert png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) < 60_000
        assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == size
    red = "import sys, io; from PIL import Image; i = Image.open(io.BytesIO(sys.stdin.buffer.read())).convert('RGB'); " \
          "print(sum(n for n, (r, g, b) in i.getcolors(1 << 20) if r > 180 and g < 60 and b < 60))"
    reds = [int(subprocess.run([layout_python(), "-c", red], input=png, capture_output=True, check=True).stdout) for png in (plain, marked)]
    assert reds[0] == 0 and reds[1] > 200
    [empty] = service.verify([(HEAD + "component = Component()", NMOS)], keep_gds=True)
    assert service.render(empty["gds"])[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="cannot be drawn"):
        service.render(b"nonsense")
