"""SPICE text -> a flat list of transistors and capacitors, merged as layout tools merge them. Standard library only.

This reads the *trusted* netlist of a problem: sub-circuits, parameters, `m=`, X cards that stand for sky130 devices, as
glayout writes them and as people write them. Sizes without a unit are micrometres, as in sky130's own netlists.

    circuit = read(text)
    circuit.devices      # [Device(kind="nfet", nets=("out", "in", "vss", "vss"), size={"l": 0.15, "w": 6.0}), ...]
"""
from __future__ import annotations

import ast
import functools
import operator
import re
from dataclasses import dataclass, field

MAX_DEVICES = 20_000


class SpiceError(ValueError):
    "The netlist text cannot be read; the message names the line."


@dataclass
class Device:
    "One device: MOS nets are (drain, gate, source, bulk), capacitor nets are (plate, plate). Sizes in um, um2."
    kind: str  # nfet, pfet, mimcap
    nets: tuple
    size: dict
    names: list = field(default_factory=list)  # instance names, or boxes in a layout, that were merged into it
    boxes: list = field(default_factory=list)

    def describe(self) -> str:
        "What a student reads: `nfet total w=6 l=0.15`."
        return self.kind + "".join(f" {dict(w='total w', l='l', area='area')[key]}={value:.4g}" for key, value in self.size.items())


@dataclass
class Circuit:
    "A flat circuit: devices after merging, and the pins of the top sub-circuit."
    name: str
    pins: tuple
    devices: list


def merge(devices: list) -> list:
    "Devices in parallel become one (widths or areas add up), as `combine_devices` does; the order of the first stays."
    found: dict = {}
    for d in devices:
        if d.kind == "mimcap":
            key = (d.kind, tuple(sorted(map(str, d.nets))))
        else:
            drain, gate, source, bulk = d.nets
            key = (d.kind, tuple(sorted((str(drain), str(source)))), gate, bulk, round(d.size["l"], 3))
        other = found.get(key)
        if other is None:
            found[key] = Device(d.kind, d.nets, dict(d.size), list(d.names), list(d.boxes))
            continue
        for name in ("area",) if d.kind == "mimcap" else ("w",):
            other.size[name] += d.size[name]
        other.names += d.names
        other.boxes += d.boxes
    return list(found.values())


@functools.lru_cache(maxsize=4096)
def read(text: str) -> Circuit:
    "The top sub-circuit of a netlist, flat and merged. Raises SpiceError naming the line that cannot be read."
    subs, order, globals_, params = {}, [], set(), {}
    current = None
    for number, line in _lines(text):
        words = _words(line)
        card = words[0]
        if card == ".subckt":
            if len(words) < 2:
                raise SpiceError(f"netlist line {number}: .subckt without a name")
            if current is not None:
                raise SpiceError(f"netlist line {number}: .subckt inside .subckt {current['name']}")
            nodes, values = _split(words[2:], number)
            current = {"name": words[1], "pins": nodes, "params": values, "cards": []}
            if words[1] not in subs:
                order.append(words[1])
            subs[words[1]] = current
        elif card == ".ends":
            current = None
        elif card == ".global":
            globals_.update(words[1:])
        elif card == ".param":
            params.update(_split(words[1:], number)[1])
        elif card == ".end":
            break
        elif card[0] == ".":
            continue
        elif current is None:
            raise SpiceError(f"netlist line {number}: a device outside any .subckt: {line.strip()[:80]}")
        elif card[0] in "xmc":
            nodes, values = _split(words[1:], number)
            current["cards"].append((number, card, nodes, values))
        else:
            raise SpiceError(f"netlist line {number}: cards starting with {card[0]!r} are not understood (X, M and C are)")
    if not order:
        raise SpiceError("the netlist has no .subckt")
    used = {nodes[-1] for sub in subs.values() for _, _, nodes, _ in sub["cards"] if nodes}
    tops = [name for name in order if name not in used] or order
    top = subs[tops[-1]]
    devices: list = []
    names = {pin: pin for pin in top["pins"]}
    if "dum" in names and "b" in names:
        names["dum"] = "b"  # glayout's single transistors: the layout ties dummies to the bulk
    _flatten(top, names, dict(params), "", 1.0, subs, globals_, devices, ())
    return Circuit(top["name"], tuple(top["pins"]), merge(devices))


def _lines(text: str):
    "(number, logical line) in lower case: comments dropped, continuations joined."
    joined: list = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.split(r"[;$]", raw, maxsplit=1)[0].strip().lower()
        if not line or line[0] == "*":
            continue
        if line[0] == "+" and joined:
            joined[-1][1] += " " + line[1:]
        else:
            joined.append([number, line])
    return joined


