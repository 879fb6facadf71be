"""Which parts of glayout a program asks for with plain literal arguments, so that a builder can have them ready.

Used on both sides: the service reads them off a program's syntax tree (the program is not run), the builder checks them again
before it calls anything. Only what stands in the tables below is ever called, with numbers in the ranges given there.
"""
import ast

PARTS = ("nmos", "pmos", "mimcap_array")
NUMBERS = {"width": (0.1, 20), "length": (0.1, 4), "fingers": (1, 12), "multipliers": (1, 4), "rows": (1, 6), "columns": (1, 6),
           "sd_rmult": (1, 4), "gate_rmult": (1, 4), "interfinger_rmult": (1, 4)}
FLAGS = ("with_dummy", "with_tie", "with_substrate_tap", "with_dnwell", "dnwell")
LONGEST = 8000  # characters of a program that is looked at


def parts(code: str) -> list:
    "[name, args, keywords] of each call of a part with literal arguments, each once; [] for what cannot be read."
    if len(code) > LONGEST:
        return []
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PARTS and node.args):
            continue
        pdk, *args = node.args
        literal = [a.value if isinstance(a, ast.Constant) else None for a in args]
        keywords = {k.arg: k.value.value if isinstance(k.value, ast.Constant) else None for k in node.keywords}
        if isinstance(pdk, ast.Name) and pdk.id == "sky130" and None not in keywords:
            found += [c for c in checked([[node.func.id, literal, keywords]]) if c not in found]
    return found


def checked(calls) -> list:
    "Those of the calls that may be made."
    good = []
    for call in calls if isinstance(calls, list) else ():
        try:
            name, args, keywords = call
            fine = (name in PARTS and isinstance(args, list) and isinstance(keywords, dict) and len(args) <= 3 and len(keywords) <= 8
                    and all(_number(v, 0.1, 20) for v in args) and all(_keyword(k, v) for k, v in keywords.items()))
        except (TypeError, ValueError):
            continue
        if fine:
            good.append([name, args, keywords])
    return good


def _number(value, low, high) -> bool:
    return type(value) in (int, float) and low <= value <= high


def _keyword(name, value) -> bool:
    return _number(value, *NUMBERS[name]) if name in NUMBERS else name in FLAGS and type(value) is bool
