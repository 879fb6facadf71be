"""Plain data across the wall: exact built-in types, a cap on size and on depth, nothing that can carry behaviour.

The candidate's side encodes, the judge's side decodes (and the other way round for arguments). Decoding
builds built-in values from a byte string and never imports, calls or looks up anything the bytes name:
a hostile encoder can at worst send a wrong answer. Objects that are not data cross as a Handle number.
"""
import array
import collections
import datetime
import decimal
import fractions
import struct
import sys

MAX_DEPTH = 200                 # nesting of containers
MAX_NODES = 4_000_000           # values in one message
_B8, _U4, _D, _C = struct.Struct(">q"), struct.Struct(">I"), struct.Struct(">d"), struct.Struct(">dd")
_TYPES = {t.__name__: t for t in (int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset, bool, complex,
                                  range, object, type, type(None))}
_NP_KINDS = "biufcSUmM"


class NotPlain(TypeError):
    "A value that is not plain data (or too large, or nested too deep) was to cross the wall."


class BadData(ValueError):
    "Bytes that are no encoding of ours."


def _np():
    return sys.modules.get("numpy")


def encode(value, handle=None):
    "Bytes of `value`. `handle(obj) -> int | None` gives the number under which an object that is not data crosses."
    out = []
    put = out.append
    left = [MAX_NODES]

    def count(x): return put(_U4.pack(len(x)))

    def blob(tag, b): put(tag); put(_U4.pack(len(b))); put(b)

    def many(tag, items, n, depth):
        put(tag); put(_U4.pack(n))
        left[0] -= n
        if left[0] < 0: raise NotPlain(f"more than {MAX_NODES} values")
        if depth > MAX_DEPTH: raise NotPlain(f"nested deeper than {MAX_DEPTH}")
        for x in items: one(x, depth + 1)

    def integer(x):
        if -(1 << 63) <= x < 1 << 63: put(b"i"); put(_B8.pack(x))
        else: blob(b"I", x.to_bytes(x.bit_length() // 8 + 1, "big", signed=True))

    def extended(name, *parts, depth):
        put(b"x"); put(bytes([len(name)])); put(name.encode())
        put(bytes([len(parts)]))
        for p in parts: one(p, depth + 1)

    def one(x, depth):
        t = type(x)
        if x is None: put(b"N")
        elif t is bool: put(b"T" if x else b"F")
        elif t is int: integer(x)
        elif t is float: put(b"d"); put(_D.pack(x))
        elif t is str: blob(b"s", x.encode("utf-8", "surrogatepass"))
        elif t is list:
            if len(x) > 16:
                kinds = set(map(type, x))
                if kinds == {int}:
                    try: return blob(b"q", _big(array.array("q", x)))
                    except OverflowError: pass
                elif kinds == {float}: return blob(b"f", _big(array.array("d", x)))
            many(b"l", x, len(x), depth)
        elif t is tuple: many(b"t", x, len(x), depth)
        elif t is dict: many(b"D", (y for kv in x.items() for y in kv), 2 * len(x), depth)
        elif t is set: many(b"S", x, len(x), depth)
        elif t is frozenset: many(b"Z", x, len(x), depth)
        elif t is bytes: blob(b"b", x)
        elif t is complex: put(b"c"); put(_C.pack(x.real, x.imag))
        elif t is bytearray: blob(b"B", bytes(x))
        elif t is range: extended("range", x.start, x.stop, x.step, depth=depth)
        elif x is Ellipsis: put(b"E")
        elif x is NotImplemented: put(b"M")
        elif t is type and x in _TYPES.values(): extended("type", x.__name__, depth=depth)
        else: other(x, t, depth)

    def other(x, t, depth):
        C = collections
        if t is C.Counter: return extended("Counter", dict(x), depth=depth)
        if t is C.OrderedDict: return extended("OrderedDict", list(x.items()), depth=depth)
        if t is C.defaultdict: return one({k: v for k, v in x.items()}, depth)
        if t is C.deque: return extended("deque", list(x), x.maxlen, depth=depth)
        if t is decimal.Decimal: return extended("Decimal", str(x), depth=depth)
        if t is fractions.Fraction: return extended("Fraction", x.numerator, x.denominator, depth=depth)
        if t is datetime.datetime and x.tzinfo is None: return extended("datetime", x.year, x.month, x.day, x.hour, x.minute, x.second, x.microsecond, x.fold, depth=depth)
        if t is datetime.date: return extended("date", x.year, x.month, x.day, depth=depth)
        if t is datetime.time and x.tzinfo is None: return extended("time", x.hour, x.minute, x.second, x.microsecond, depth=depth)
        if t is datetime.timedelta: return extended("timedelta", x.days, x.seconds, x.microseconds, depth=depth)
        if t is type({}.keys()): return extended("keys", list(x), depth=depth)
        if t is type({}.values()): return extended("values", list(x), depth=depth)
        if t is type({}.items()): return extended("items", list(x), depth=depth)
        if t is array.array and x.typecode != "u": return extended("array", x.typecode, x.tobytes(), depth=depth)
        np = _np()
        if np is not None:
            if t is np.ndarray and x.dtype.kind in _NP_KINDS:
                return extended("ndarray", x.dtype.str, x.shape, np.ascontiguousarray(x).tobytes(), depth=depth)
            if isinstance(x, np.generic) and x.dtype.kind in _NP_KINDS:
                return extended("npscalar", x.dtype.str, x.tobytes(), depth=depth)
        number = handle(x) if handle is not None else None
        if number is not None:
            put(b"h"); put(_B8.pack(number)); return
        data = as_builtin(x)
        if data is not x: return one(data, depth)
        raise NotPlain(f"{t.__module__}.{t.__qualname__} is not plain data")

    one(value, 0)
    return b"".join(out)


def as_builtin(x):
    "The built-in value inside an instance of a subclass of a built-in; `x` itself when there is none."
    for base, take in ((bool, bool), (int, lambda v: int.__add__(v, 0)), (float, lambda v: float.__add__(v, 0.0)),
                       (str, lambda v: str.encode(v, "utf-8", "surrogatepass").decode("utf-8", "surrogatepass")),
                       (bytes, lambda v: bytes.__getitem__(v, slice(None))), (list, lambda v: list(list.__iter__(v))),
                       (tuple, lambda v: tuple(tuple.__iter__(v))), (dict, lambda v: dict(dict.items(v))),
                       (set, lambda v: set(set.__iter__(v))), (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
                       (complex, lambda v: complex(complex.real.__get__(v), complex.imag.__get__(v)))):
        if issubclass(type(x), base) and type(x) is not base: return take(x)
    return x


def _big(a):
    if sys.byteorder == "little": a.byteswap()
    return a.tobytes()


def _unbig(code, b):
    a = array.array(code)
    a.frombytes(b)
    if sys.byteorder == "little": a.byteswap()
    return a.tolist()


def decode(data, handle=None):
    "The value in `data`; BadData when it is not exactly one value. `handle(int)` builds the stand-in of an object."
    view, pos, left = memoryview(data), 0, MAX_NODES

    def take(n):
        nonlocal pos
        if n > len(view) - pos: raise BadData("cut short")
        pos += n
        return view[pos - n:pos]

    def number(): return _U4.unpack(take(4))[0]

    def some(depth, n=None):
        nonlocal left
        n = number() if n is None else n
        left -= n
        if n > len(view) - pos or left < 0: raise BadData("too many values")
        if depth > MAX_DEPTH: raise BadData("nested too deep")
        return [one(depth + 1) for _ in range(n)]

    def one(depth):
        t = bytes(take(1))
        if t == b"N": return None
        if t == b"T": return True
        if t == b"F": return False
        if t == b"i": return _B8.unpack(take(8))[0]
        if t == b"I": return int.from_bytes(take(number()), "big", signed=True)
        if t == b"d": return _D.unpack(take(8))[0]
        if t == b"s": return str(take(number()), "utf-8", "surrogatepass")
        if t == b"l": return some(depth)
        if t == b"t": return tuple(some(depth))
        if t == b"D":
            items = some(depth)
            if len(items) % 2: raise BadData("odd dict")
            return dict(zip(items[::2], items[1::2]))
        if t == b"S": return set(some(depth))
        if t == b"Z": return frozenset(some(depth))
        if t == b"b": return bytes(take(number()))
        if t == b"B": return bytearray(take(number()))
        if t == b"c": return complex(*_C.unpack(take(16)))
        if t == b"q": return _unbig("q", packed())
        if t == b"f": return _unbig("d", packed())
        if t == b"E": return Ellipsis
        if t == b"M": return NotImplemented
        if t == b"h" and handle is not None: return handle(_B8.unpack(take(8))[0])
        if t == b"x":
            name = str(take(take(1)[0]), "ascii")
            if name not in _EXTENDED or depth > MAX_DEPTH: raise BadData(f"unknown type {name}")
            return _EXTENDED[name](*[one(depth + 1) for _ in range(take(1)[0])])
        raise BadData(f"unknown tag {t!r}")

    def packed():
        nonlocal left
        n = number()
        left -= n // 8
        if left < 0: raise BadData("too many values")
        return take(n)

    try:
        value = one(0)
    except BadData: raise
    except (ValueError, TypeError, OverflowError, ArithmeticError, LookupError, struct.error, RecursionError, UnicodeError) as e:
        raise BadData(f"malformed: {type(e).__name__}") from None
    if pos != len(view): raise BadData("bytes left over")
    return value


def _want(x, *types):
    if type(x) not in types: raise BadData("wrong type inside")
    return x


def _dtype(np, code):
    code = _want(code, str)
    if len(code) > 24: raise BadData("odd dtype")
    d = np.dtype(code)
    if d.kind not in _NP_KINDS or d.hasobject: raise BadData("odd dtype")
    return d


def _ndarray(code, shape, raw):
    import numpy as np
    for n in _want(shape, tuple): _want(n, int)
    return np.frombuffer(_want(raw, bytes), dtype=_dtype(np, code)).reshape(shape).copy()


def _npscalar(code, raw):
    import numpy as np
    a = np.frombuffer(_want(raw, bytes), dtype=_dtype(np, code))
    if a.shape != (1,): raise BadData("not one scalar")
    return a[0]


def _decimal(s):
    if len(_want(s, str)) > 10_000: raise BadData("long Decimal")
    return decimal.Decimal(s)


def _fraction(n, d): return fractions.Fraction(_want(n, int), _want(d, int))


def _array(code, raw):
    if _want(code, str) not in tuple("bBhHiIlLqQfd"): raise BadData("odd array")
    return array.array(code, _want(raw, bytes))


def _ints(make):
    def build(*parts): return make(*[_want(p, int) for p in parts])
    return build


def _pairs(x): return [(k, v) for k, v in _want(x, list)]


_EXTENDED = {
    "range": lambda a, b, c: range(*[_want(p, int) for p in (a, b, c)]),
    "type": lambda name: _TYPES[_want(name, str)],
    "Counter": lambda d: collections.Counter(_want(d, dict)),
    "OrderedDict": lambda items: collections.OrderedDict(_pairs(items)),
    "deque": lambda items, n: collections.deque(_want(items, list), _want(n, int, type(None))),
    "Decimal": _decimal, "Fraction": _fraction,
    "datetime": lambda *p: datetime.datetime(*[_want(x, int) for x in p[:7]], fold=_want(p[7], int)),
    "date": _ints(datetime.date), "time": _ints(datetime.time),
    "timedelta": _ints(datetime.timedelta),
    "keys": lambda x: dict.fromkeys(_want(x, list)).keys(),
    "values": lambda x: dict(enumerate(_want(x, list))).values(),
    "items": lambda x: dict(_pairs(x)).items(),
    "ndarray": _ndarray, "npscalar": _npscalar, "array": _array,
}
