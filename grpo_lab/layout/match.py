"""Do two lists of devices make the same circuit, and if not, how far are they apart? Standard library only.

    match(layout_devices, reference_devices) -> Mismatch(devices_a, devices_b, nets_a, nets_b, note)

Colour refinement: each device starts with its kind, each net with the terminals on it, and round by round both take up
their neighbours' colours. The first round in which the two sides differ says which nets and devices of one side have no
partner on the other. Empty lists are only given after an exact isomorphism has been found.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .spice import Device

RELATIVE, ABSOLUTE = 0.01, 0.011  # tolerance on sizes: 1 %, 11 nm (glayout snaps to 10 nm), whichever is larger
BUDGET = 3_000_000  # devices and nets coloured in the search among devices that look alike, before giving up: seconds


_ROLES = {"mimcap": ("plate", "plate")}
_MOS = ("drain/source", "gate", "drain/source", "bulk")


def _roles(device: Device) -> tuple:
    return _ROLES.get(device.kind, _MOS)


class Graph:
    "Devices and the nets that touch them; nets without a device are wiring that cannot matter."

    def __init__(self, devices: list):
        self.devices = devices
        self.pins: dict = {}  # net -> [(role, device index)]
        for index, device in enumerate(devices):
            for role, net in zip(_roles(device), device.nets):
                self.pins.setdefault(net, []).append((role, index))

    def refine(self, device_colours: list, net_colours: dict) -> tuple:
        "One round: nets take up the devices on them, then devices take up their nets."
        nets = {net: hash((net_colours[net], tuple(sorted((role, device_colours[i]) for role, i in pins))))
                for net, pins in self.pins.items()}
        devices = []
        for colour, device in zip(device_colours, self.devices):
            ends = sorted((role, nets[net]) for role, net in zip(_roles(device), device.nets))
            devices.append(hash((colour, tuple(ends))))
        return devices, nets


def _close(a: float, b: float, extra: float = 1.0) -> bool:
    return abs(a - b) <= max(RELATIVE * abs(b), ABSOLUTE * extra)


def same_size(layout: Device, reference: Device) -> bool:
    if layout.kind != reference.kind:
        return False
    if layout.kind == "mimcap":  # both sides of the plate may be off by the tolerance
        return _close(layout.size["area"], reference.size["area"], 2 * reference.size["area"] ** 0.5)
    return _close(layout.size["w"], reference.size["w"]) and _close(layout.size["l"], reference.size["l"])


def _sizes(layout: list, reference: list) -> tuple:
    "A size class for every device: the reference's own, and for the layout's the nearest one within tolerance."
    classes: list = []  # one representative reference device per class
    reference_class = []
    for device in reference:
        for index, other in enumerate(classes):
            if device.kind == other.kind and all(abs(device.size[k] - other.size[k]) < 1e-6 for k in device.size):
                break
        else:
            index = len(classes)
            classes.append(device)
        reference_class.append(index)
    layout_class = []
    for device in layout:
        fits = [(sum(abs(device.size[k] - c.size[k]) for k in device.size), i)
                for i, c in enumerate(classes) if same_size(device, c)]
        layout_class.append(min(fits)[1] if fits else f"{device.kind}{sorted((k, round(v, 3)) for k, v in device.size.items())}")
    return layout_class, reference_class


def _difference(a, b) -> tuple:
    "What a has too many of, and what b has too many of, as Counters."
    a, b = Counter(a), Counter(b)
    return a - b, b - a


def _isomorphic(a: Graph, b: Graph, colours_a, colours_b, budget: list) -> bool:
    "Exact: refine until stable; where several look alike, pick one of a and try its likes in b."
    (da, na), (db_, nb) = colours_a, colours_b
    classes = -1
    while True:
        if Counter(da) != Counter(db_) or Counter(na.values()) != Counter(nb.values()):
            return False
        now = len(set(da)) + len(set(na.values()))
        if now == classes:
            break
        classes = now
        budget[0] -= len(da) + len(na)
        if budget[0] < 0:
            return False
        da, na = a.refine(da, na)
        db_, nb = b.refine(db_, nb)
    alike = [colour for colour, count in Counter(da).items() if count > 1]
    if not alike:  # every device has one partner, and nets are told apart by their devices or truly interchangeable
        return True
    colour = min(alike, key=lambda c: (Counter(da)[c], c))
    first = da.index(colour)
    marked = list(da)
    marked[first] = hash((colour, "picked"))
    for index, other in enumerate(db_):
        if other == colour:
            trial = list(db_)
            trial[index] = marked[first]
            if _isomorphic(a, b, (marked, na), (trial, nb), budget):
                return True
    return False


@dataclass
class Mismatch:
    "What has no partner: indices of devices and names of nets, of the layout (a) and of the reference (b)."
    devices_a: list
    devices_b: list
    nets_a: list
    nets_b: list
    note: str = ""  # set where all parts agree one by one and the circuits still differ

    def __bool__(self):
        return bool(self.devices_a or self.devices_b or self.nets_a or self.nets_b or self.note)


def match(layout: list, reference: list) -> Mismatch:
    "Compare merged devices of a layout with those of the reference; a false Mismatch means the same circuit."
    a, b = Graph(layout), Graph(reference)
    sizes_a, sizes_b = ([hash(c) for c in sizes] for sizes in _sizes(layout, reference))
    # sizes of devices, and the wiring next to each net by kind of device: counted together
    lost_a, lost_b = _difference(sizes_a, sizes_b)
    zero_a, zero_b = dict.fromkeys(a.pins, 0), dict.fromkeys(b.pins, 0)
    _, nets_a = a.refine([hash(d.kind) for d in layout], zero_a)
    _, nets_b = b.refine([hash(d.kind) for d in reference], zero_b)
    more_a, more_b = _difference(nets_a.values(), nets_b.values())
    if lost_a or lost_b or more_a or more_b:
        return Mismatch(_pick(sizes_a, lost_a), _pick(sizes_b, lost_b), _pick_nets(nets_a, more_a), _pick_nets(nets_b, more_b))
    # alike so far: refine with sizes until the sides differ or nothing changes any more
    colours_a, colours_b, classes = (sizes_a, zero_a), (sizes_b, zero_b), 0
    while True:
        colours_a, colours_b = a.refine(*colours_a), b.refine(*colours_b)
        lost_a, lost_b = _difference(colours_a[0], colours_b[0])
        more_a, more_b = _difference(colours_a[1].values(), colours_b[1].values())
        if lost_a or lost_b or more_a or more_b:
            return Mismatch(_pick(colours_a[0], lost_a), _pick(colours_b[0], lost_b), _pick_nets(colours_a[1], more_a),
                            _pick_nets(colours_b[1], more_b))
        now = len(set(colours_a[0])) + len(set(colours_a[1].values()))
        if now == classes:
            break
        classes = now
    try:
        if _isomorphic(a, b, colours_a, colours_b, [BUDGET]):
            return Mismatch([], [], [], [])
    except RecursionError:  # hundreds of interchangeable devices: no circuit of ours
        pass
    return Mismatch([], [], [], [], "the parts agree one by one but are not wired as the same circuit")


def kinship(layout: list, reference: list) -> tuple:
    "Colours of the devices of both sides by wiring alone, whatever their sizes: equal colours stand at the same place."
    out = []
    for devices in (layout, reference):
        graph = Graph(devices)
        colours = ([hash(d.kind) for d in devices], dict.fromkeys(graph.pins, 0))
        for _ in range(3):
            colours = graph.refine(*colours)
        out.append(colours[0])
    return tuple(out)


def _pick(colours: list, lost: Counter) -> list:
    lost, out = Counter(lost), []
    for index, colour in enumerate(colours):
        if lost[colour] > 0:
            lost[colour] -= 1
            out.append(index)
    return out


def _pick_nets(colours: dict, lost: Counter) -> list:
    keys = list(colours)
    return [keys[i] for i in _pick([colours[k] for k in keys], lost)]
