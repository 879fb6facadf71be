"""What runs inside a builder: one candidate program in, the bytes of its layout out. Layout interpreter only.

`prepare()` runs once in the warm process (imports glayout, builds one cell to warm its caches); `run(payload)` runs in
the hardened child, once, and the child ends after it. Nothing here is trusted by anybody: the reply is a GDS file that
the judge reads as data, or a message that only costs the candidate that wrote it.

Reply: b"G" + GDS bytes, or b"E" + JSON {"status", "message"}; status is syntax_error, runtime_error, memory or refused.
"""
import gc
import importlib
import json
import os
import signal
import struct
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if _ROOT in sys.path:  # behind this interpreter's own packages: an installed grpo_lab has the training stack's beside it
    sys.path.remove(_ROOT)
    sys.path.append(_ROOT)

FILENAME = "program.py"
MODULES = ("abc cmath collections contextlib copy dataclasses datetime decimal enum fractions functools heapq io itertools json "
           "math operator os pathlib pprint random re statistics string textwrap time traceback typing warnings").split()
DBU = 0.005  # um; what glayout's sky130 writes (precision 5 nm)


def prepare() -> None:
    "Import glayout with the fast patches and warm it up, in the process that children are forked from."
    from grpo_lab.layout import fast
    fast.load()
    from glayout import mimcap_array, nmos, pmos, sky130
    from glayout.cells import current_mirror
    nmos(sky130, width=1, multipliers=2)  # what these remember, every child finds ready
    pmos(sky130, width=1, fingers=2)
    mimcap_array(sky130, 1, 2)
    current_mirror(sky130, numcols=1)
    for name in MODULES:  # a child can open no file, so it can import nothing that is not here already
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # a child lives for a second: do not spend half of it collecting


WARM_PARTS = 48  # parts remembered by one builder, some 5 MB each
WARM_SECONDS = 5.0  # the longest that one part may take to build
_warmed: dict = {}  # call, as text -> what it added to fast.remembered_parts; least recently asked for first


def warm(hint) -> bool:
    """Build, before the fork, the parts that a program is going to ask for; true when something was built.

    `hint` is what grpo_lab.layout.parts.parts found: names of glayout's own parts and the literal arguments. Everything is
    checked again here. What is built is only remembered (fast._memo); programs of one group, and of one run, ask for
    the same few transistors again and again, and each child used to build them anew.
    """
    from grpo_lab.layout import fast
    from grpo_lab.layout.parts import checked
    import glayout
    from glayout import sky130
    built = False
    for name, args, keywords in checked(hint):
        call = json.dumps([name, args, keywords])
        if call in _warmed:
            _warmed[call] = _warmed.pop(call)
            continue
        built = True
        before = {n: set(known) for n, known in fast.remembered_parts.items()}
        previous = signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, WARM_SECONDS)
        try:
            getattr(glayout, name)(sky130, *args, **keywords)
        except Exception:  # arguments that glayout refuses: the program will hear of it in its own child
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        new = [(n, key) for n, known in fast.remembered_parts.items() for key in set(known) - before[n]]
        _warmed[call] = [(n, key) for n, key in new if n == name]
        _forget((n, key) for n, key in new if n != name)  # what it is made of is many times its size
        while len(_warmed) > WARM_PARTS:
            _forget(_warmed.pop(next(iter(_warmed))))
    if built:
        gc.collect()
    return built


def _forget(entries) -> None:
    from grpo_lab.layout import fast
    for name, key in entries:
        fast.remembered_parts[name].pop(key, None)


def _too_long(*_):
    raise TimeoutError("a part took too long to build")


