"""Layout versus schematic for sky130, in process: is the layout the circuit of the problem's trusted netlist?

    compare(layout, top, netlist) -> {"errors", "devices", "devices_expected", "details"}

Three steps, all on the flattened top cell:

1. `extract` finds devices and nets with klayout.db's LayoutToNetlist: n/p transistors (gate = poly over diffusion with the
   implant), MIM capacitors (capm over met3), wiring up to met5, wells and taps. The p-substrate is one global net. Text
   labels are never read: a candidate's names are not evidence.
2. Devices in parallel are merged on both sides, so fingers, multipliers and columns are free choices.
3. `match` compares the two graphs; what has no partner is counted. An open is about 3 (one net missing, two extra), a wrong
   size 2 (one device missing, one extra), where KLayout's own count saturates. Zero means an exact isomorphism was found.
"""
from __future__ import annotations

from collections import Counter

import klayout.db as db

from .match import Graph, kinship, match, same_size
from .spice import Device, merge, read

# layer, datatype of sky130A as published (skywater-pdk.readthedocs.io, "Layers Definitions")
LAYERS = {
    "nwell": (64, 20), "diff": (65, 20), "tap": (65, 44), "poly": (66, 20), "nsdm": (93, 44), "psdm": (94, 20),
    "licon": (66, 44), "li1": (67, 20), "mcon": (67, 44), "met1": (68, 20), "via": (68, 44), "met2": (69, 20),
    "via2": (69, 44), "met3": (70, 20), "via3": (70, 44), "capm": (89, 44), "met4": (71, 20), "via4": (71, 44),
    "met5": (72, 20),
}
SUBSTRATE = "substrate"
MAX_BOXES = 20


# ---- 1. extraction -----------------------------------------------------------------------------------------------------

class Extracted:
    "Devices and nets found in a layout. Keeps the LayoutToNetlist and the Layout alive: KLayout crashes without them."

    def __init__(self, layout: db.Layout, top: db.Cell):
        self.layout, self.top, self.looked = layout, top, 0
        self.l2n, self.regions = _extract(layout, top)
        self.devices = merge(list(self._devices()))

    def _devices(self):
        circuit = self.l2n.netlist().circuit_by_name(self.top.name) if self.l2n.netlist() else None
        self.nets = {}
        if circuit is None:
            return
        for device in circuit.each_device():
            kind = device.device_class().name
            ids = (0, 1) if kind == "mimcap" else (0, 1, 2, 3)  # MOS4: S, G, D, B
            nets = []
            for terminal in ids:
                net = device.net_for_terminal(terminal)
                key = f"open{device.id()}.{terminal}" if net is None else net.cluster_id
                self.nets[key] = net
                nets.append(key)
            point = device.trans.disp if hasattr(device.trans, "disp") else device.trans
            if kind == "mimcap":
                size = {"area": device.parameter("A")}
                half_x = half_y = max(size["area"], 0.01) ** 0.5 / 2
            else:
                nets = [nets[2], nets[1], nets[0], nets[3]]  # drain, gate, source, bulk
                size = {"w": device.parameter("W"), "l": device.parameter("L")}
                half_x, half_y = size["l"] / 2, size["w"] / 2
            x, y = point.x, point.y
            box = [round(x - half_x, 3), round(y - half_y, 3), round(x + half_x, 3), round(y + half_y, 3)]
            yield Device(kind, tuple(nets), size, boxes=[box])

    def boxes_of(self, key) -> list:
        "Where a net is: bounding boxes of its wiring in um, largest first."
        net = self.nets.get(key)
        self.looked += 1
        if net is None or self.looked > MAX_BOXES:  # a wreck of a layout has hundreds: some are enough
            return []
        boxes = []
        for name in ("met5", "met4", "met3", "met2", "met1", "li1", "poly"):
            shapes = self.l2n.shapes_of_net(net, self.regions[name], True)
            boxes += [polygon.bbox() for polygon in shapes.merged().each()]
        boxes.sort(key=lambda b: -b.area())
        dbu = self.layout.dbu
        return [[round(v * dbu, 3) for v in (b.left, b.bottom, b.right, b.top)] for b in boxes[:3]]