def _words(line: str) -> list:
    line = re.sub(r"\s*=\s*", "=", line)
    return re.findall(r"(?:[^\s{}'()]|\{[^}]*\}|'[^']*')+", line)


def _split(words: list, number: int) -> tuple:
    "Words into nodes (and model) and the name=value pairs that follow."
    nodes, values = [], {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            if not name or not value:
                raise SpiceError(f"netlist line {number}: cannot read {word!r}")
            values[name] = value
        elif name != "params:":
            nodes.append(word)
    return nodes, values


_UNITS = {"t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(meg|[tgkmunpf])?[a-z]*$")
_OPS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def _value(text, params: dict, number: int) -> float:
    "A number, a parameter's name, or arithmetic of both in braces or quotes."
    text = str(text).strip("{}' ")
    found = _NUMBER.match(text)
    if found:
        return float(found[1]) * _UNITS.get(found[2], 1.0)
    try:
        return _evaluate(ast.parse(text, mode="eval").body, params, number)
    except (SyntaxError, KeyError, TypeError, ZeroDivisionError, RecursionError) as e:
        raise SpiceError(f"netlist line {number}: cannot read the value {text!r}") from e


def _evaluate(node, params, number):
    if isinstance(node, ast.Constant):
        return float(node.value)
    if isinstance(node, ast.Name):
        return _value(params[node.id], {key: value for key, value in params.items() if key != node.id}, number)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _evaluate(node.operand, params, number)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _OPS[type(node.op)](_evaluate(node.left, params, number), _evaluate(node.right, params, number))
    raise TypeError


def _um(value: float) -> float:
    "A length in um: sky130 writes plain micrometres; a value below 1e-3 was written in metres."
    return value * 1e6 if 0 < abs(value) < 1e-3 else value


def kind_of(model: str):
    "Which device a model name stands for, or None."
    for word, kind in (("nfet", "nfet"), ("pfet", "pfet"), ("nmos", "nfet"), ("pmos", "pfet"), ("cap_mim", "mimcap"),
                       ("mimcap", "mimcap")):
        if word in model:
            return kind
    return None


def _flatten(sub, names, params, path, times, subs, globals_, devices, above) -> None:
    if sub["name"] in above:
        raise SpiceError(f"sub-circuit {sub['name']} contains itself")
    scope = {**params, **{key: value for key, value in sub["params"].items() if key not in params or not above}}

    def net(node):
        if node in names:
            return names[node]
        return node if node in globals_ or node == "0" else path + node

    for number, card, nodes, values in sub["cards"]:
        if not nodes:
            raise SpiceError(f"netlist line {number}: {card} has no nodes")
        *wires, model = nodes
        count = times * _value(values.get("m", values.get("mult", 1)), scope, number)
        if card[0] == "x" and model in subs:
            child = subs[model]
            if len(wires) != len(child["pins"]):
                raise SpiceError(f"netlist line {number}: {card} gives {len(wires)} nodes to {model}, which has "
                                 f"{len(child['pins'])}")
            given = {key: repr(_value(value, scope, number)) for key, value in values.items() if key not in ("m", "mult")}
            inner = {**child["params"], **given}
            inner.pop("m", None)
            _flatten({**child, "params": {}}, dict(zip(child["pins"], map(net, wires))), {**params, **inner},
                     f"{path}{card}.", count, subs, globals_, devices, (*above, sub["name"]))
            continue
        kind = kind_of(model)
        if kind is None:
            raise SpiceError(f"netlist line {number}: {model!r} is neither a sub-circuit of this netlist nor a known device "
                             "(nfet, pfet, cap_mim)")
        if len(wires) != (2 if kind == "mimcap" else 4):
            raise SpiceError(f"netlist line {number}: {card} has {len(wires)} nodes; {kind} has "
                             f"{2 if kind == 'mimcap' else 4}")
        for key in ("w", "l"):
            if key not in values:
                raise SpiceError(f"netlist line {number}: {card} has no {key}=")
        w, l = (_um(_value(values[key], scope, number)) for key in ("w", "l"))
        size = {"area": w * l * count} if kind == "mimcap" else {"w": w * count, "l": l}
        devices.append(Device(kind, tuple(map(net, wires)), size, [path + card]))
        if len(devices) > MAX_DEVICES:
            raise SpiceError(f"the netlist has more than {MAX_DEVICES} devices")