def run(payload: bytes) -> bytes:
    "Run one program and return its `component` as GDS, or why there is none."
    code = payload.decode("utf-8", "replace")
    try:
        compiled = compile(code, FILENAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as e:
        where = f" (line {e.lineno})" if getattr(e, "lineno", None) else ""
        return _error("syntax_error", f"{type(e).__name__}: {getattr(e, 'msg', None) or e}{where}")
    except (RecursionError, MemoryError):
        return _error("syntax_error", "SyntaxError: the program is nested too deeply to be read")
    scope = {"__name__": "__main__", "__file__": FILENAME, "__builtins__": __builtins__}
    try:
        exec(compiled, scope)
    except MemoryError:
        scope.clear()
        return _error("memory", "MemoryError: the program needs more memory than it may have")
    except SystemExit as e:
        return _error("runtime_error", f"SystemExit: the program ended itself with exit({e.code!r})")
    except BaseException as e:
        text = _explain(e, code)
        refused = isinstance(e, PermissionError) or (type(e) is RuntimeError and "can't start new thread" in text)
        if refused:
            text += "\nprograms have no files, network, processes or threads here: only glayout"
        return _error("refused" if refused else "runtime_error", text)
    from gdsfactory.component import Component
    from gdsfactory.component_reference import ComponentReference
    component = scope.get("component", scope)
    if component is scope:
        return _error("runtime_error", "NameError: the program leaves no variable named `component`")
    if isinstance(component, ComponentReference):
        holder = Component()
        holder.add(component)
        component = holder
    if not isinstance(component, Component):
        return _error("runtime_error", f"TypeError: `component` is {_article(type(component).__name__)}, not a glayout Component")
    try:
        return b"G" + gds_bytes(component._cell)
    except MemoryError:
        return _error("memory", "MemoryError: the layout needs more memory than it may have")
    except Exception as e:
        return _error("runtime_error", f"{type(e).__name__}: the component could not be written: {str(e)[:300]}")


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _error(status: str, message: str) -> bytes:
    return b"E" + json.dumps({"status": status, "message": message[:4000]}).encode()


def _explain(error: BaseException, code: str) -> str:
    "The last lines of the traceback with the line of the program it passed through: what a student needs, no more."
    frame, line = error.__traceback__, None
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == FILENAME:
            line = frame.tb_lineno
        frame = frame.tb_next
    try:
        text = f"{type(error).__name__}: {str(error)[:1500]}"
    except BaseException:  # a program may raise what cannot be shown
        text = type(error).__name__
    if line is None:
        return text
    lines = code.splitlines()
    source = lines[line - 1].strip()[:200] if 0 < line <= len(lines) else ""
    return f"line {line}: {source}\n{text}"


# ---- GDS, written here because a hardened child may not open files -----------------------------------------------------

def gds_bytes(top) -> bytes:
    "A gdstk cell and everything it refers to, as gdstk's write_gds puts it: same rounding, every cell a name of its own."
    import numpy as np
    scale = 1 / DBU

    def grid(points):  # to database units, halves away from zero as C's lround does
        v = np.asarray(points, dtype=float) * scale
        v = np.copysign(np.floor(np.abs(v) + 0.5), v)
        if not (np.abs(v) < 2**31).all():
            raise ValueError("coordinates beyond the range of GDS (about 10 m)")
        return v.astype(">i4")

    cells, names, stack = [top], {id(top): b"TOP"}, [top]
    while stack:
        for ref in stack.pop().references:
            cell = ref.cell
            if isinstance(cell, str):
                raise ValueError(f"a reference to a cell by name ({cell!r})")
            if id(cell) not in names:
                names[id(cell)] = b"C%d" % len(names)
                cells.append(cell)
                stack.append(cell)
    out = [_record(0x0002, struct.pack(">h", 600)), _record(0x0102, bytes(24)), _record(0x0206, b"L\0"),
           _record(0x0305, _real(DBU) + _real(DBU * 1e-6))]
    for cell in cells:
        out += [_record(0x0502, bytes(24)), _record(0x0606, _even(names[id(cell)]))]
        polygons = list(cell.polygons)
        for path in cell.paths:
            polygons += path.to_polygons()
        for polygon in polygons:
            head = b"\x00\x04\x08\x00\x00\x06\x0d\x02" + struct.pack(">H", polygon.layer & 0xffff) + b"\x00\x06\x0e\x02" + \
                struct.pack(">H", polygon.datatype & 0xffff)
            offsets = [(0.0, 0.0)]
            if polygon.repetition.size:
                offsets = [(float(x), float(y)) for x, y in polygon.repetition.get_offsets()]
            pieces = [polygon] if len(polygon.points) <= 8000 else polygon.fracture(199, DBU / 1000)
            for piece in pieces:
                for dx, dy in offsets:
                    points = grid(piece.points + (dx, dy) if dx or dy else piece.points)
                    xy = np.concatenate([points, points[:1]]).astype(">i4").tobytes()
                    out += [head, struct.pack(">HH", 4 + len(xy), 0x1003), xy, b"\x00\x04\x11\x00"]
        for ref in cell.references:
            head = [b"\x00\x04\x0a\x00", _record(0x1206, _even(names[id(ref.cell)]))]
            if ref.x_reflection or ref.rotation or ref.magnification != 1:
                head.append(_record(0x1a01, b"\x80\x00" if ref.x_reflection else b"\x00\x00"))
                if ref.magnification != 1:
                    head.append(_record(0x1b05, _real(ref.magnification)))
                if ref.rotation:
                    head.append(_record(0x1c05, _real(ref.rotation * (180 / np.pi))))
            offsets = [(0.0, 0.0)]
            if ref.repetition.size:
                offsets = [(float(x), float(y)) for x, y in ref.repetition.get_offsets()]
            for dx, dy in offsets:
                x, y = ref.origin
                out += [*head, _record(0x1003, grid([(x + dx, y + dy)]).tobytes()), b"\x00\x04\x11\x00"]
        out.append(b"\x00\x04\x07\x00")
    out.append(b"\x00\x04\x04\x00")
    return b"".join(out)


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack(">HH", 4 + len(data), kind) + data


def _even(name: bytes) -> bytes:
    return name if len(name) % 2 == 0 else name + b"\0"


def _real(value: float) -> bytes:
    "An eight-byte GDS real: sign, exponent of 16 in excess 64, 56 bits of fraction."
    if value == 0:
        return bytes(8)
    sign, value, exponent = (128 if value < 0 else 0), abs(value), 64
    while value >= 1:
        value /= 16
        exponent += 1
    while value < 1 / 16:
        value *= 16
        exponent -= 1
    return struct.pack(">Q", ((sign | exponent) << 56) | min(round(value * 2**56), 2**56 - 1))


if __name__ == "__main__":  # a look at one program without any sandbox: python -m grpo_lab.layout.guest < program.py
    prepare()
    sys.stdout.buffer.write(run(sys.stdin.buffer.read()))