def _extract(layout, top):
    l2n = db.LayoutToNetlist(db.RecursiveShapeIterator(layout, top, []))
    L = {name: l2n.make_layer(layout.layer(*pair), name) for name, pair in LAYERS.items()}
    empty = l2n.make_layer("bulk")
    active = L["diff"] + L["tap"]
    channel = L["poly"] & active
    bare = active - L["poly"]
    ngate = (channel & L["nsdm"]) - L["nwell"]
    pgate = channel & L["psdm"] & L["nwell"]
    nsd = (bare & L["nsdm"]) - L["nwell"]
    psd = bare & L["psdm"] & L["nwell"]
    ntap = bare & L["nsdm"] & L["nwell"]
    ptap = (bare & L["psdm"]) - L["nwell"]
    plate = L["capm"] & L["met3"]
    via3_cap, via3_wire = L["via3"] & L["capm"], L["via3"] - L["capm"]
    for name, region in (("ngate", ngate), ("pgate", pgate), ("nsd", nsd), ("psd", psd), ("ntap", ntap), ("ptap", ptap),
                         ("plate", plate), ("via3_cap", via3_cap), ("via3_wire", via3_wire)):
        l2n.register(region, name)

    def mos(name, sd, gate, bulk):
        l2n.extract_devices(db.DeviceExtractorMOS4Transistor(name),
                            {"SD": sd, "G": gate, "P": L["poly"], "W": bulk, "tS": sd, "tD": sd, "tG": L["poly"], "tB": bulk})

    mos("nfet", nsd, ngate, empty)
    mos("pfet", psd, pgate, L["nwell"])
    l2n.extract_devices(db.DeviceExtractorCapacitor("mimcap", 2e-15),
                        {"P1": plate, "P2": L["met3"], "tA": plate, "tB": L["met3"]})
    wires = [L["poly"], nsd, psd, ntap, ptap, L["li1"], L["met1"], L["met2"], L["met3"], L["met4"], L["met5"], plate,
             L["nwell"], L["licon"], L["mcon"], L["via"], L["via2"], via3_wire, via3_cap, L["via4"]]
    for region in wires:
        l2n.connect(region)
    for over, under in (("licon", "li1"), ("li1", "mcon"), ("mcon", "met1"), ("met1", "via"), ("via", "met2"),
                        ("met2", "via2"), ("via2", "met3"), ("met4", "via4"), ("via4", "met5"), ("licon", "poly")):
        l2n.connect(L[over], L[under])
    for region in (nsd, psd, ntap, ptap):
        l2n.connect(L["licon"], region)
    l2n.connect(ntap, L["nwell"])
    l2n.connect(L["met3"], via3_wire)
    l2n.connect(via3_wire, L["met4"])
    l2n.connect(plate, via3_cap)
    l2n.connect(via3_cap, L["met4"])
    l2n.connect_global(ptap, SUBSTRATE)
    l2n.connect_global(empty, SUBSTRATE)
    l2n.extract_netlist()
    return l2n, L


# ---- 2. what a student reads ----------------------------------------------------------------------------------------------

def compare(layout: db.Layout, top: db.Cell, netlist: str) -> dict:
    """Compare the flattened `top` with the trusted netlist text.

    Returns errors (0 = the same circuit), devices and devices_expected (after merging devices in parallel), and details
    whose counts add up to errors. Raises spice.SpiceError for a netlist that cannot be read.
    """
    reference = read(netlist)
    found = Extracted(layout, top)
    missed = match(found.devices, reference.devices)
    details = (_device_details(found, reference, missed.devices_a, missed.devices_b) +
               _net_details(found, reference, missed.nets_a, missed.nets_b))
    if missed.note:
        details.append(_detail("circuit", missed.note, 2))
    return {"errors": sum(d["count"] for d in details), "devices": len(found.devices),
            "devices_expected": len(reference.devices), "details": details}


def _detail(rule: str, description: str, count: int, boxes=()) -> dict:
    return {"kind": "lvs", "rule": rule, "description": description, "count": count, "boxes": list(boxes)[:MAX_BOXES]}


