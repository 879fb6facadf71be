"""The candidate's side of a code problem: it holds the program and, call by call, arguments. Nothing else.

The judge (judge.py) sends requests over descriptor 3; this module answers them inside the hardened child.
Whatever the program does to this module it does to its own answers only.
"""
import builtins
import importlib
import io
import itertools
import json
import os
import sys
import types

from . import codec, wire
from .zygote import DATA, explain, flush

# Imported before the fork. Each megabyte and each shared library is paid for at every fork, so: the common modules,
# and the compiled parts of others (a child can load no library); their pure parts wait on the shelf (shelf.py).
STDLIB = """abc ast bisect collections collections.abc contextlib copy dataclasses datetime decimal enum fractions functools heapq
itertools json math numbers operator random re statistics string time types typing unicodedata cmath calendar locale _strptime
array zlib binascii _struct _pickle _csv _socket select fcntl resource mmap ctypes _posixsubprocess _md5 _sha1 _sha256 _sha512 _sha2
_contextvars _opcode encodings.idna encodings.latin_1 encodings.ascii traceback linecache warnings signal threading""".split()


def prepare():
    "Import what programs import; numpy too where this zygote is the one for it."
    for name in STDLIB + (["numpy", "numpy.random", "numpy.linalg", "numpy.fft"] if os.environ.get("SANDBOX_NUMPY") else []):
        try: importlib.import_module(name)
        except Exception: pass
    from .shelf import Shelf
    Shelf().fill()
    sys.setrecursionlimit(1000)


class _Callback:
    "A function or iterator of the test, called from inside the program (a lambda given as an argument, ...)."

    def __init__(self, number): self._number = number
    def __call__(self, *args, **kw): return _ask("call", self._number, args, kw)
    def __iter__(self): return self

    def __next__(self):
        found, value = _ask("next", self._number, (), {})
        if not found: raise StopIteration
        return value


_objects, _numbers = [], {}


def _number(x):
    if type(x) is _Callback: return x._number
    plain = codec.as_builtin(x)
    if plain is not x and not isinstance(x, type): return None
    return _keep(x)


def _keep(x):
    n = _numbers.get(id(x))
    if n is None:
        n = _numbers[id(x)] = len(_objects)
        _objects.append(x)
    return n


def _resolve(n):
    return _objects[n] if n >= 0 else _Callback(n)


def _encode(x): return codec.encode(x, _number)
def _decode(b): return codec.decode(b, _resolve)


def _ask(op, number, args, kw):
    "Ask the judge to call one of its own functions; re-raises what that raised."
    wire.send(DATA, b"K", _encode((op, number, tuple(args), kw)))
    kind, body = wire.recv(DATA, 1 << 30)
    ok, value = _decode(body)
    if ok: return value
    raise getattr(builtins, value[0], RuntimeError)(*value[1])


def _failure(e):
    "What crosses of an exception: its nearest built-in class, plain arguments, status and last lines."
    status, reason, text = explain(e)
    name = next((c.__name__ for c in type(e).__mro__ if getattr(builtins, c.__name__, None) is c), "Exception")
    try: args = tuple(a if type(a) in (str, int, float, bool, type(None), bytes) else str(a) for a in e.args)
    except Exception: args = ()
    return ("raise", name, type(e).__name__, args, status, text)


_MUTABLE = (list, dict, set, bytearray, tuple)


def _serve(space, request, body=b""):
    op, *args = request
    if op == "call" or op == "make":
        f, args, kw = args
        value = f(*args, **kw)
        changed = []
        if any(type(a) in _MUTABLE for a in args) and _encode((op, f, args, kw)) != body:      # it did something to its arguments
            changed = [(i, a) for i, a in enumerate(args) if type(a) in _MUTABLE]
        if op == "make": return ("object", _keep(value), changed)
        return ("ok", value, changed)
    if op == "get": return ("ok", getattr(args[0], args[1]), [])
    if op == "bind":
        found = {}
        for name in args[0]:
            if name in space:
                x = space[name]
                if isinstance(x, types.ModuleType): found[name] = ("module", x.__name__)
                elif callable(x):
                    own = getattr(x, "__module__", None)
                    found[name] = ("std" if own != space["__name__"] else "class" if isinstance(x, type) else "callable", _Raw(_keep(x)))
                else: found[name] = ("value", x)
        return ("ok", {k: (a, b.n if type(b) is _Raw else b) for k, (a, b) in found.items()}, [])
    if op == "set": setattr(*args); return ("ok", None, [])
    if op == "item": return ("ok", args[0][args[1]], [])
    if op == "setitem": args[0][args[1]] = args[2]; return ("ok", None, [])
    if op == "len": return ("ok", len(args[0]), [])
    if op == "contains": return ("ok", args[1] in args[0], [])
    if op == "iter": return ("object", _keep(iter(args[0])), [])
    if op == "next":
        for x in args[0]: return ("ok", (True, x), [])
        return ("ok", (False, None), [])
    if op == "str": return ("ok", str(args[0]), [])
    if op == "repr": return ("ok", repr(args[0]), [])
    if op == "isinstance": return ("ok", isinstance(args[0], args[1]), [])
    if op == "data":
        plain = codec.as_builtin(args[0])
        return ("ok", (plain is not args[0], plain if plain is not args[0] else None), [])
    if op == "assert":
        exec(compile(args[0], "<test>", "exec"), space)
        return ("ok", True, [])
    raise ValueError(f"unknown request {op}")


class _Raw:
    def __init__(self, n): self.n = n


def run(payload):
    "Load the program, then answer requests until the judge ends this process. A stdin program runs once."
    job = json.loads(payload)
    name = "__main__" if job.get("main") else "candidate"
    module = types.ModuleType(name)
    space = module.__dict__
    sys.modules[name] = module
    sys.argv = ["program.py"]
    if job.get("main"):
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
        code = compile(job["code"], "<program>", "exec", dont_inherit=True)
        try: exec(code, space)
        except SystemExit as e:
            if e.code not in (None, 0): raise
        return b""
    for part in job.get("setup") or (): exec(compile(part, "<setup>", "exec", dont_inherit=True), space)
    code = compile(job["code"], "<program>", "exec", dont_inherit=True)
    exec(code, space)
    flush()
    wire.send(DATA, b"V", _encode(_serve(space, ("bind", job.get("names") or []))))
    while True:
        kind, body = wire.recv(DATA, 1 << 31)
        try:
            try: answer = _serve(space, _decode(body), body)
            except BaseException as e: answer = _failure(e)
            try: data = _encode(answer)
            except codec.NotPlain as e: data = _encode(("unplain", str(e)))
            except RecursionError: data = _encode(("unplain", "nested too deep"))
        except MemoryError as e: data = _encode(_failure(e))
        flush()
        wire.send(DATA, b"V", data)
