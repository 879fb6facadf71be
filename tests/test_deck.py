"""The foundry's deck through the KLayout program, and Magic + netgen: skipped, saying why, where they are not installed."""
import os
import signal
import struct
import subprocess

import pytest

from grpo_lab.layout import deck, drc, magic
from test_drc import ALSO, case

# the deck flags acute corners only; the published rules (x.2, x.3a) are about the direction of every edge
DIFFERENT = {r.name for r in drc.RULES if r.check.startswith("angle")}

needs_deck = pytest.mark.skipif(bool(deck.missing()), reason=deck.missing() or "ready")
needs_magic = pytest.mark.skipif(bool(magic.missing()), reason=magic.missing() or "ready")


def record(kind, data=b""):
    return struct.pack(">HH", 4 + len(data), kind) + data


def gds(*boxes, polygons=(), name=b"TOP"):
    """A GDS file, written by hand: no library needed. Rectangles are (layer, datatype, x1, y1, x2, y2) in nm,
    polygons are (layer, datatype, [(x, y), ...])."""
    out = [record(0x0002, struct.pack(">h", 600)), record(0x0102, bytes(24)), record(0x0206, b"L\0"),
           record(0x0305, bytes.fromhex("3e4189374bc6a7f0" "3944b82fa09b5a54")), record(0x0502, bytes(24)), record(0x0606, name + b"\0" * (len(name) % 2))]
    polygons = [(layer, datatype, [(x1, y1), (x1, y2), (x2, y2), (x2, y1)]) for layer, datatype, x1, y1, x2, y2 in boxes] + list(polygons)
    for layer, datatype, points in polygons:
        xy = b"".join(struct.pack(">2i", *p) for p in [*points, points[0]])
        out += [record(0x0800), record(0x0D02, struct.pack(">h", layer)), record(0x0E02, struct.pack(">h", datatype)), record(0x1003, xy), record(0x1100)]
    return b"".join([*out, record(0x0700), record(0x0400)])


MET1, CORE = (68, 20), (81, 2)
CLEAN = gds((*MET1, 0, 0, 1000, 1000))
NEAR = gds((*MET1, 0, 0, 1000, 1000), (*MET1, 1100, 0, 2000, 1000), (*MET1, 5000, 0, 5100, 300))


def counts(details):
    return {d["rule"]: d["count"] for d in details}


@pytest.fixture(scope="module")
def warm():
    with deck.Deck() as d:
        yield d


@needs_deck
def test_the_deck_counts_and_stays_warm(warm, tmp_path):
    assert warm.check(CLEAN) == []
    process = warm._process
    found = warm.check(NEAR)
    assert counts(found) == {"MR_met1.WID.1": 1, "MR_met1.SP.1": 1, "MR_met1.AR.1": 1}
    gap = next(d for d in found if d["rule"] == "MR_met1.SP.1")
    assert gap == {"kind": "drc", "rule": "MR_met1.SP.1", "description": "min. m1 spacing : 0.14um", "count": 1, "boxes": [[1.0, 0.0, 1.1, 1.0]]}
    path = tmp_path / "near.gds"
    path.write_bytes(NEAR)
    assert warm.check(path, "TOP") == found
    assert warm._process is process and warm.check(CLEAN) == []