def _device_details(found: Extracted, reference, lost_a: list, lost_b: list) -> list:
    details, extra = [], list(lost_a)
    kin_a, kin_b = kinship(found.devices, reference.devices)
    for index in sorted(lost_b, key=lambda i: kin_b[i] not in {kin_a[j] for j in lost_a}):  # sure pairs first
        wanted = reference.devices[index]
        alike = [i for i in extra if found.devices[i].kind == wanted.kind]
        name = "/".join(wanted.names[:2]) + ("/..." if len(wanted.names) > 2 else "")
        if alike:  # one of the same kind is too many: a wrong size rather than a missing device
            got = min(alike, key=lambda i: (kin_a[i] != kin_b[index],
                                            sum(abs(found.devices[i].size[k] - wanted.size[k]) for k in wanted.size)))
            extra.remove(got)
            device = found.devices[got]
            if same_size(device, wanted):
                details.append(_detail("device wiring", f"device {wanted.describe()} ({name}) is connected to other nets "
                                       "than in the netlist", 2, device.boxes))
            else:
                details.append(_detail("device size", f"device {name} should be {wanted.describe()}, the layout has "
                                       f"{device.describe()}", 2, device.boxes))
        else:
            details.append(_detail("device missing", f"device {wanted.describe()} ({name}) is missing{_dummy(wanted)}", 1))
    for index in extra:
        device = found.devices[index]
        details.append(_detail("device extra", f"device {device.describe()} is not in the netlist{_dummy(device)}", 1, device.boxes))
    return details


def _dummy(device: Device) -> str:
    "A word on transistors that do nothing but keep their neighbours company."
    return ": dummy transistors, all terminals on the bulk" if device.kind != "mimcap" and len(set(device.nets)) == 1 else ""


def _terminals(graph: Graph, net) -> Counter:
    return Counter((graph.devices[i].kind, role) for role, i in graph.pins[net])


def _spell(terminals: Counter) -> str:
    if not terminals:
        return "nothing"
    words = [f"{count} {kind} {role}" + ("s" if count > 1 else "") for (kind, role), count in sorted(terminals.items())]
    return ", ".join(words[:5]) + (", ..." if len(words) > 5 else "")


def _net_details(found: Extracted, reference, nets_a: list, nets_b: list) -> list:
    a, b = Graph(found.devices), Graph(reference.devices)
    here = {net: _terminals(a, net) for net in nets_a}
    there = {net: _terminals(b, net) for net in nets_b}
    details = []
    for net in sorted(there, key=lambda n: -sum(there[n].values())):  # one net of the netlist in several pieces: an open
        parts = _subset(there[net], here)
        if len(parts) > 1:
            boxes = [box for part in parts for box in found.boxes_of(part)]
            details.append(_detail("open", f"net {net}: {len(parts)} nets in the layout where the netlist has 1 (a "
                                   "connection is missing)", 1 + len(parts), boxes))
            for part in parts:
                here.pop(part)
            there.pop(net)
    for net in sorted(here, key=lambda n: -sum(here[n].values())):  # several nets of the netlist in one piece: a short
        parts = _subset(here[net], there)
        if len(parts) > 1:
            details.append(_detail("short", f"nets {', '.join(map(str, parts))}: 1 net in the layout where the netlist has "
                                   f"{len(parts)} (connected by mistake)", 1 + len(parts), found.boxes_of(net)))
            for part in parts:
                there.pop(part)
            here.pop(net)
    pairs = sorted(((-sum((terminals & here[other]).values()), str(net), net, other) for net, terminals in there.items()
                    for other in here if terminals & here[other]), key=lambda p: p[:2])
    for _, _, net, other in pairs:  # the same net, nearly: say what is too much and what is lacking
        if net in there and other in here:
            wanted, got = there.pop(net), here.pop(other)
            said = [f"{verb} {_spell(what)}" for verb, what in (("also has", got - wanted), ("lacks", wanted - got)) if what]
            details.append(_detail("net differs", f"net {net}: the layout's net {' and '.join(said)}", 2, found.boxes_of(other)))
    for net, terminals in there.items():
        details.append(_detail("net missing", f"net {net}: no net of the layout connects {_spell(terminals)}", 1))
    for net, terminals in here.items():
        details.append(_detail("net extra", f"a net of the layout connects {_spell(terminals)}; no net of the netlist does",
                               1, found.boxes_of(net)))
    return details


def _subset(whole: Counter, pieces: dict) -> list:
    "Names of pieces that add up to the whole, found greedily, largest first; [] where they do not."
    left, chosen = Counter(whole), []
    for name in sorted(pieces, key=lambda n: -sum(pieces[n].values())):
        if all(left[key] >= count for key, count in pieces[name].items()):
            left -= pieces[name]
            chosen.append(name)
    return chosen if not +left else []