def tiles(which):
    "The golden layouts of test_drc, all in one file, 100 um apart: {rule: origin in um}, GDS."
    shapes, origins = [], {}
    for i, rule in enumerate(drc.RULES):
        if rule.name == "x.8":
            continue  # the marker is left out before the deck runs
        x, y = origins[rule.name] = 100 * (i % 15), 100 * (i // 15)
        shapes += [(*drc.LAYERS[layer], [(round((x + px) * 1000), round((y + py) * 1000)) for px, py in points]) for layer, points in case(rule)[which]]
    return origins, gds(polygons=shapes)


@needs_deck
def test_the_deck_judges_the_golden_layouts_of_our_rules_alike(warm, monkeypatch):
    monkeypatch.setattr(deck, "MAX_BOXES", 10**6)
    for which in (0, 1):
        origins, layout = tiles(which)
        hits: dict = {name: set() for name in origins}
        for detail in warm.check(layout):
            for x1, y1, x2, y2 in detail["boxes"]:
                home = min(origins, key=lambda n: (origins[n][0] - (x1 + x2) / 2) ** 2 + (origins[n][1] - (y1 + y2) / 2) ** 2)
                hits[home].add(detail["rule"])
        for rule in drc.RULES:
            if rule.name in origins and rule.name not in DIFFERENT:
                companions = {c for name in ALSO.get(rule.name, ()) for r in drc.RULES if r.name == name for c in r.deck}
                if which == 1 or not rule.deck:
                    assert hits[rule.name] <= companions, (rule.name, "kept, or unknown to the deck", hits[rule.name])
                else:
                    found = hits[rule.name] - (companions - set(rule.deck))
                    assert found and found <= set(rule.deck), (rule.name, "broken", hits[rule.name])


@needs_deck
def test_a_core_marker_does_not_relax_the_deck(warm):
    poly = [(66, 20, 0, 0, 2000, 1000), (66, 20, 0, 1200, 2000, 2200)]  # 0.20 um apart: 0.21 is wanted outside memory cores
    assert counts(warm.check(gds(*poly))) == counts(warm.check(gds(*poly, (*CORE, -500, -500, 3000, 3000)))) == {"MR_poly.SP.1": 1}


@needs_deck
def test_it_survives_bad_files_death_and_hanging(warm):
    with pytest.raises(deck.DeckFailed, match="could not judge"):
        warm.check(b"\x00\x06\x00\x02 no layout")
    with pytest.raises(deck.DeckFailed, match="no cell named NOPE"):
        warm.check(CLEAN, "NOPE")
    assert warm.check(CLEAN) == []
    os.kill(warm._process.pid, signal.SIGKILL)
    warm._process.wait()
    assert warm.check(CLEAN) == []
    os.kill(warm._process.pid, signal.SIGSTOP)
    seconds, warm.seconds = warm.seconds, 0.2
    with pytest.raises(deck.DeckTimeout, match="no answer in 2 s"):
        warm.check(CLEAN)
    warm.seconds = seconds
    assert warm.check(CLEAN) == []
    with pytest.raises(FileNotFoundError, match="no layout at"):
        warm.check("/nowhere.gds")


@needs_deck
def test_the_process_ends_with_its_owner():
    d = deck.Deck()
    d.check(CLEAN)
    process, folder = d._process, d._folder
    d.close()
    assert process.poll() is not None and not folder.exists()


def test_what_is_missing_is_said_with_the_mend(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GRPO_LAB_KLAYOUT", str(tmp_path / "klayout"))
    with pytest.raises(deck.DeckMissing, match="apt-get install klayout.*python -m grpo_lab.layout.deck.*layout.drc=rules"):
        deck.Deck()
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", "ERROR: no network"))
    with pytest.raises(deck.DeckMissing, match="could not download cf-precheck.*no network"):
        deck.fetch()
    (tmp_path / "grpo_lab" / "signoff").mkdir(parents=True)
    (tmp_path / "grpo_lab" / "signoff" / "sky130A_mr.drc").write_text("another deck")
    assert deck.fetched() is None, "a file with the wrong hash is not used"


NETLIST = ".subckt TOP D G S B\nX1 D G S B sky130_fd_pr__nfet_01v8 l=0.15 w=1 m={count}\n.ends\n"


@needs_magic
def test_magic_and_netgen_judge_a_transistor(tmp_path):
    shapes = [(65, 20, -500, 0, 650, 1000), (93, 44, -625, -125, 775, 1125), (66, 20, 0, -130, 150, 1130)]
    path = tmp_path / "fet.gds"
    path.write_bytes(gds(*shapes))
    said = magic.second_opinion(path, NETLIST.format(count=1))
    assert all(d["context"] for d in said["drc"]) and said["lvs"]["errors"] == 0 and said["lvs"]["devices"] == 1
    assert magic.second_opinion(path, NETLIST.format(count=2))["lvs"]["errors"] > 0
    path.write_bytes(gds(*shapes, (*MET1, 3000, 0, 3100, 2000)))
    assert counts(d for d in magic.second_opinion(path)["drc"] if not d["context"]) == {"met1.1": 1}


def test_flat_devices_of_a_hierarchical_netlist():
    text = """.subckt unit D G S B l=1 w=1 m=1
XA D G S B sky130_fd_pr__nfet_01v8 l={l} w={w} m=2
.ends unit
.subckt TOP P N B
X0 P N mid B unit l=0.5
+ w=3 m={2}
XC P N sky130_fd_pr__cap_mim_m3_1 l=5 w=2
.ends TOP"""
    devices = magic.flat_devices(text)
    assert devices == [(["P", "N", "mid", "B"], "sky130_fd_pr__nfet_01v8", {"l": 0.5, "w": 3.0})] * 4 + \
        [(["P", "N"], "sky130_fd_pr__cap_mim_m3_1", {"l": 5.0, "w": 2.0})]
