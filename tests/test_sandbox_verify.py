"""Judging code problems: plain Python's verdict on every kind of value, nothing else's on hostile ones."""
import ast
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from grpo_lab.records import Verdict
from grpo_lab.sandbox import CodeVerifier, calibrate, codec, reward, strength, verify_code
from grpo_lab.sandbox.judge import names as judge_names

sys.path.insert(0, str(Path(__file__).parent / "sandbox_attacks"))
from runner import children_of  # noqa: E402

LEVEL = strength().level
needs_sandbox = pytest.mark.skipif(LEVEL in ("none", "no-seccomp"), reason=f"no sandbox here: {strength()}")


@pytest.fixture(scope="module")
def v():
    with CodeVerifier(1, strength=LEVEL) as made: yield made


def judge(v, code, *tests, **kw):
    r = v.verify_one(code, list(tests), **{"timeout": 20, **kw})
    Verdict.model_validate(r)
    return r


# ------------------------------------------------------------------ values that cross the wall
plain_leaf = (st.none() | st.booleans() | st.integers() | st.integers(-2**70, 2**70) | st.floats() | st.text() | st.binary(max_size=20)
              | st.complex_numbers() | st.builds(bytearray, st.binary(max_size=5)) | st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 3)))
hashable = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5),
                        lambda s: st.tuples(s, s) | st.frozensets(s, max_size=3), max_leaves=5)
value = st.recursive(plain_leaf, lambda s: st.lists(s, max_size=5) | st.tuples(s, s) | st.dictionaries(hashable, s, max_size=4)
                     | st.sets(hashable, max_size=4) | st.frozensets(hashable, max_size=3), max_leaves=12)


def exact(x):
    "A text that two values share only if they are equal in value and in type, all the way down (-0.0 is not 0.0; sets have no order)."
    if type(x) in (list, tuple): inside = ",".join(map(exact, x))
    elif type(x) is dict: inside = ",".join(exact(k) + ":" + exact(y) for k, y in x.items())
    elif type(x) in (set, frozenset): inside = ",".join(sorted(map(exact, x)))
    else: inside = repr(x)
    return f"{type(x).__name__}({inside})"


@settings(max_examples=150, deadline=None)
@given(value)
def test_codec_returns_what_it_was_given(x): assert exact(codec.decode(codec.encode(x))) == exact(x)


def test_codec_on_the_library_s_own_types():
    import collections, datetime, decimal, fractions, array
    np = pytest.importorskip("numpy")
    for x in (collections.Counter("aab"), collections.OrderedDict([(2, 1), (1, 2)]), collections.deque([1, 2], 3), decimal.Decimal("1.50"),
              fractions.Fraction(2, 3), datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5, 6), datetime.timedelta(1, 2, 3),
              datetime.time(1, 2), array.array("d", [1.5]), int, list, Ellipsis, NotImplemented, list(range(100)), [0.5] * 50, [2**70] * 40, [1, 2.5] * 20):
        y = codec.decode(codec.encode(x))
        assert type(y) is type(x) and y == x
    for x in (np.arange(6).reshape(2, 3), np.float32(1.5), np.array(["a", "bc"]), np.bool_(True), np.zeros((0, 3))):
        y = codec.decode(codec.encode(x))
        assert type(y) is type(x) and y.dtype == x.dtype and np.array_equal(x, y) and np.shape(x) == np.shape(y)
    assert list(codec.decode(codec.encode({1: 2}.keys()))) == [1] and codec.decode(codec.encode({1: 2}.items())) == {1: 2}.items()


def test_codec_sends_the_built_in_value_of_a_subclass_not_its_behaviour():
    class I(int):
        def __eq__(self, o): return True
        __hash__ = int.__hash__
        def __int__(self): return 99
        def __index__(self): return 99
        def __add__(self, o): return 99
    class L(list):
        def __iter__(self): return iter([9])
        def __len__(self): return 0
        def __eq__(self, o): return True
    class S(str):
        def __str__(self): return "lie"
        def encode(self, *a): return b"lie"
    got = codec.decode(codec.encode([I(7), L([1, 2]), S("true")]))
    assert got == [7, [1, 2], "true"] and [type(x) for x in got] == [int, list, str]
    with pytest.raises(codec.NotPlain): codec.encode(object())


def test_codec_caps_depth_and_size():
    deep = []
    for _ in range(5000): deep = [deep]
    with pytest.raises(codec.NotPlain, match="deeper"): codec.encode(deep)
    loop = []; loop.append(loop)
    with pytest.raises(codec.NotPlain): codec.encode(loop)
    bomb = [0, "a"]
    for _ in range(40): bomb = [bomb, bomb]
    with pytest.raises(codec.NotPlain, match="more than"): codec.encode(bomb)
    with pytest.raises(codec.BadData): codec.decode(b"l\0\0\0\1" * 5000 + b"N")
    with pytest.raises(codec.BadData): codec.decode(b"l\xff\xff\xff\xff" + b"N" * 100)
    with pytest.raises(codec.BadData): codec.decode(b"s\xff\xff\xff\xffabc")


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_decoding_noise_never_does_more_than_say_bad_data(data):
    try: codec.decode(data)
    except codec.BadData: pass


@settings(max_examples=250, deadline=None)
@given(value, st.data())
def test_decoding_damaged_messages_never_does_more_than_say_bad_data(x, data):
    raw = bytearray(codec.encode(x))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "tag"]))
        if how == "flip": raw[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut": del raw[at:at + data.draw(st.integers(1, 8))]
        elif how == "tag": raw[at] = data.draw(st.sampled_from(list(b"NTFiIdsltDSZbBcqfEMhx")))
        else: raw[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        if not raw: break
    try: codec.decode(bytes(raw), handle=lambda n: ("handle", n))
    except codec.BadData: pass


def source(x):
    "Python source of a value (repr does not do for inf, nan and a few more)."
    if type(x) is float: return f"float({str(x)!r})"
    if type(x) is complex: return f"complex({source(x.real)}, {source(x.imag)})"
    if type(x) is list: return "[" + ", ".join(map(source, x)) + "]"
    if type(x) is tuple: return "(" + "".join(source(y) + ", " for y in x) + ")"
    if type(x) is dict: return "{" + ", ".join(f"{source(k)}: {source(y)}" for k, y in x.items()) + "}"
    if type(x) is set: return "{" + ", ".join(map(source, x)) + "}" if x else "set()"
    if type(x) is frozenset: return f"frozenset({source(list(x))})"
    return ascii(x)


def says(test, space):
    "Plain Python's verdict on one assert."
    try: exec(test, dict(space)); return True
    except AssertionError: return False


@needs_sandbox
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(pairs=st.lists(st.tuples(value, value, st.sampled_from(["==", "!=", "is not", "identity", "inside", "swap"])), min_size=30, max_size=40))
def test_the_judge_agrees_with_plain_python_on_any_values(v, pairs):
    "f(i) returns value i; the asserts compare it with the right value and with another one. Accepted and refused alike."
    code = "VALUES = [" + ",\n".join(source(a) for a, _, _ in pairs) + "]\ndef f(i): return VALUES[i]\ndef g(x): return x\n"
    space = {}
    exec(code, space)
    tests = []
    for i, (a, b, how) in enumerate(pairs):
        if how == "identity": tests += [f"assert g({source(b)}) == {source(b)}", f"assert g({source(b)}) == {source(a)}"]
        elif how == "inside": tests += [f"assert f({i}) in [{source(b)}, {source(a)}]", f"assert f({i}) in [{source(b)}]"]
        elif how == "swap": tests += [f"assert {source(a)} == f({i})", f"assert [{source(b)}] == [f({i})]"]
        else: tests += [f"assert f({i}) {how} {source(a)}", f"assert type(f({i})) is type({source(b)}) and f({i}) == {source(b)}"]
    plain = [says(t, space) for t in tests]
    right, wrong = [t for t, ok in zip(tests, plain) if ok], [t for t, ok in zip(tests, plain) if not ok]
    for chosen, passed in ((right, len(right)), (wrong, 0)):
        if chosen:
            r = v.verify_one(code, chosen, timeout=60)
            assert r["passed"] == passed and r["status"] == "ok", (r["error_details"][:3], r["log"][-500:])


# ------------------------------------------------------------------ the ways tests are written
GOOD = {
    "generator": ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]", "g = f(2)\nassert next(g) == 0 and next(g) == 1\nassert next(g, 'end') == 'end'"),
    "endless generator": ("def f():\n    n = 0\n    while True:\n        yield n\n        n += 1", "import itertools\nassert list(itertools.islice(f(), 3)) == [0, 1, 2]"),
    "map and filter": ("def f(x): return map(str, x)\ndef g(x): return filter(None, x)", "assert list(f([1, 2])) == ['1', '2']", "assert set(g([0, 1])) == {1}"),
    "exception": ("def f(x):\n    if x < 0: raise ValueError('negative', x)\n    return x",
                  "try:\n    f(-1)\n    assert False\nexcept ValueError as e:\n    assert e.args == ('negative', -1)", "assert f(1) == 1"),
    "own exception class": ("class Bad(KeyError): pass\ndef f(): raise Bad('k')", "try: f()\nexcept KeyError: pass\nelse: assert False"),
    "mutated argument": ("def f(x): x.sort(); x[0] = [9]", "a = [3, 1, 2]\nf(a)\nassert a == [[9], 2, 3]", "a = b = [2, 1]\nf(a)\nassert b == [[9], 2]"),
    "mutated inside": ("def f(d): d['a'].append(1); d['b'] = 2", "inner = []\nd = {'a': inner}\nf(d)\nassert inner == [1] and d == {'a': [1], 'b': 2}"),
    "mutated inside a tuple": ("def f(t): t[1].add(3)", "s = {1}\nf((0, s))\nassert s == {1, 3}"),
    "argument untouched": ("def f(x): return sorted(x)", "a = [2, 1]\nassert f(a) == [1, 2] and a == [2, 1]"),
    "floats": ("def f(x): return x / 3", "import math\nassert math.isclose(f(1), 1 / 3)", "assert abs(f(2) - 0.6667) < 1e-3", "assert round(f(1), 2) == 0.33"),
    "nan": ("def f(): return float('nan')", "assert f() != f()", "import math\nassert math.isnan(f())"),
    "closure": ("def f(n): return lambda x: x + n", "assert f(2)(3) == 5"),
    "function argument": ("def f(g, xs): return [g(x) for x in xs]", "assert f(lambda x: x * 2, [1, 2]) == [2, 4]", "assert f(len, ['ab']) == [2]"),
    "iterator argument": ("def f(it): return sum(it)", "assert f(iter([1, 2])) == 3", "assert f(x for x in (1, 2, 3)) == 6"),
    "keyword arguments": ("def f(a, *b, c=1, **d): return (a, b, c, d)", "assert f(1, 2, c=3, e=4) == (1, (2,), 3, {'e': 4})"),
    "class": ("class Stack:\n    size = 0\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x); return self\n"
              "    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)\n    def __contains__(self, x): return x in self.items\n"
              "    def __repr__(self): return f'Stack({self.items})'\n    def __getitem__(self, i): return self.items[i]",
              "s = Stack()\ns.push(1).push(2)\nassert len(s) == 2 and 1 in s and s[0] == 1 and repr(s) == 'Stack([1, 2])'\nassert s.pop() == 2 and s.items == [1]\ns.size = 5\nassert s.size == 5",
              "assert isinstance(Stack(), Stack)"),
    "objects as arguments": ("class Node:\n    def __init__(self, v): self.v, self.next = v, None\ndef total(n):\n    return n.v + total(n.next) if n else 0",
                             "a = Node(1)\na.next = Node(2)\nassert total(a) == 3 and a.next.v == 2 and total(None) == 0"),
    "class derived from a built-in": ("class Bag(dict):\n    def add(self, k): self[k] = self.get(k, 0) + 1\nclass Point(tuple): pass\ndef f(): return Point((1, 2))",
                                      "b = Bag()\nb.add('x')\nassert b == {'x': 1} and b['x'] == 1", "assert f() == (1, 2)"),
    "named like a built-in": ("def sum(a, b): return a * b", "assert sum(3, 4) == 12"),
    "global value": ("TABLE = {1: 'a'}\ndef f(): return TABLE[1]", "assert TABLE[1] == f() == 'a'"),
    "large": ("def f(n): return list(range(n))\ndef g(s): return len(s)", "assert f(300000)[-1] == 299999", "assert g('x' * 3000000) == 3000000"),
    "big integers": ("def f(n): return 3 ** n", "assert f(20000) == 3 ** 20000"),
    "nested": ("def f(n):\n    x = []\n    for _ in range(n): x = [x]\n    return x", "x = f(100)\nfor _ in range(100): x = x[0]\nassert x == []"),
    "numbers with types": ("def f(): return True, 1, 1.0", "assert [type(x).__name__ for x in f()] == ['bool', 'int', 'float']"),
    "module used by the tests": ("import math\nimport collections\ndef f(x): return math.sqrt(x)", "assert math.isclose(f(4), 2)"),
    "printing": ("def f(x): print('hello', x); return x", "assert f(1) == 1"),
    "recursion": ("def f(n): return 1 if n == 0 else n * f(n - 1)", "assert f(400) > 0"),
    "lazily imported library": ("import ipaddress, graphlib\ndef f(): return str(ipaddress.ip_address('10.0.0.1') + 1)", "assert f() == '10.0.0.2'"),
    "dataclass and typing": ("from dataclasses import dataclass\nfrom typing import List\n@dataclass\nclass P:\n    x: int\ndef f(a: List[int]) -> int: return P(a[0]).x", "assert f([4]) == 4"),
    "annotations from the future": ("from __future__ import annotations\ndef f(x: undefined): return x", "assert f(1) == 1"),
    "main block is not run": ("def f(): return 1\nif __name__ == '__main__': raise SystemExit('main')", "assert f() == 1"),
}


@needs_sandbox
@pytest.mark.parametrize("name", GOOD)
def test_honest_programs_pass_as_in_plain_python(v, name):
    code, *tests = GOOD[name]
    for t in tests: exec(t, {**_run(code)})                # plain Python accepts each of them
    r = judge(v, code, *tests)
    assert (r["status"], r["passed"], r["total"]) == ("ok", len(tests), len(tests)), r


def _run(code):
    import types
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    exec(compile(code, "<program>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


@needs_sandbox
@pytest.mark.parametrize("code,tests,status,rules,passed", [
    ("def f(x): return x", ["assert f(1) == 1", "assert f(1) == 2"], "ok", ["wrong_answer"], 1),
    ("def f(x: return", ["assert f(1) == 1"], "syntax_error", ["syntax"], 0),
    ("def f(x): return 1 / x", ["assert f(0) == 1", "assert f(1) == 1"], "runtime_error", ["exception"], 1),
    ("def f(x): return open('/etc/passwd')", ["assert f(0)"], "refused", ["refused"], 0),
    ("import socket\ns = socket.socket()", ["assert f(0)"], "refused", ["refused"], 0),
    ("def f(x): return bytearray(1 << 40)", ["assert f(0)"], "memory", ["memory"], 0),
    ("def f(x): print('x' * 200000)", ["assert f(0)"], "runtime_error", ["output_flood"], 0),
    ("def g(x): return x", ["assert f(0) == 0"], "runtime_error", ["exception"], 0),
    ("def f(x):\n    if x == 1:\n        import os\n        os._exit(0)\n    return x", ["assert f(1) == 1", "assert f(2) == 2"], "runtime_error", ["exit"], 1),
    ("def f(x):\n    if x == 1:\n        import ctypes\n        ctypes.string_at(1)\n    return x", ["assert f(2) == 2", "assert f(1) == 1", "assert f(3) == 3"], "runtime_error", ["killed"], 2),
])
def test_verdicts_tell_apart(v, code, tests, status, rules, passed):
    r = judge(v, code, *tests, memory_mb=256)
    assert (r["status"], [d["rule"] for d in r["error_details"]], r["passed"]) == (status, rules, passed), r
    assert r["error_details"][0]["description"]


@needs_sandbox
def test_timeout_and_no_code(v):
    r = judge(v, "def f(x):\n    while x: pass\n    return x", "assert f(0) == 0", "assert f(1) == 1", "assert f(0) == 0", timeout=0.5)
    assert (r["status"], r["passed"]) == ("timeout", 1)
    assert judge(v, None, "assert f()")["status"] == "no_code" and judge(v, "  \n", "assert f()")["status"] == "no_code"


@needs_sandbox
def test_tests_that_never_end_or_eat_memory_cost_their_own_program_only(v):
    r = judge(v, "def f(): return 1", "while f(): pass", timeout=1)
    assert r["status"] == "timeout"
    r = judge(v, "def f(): return 10 ** 6", "assert len('x' * f() * 100000) == 0", timeout=20)
    assert r["passed"] == 0
    r = judge(v, "def f(): return 10 ** 7", "assert str(10 ** f()) == 0", "assert f() == 0", timeout=1)      # a loop in C inside the judge
    assert r["passed"] == 0
    assert judge(v, "def f(): return 1", "assert f() == 1")["passed"] == 1


@needs_sandbox
def test_a_killed_judge_is_replaced(v):
    for victim in list(v._all):
        os.kill(victim.proc.pid, signal.SIGKILL)
    assert judge(v, "def f(): return 1", "assert f() == 1")["passed"] == 1
    with CodeVerifier(1, strength=LEVEL) as w:
        threading.Timer(0.5, lambda: [os.kill(j.proc.pid, signal.SIGKILL) for j in list(w._all)]).start()
        assert judge(w, "import time\ntime.sleep(1.5)\ndef f(): return 1", "assert f() == 1")["passed"] == 1


@needs_sandbox
def test_programs_that_read_and_print(v):
    io = [{"stdin": "3\n1 2 3\n", "stdout": "6\n"}, {"stdin": "1\n5", "stdout": "5"}]
    assert judge(v, "n = int(input())\nprint(sum(map(int, input().split())))", *io)["passed"] == 2
    assert judge(v, "import sys\ndata = sys.stdin.read().split()\nsys.stdout.write(str(sum(map(int, data[1:]))))\nsys.exit()", *io)["passed"] == 2
    assert judge(v, "print(sum(map(int, open(0).read().split()[1:])))", *io)["passed"] == 2
    assert judge(v, "import sys, os\nprint(sum(map(int, sys.stdin.buffer.read().split()[1:])))\nprint('note', file=sys.stderr)", *io)["passed"] == 2
    big = [{"stdin": "7 " * 200000, "stdout": "1400000"}]
    assert judge(v, "print(sum(map(int, input().split())))", *big)["passed"] == 1
    r = judge(v, "print(6)", *io)
    assert (r["status"], r["passed"], r["error_details"][0]["rule"]) == ("ok", 1, "wrong_answer")
    assert judge(v, "print(1 / 0)", *io)["status"] == "runtime_error" and judge(v, "print(", *io)["status"] == "syntax_error"
    assert judge(v, "while True: pass", *io, timeout=0.5)["status"] == "timeout"
    assert judge(v, "print(open('/etc/passwd').read())", *io)["status"] == "refused"


# ------------------------------------------------------------------ whose name is it
def test_names_are_taken_from_the_trusted_text_only():
    def names(tests, setup, entry=None): return judge_names([ast.parse(t) for t in [*tests, setup]], entry)
    assert names(["assert f(1) == 2"], "")[0] == {"f"}
    assert names(["assert set(f(1)) == set([2])"], "")[0] == {"f"}
    assert names(["import math\nassert math.isclose(f(1), 2)"], "")[0] == {"f"}
    assert names(["def check(c):\n    for i in range(3): assert c(i) == i\ncheck(g)"], "")[0] == {"g"}
    assert names(["assert helper(f(1)) == 2"], "def helper(x): return x")[0] == {"f"}
    assert "sum" in names(["assert sum(1, 2) == 3"], "")[0]
    assert names(["assert sum(f(1)) == 3"], "", "f")[0] == {"f"}
    assert names(["assert sum(f(1)) == 3"], "", ["f", "sum"])[0] == {"f", "sum"}


@needs_sandbox
def test_the_setup_is_trusted_and_the_entry_point_is_the_program_s(v):
    prompt = "import math\ndef poly(x): return x * x\n\ndef root(y):\n    pass\n"
    good, forged = "def poly(x): return x * x\ndef root(y): return y ** 0.5", "def poly(x): return 2\ndef root(y): return 0"
    tests = ["assert math.fabs(poly(root(2)) - 2) < 1e-6"]
    assert judge(v, good, *tests, setup=prompt, entry_point="root")["passed"] == 1
    assert judge(v, forged, *tests, setup=prompt, entry_point="root")["passed"] == 0
    assert judge(v, "def f(x): return math.sqrt(x)", "assert f(4) == 2", setup="import math")["passed"] == 1
    assert judge(v, "def f(): return KEY", "assert f() == KEY", setup="KEY = 42")["passed"] == 0        # values of the setup stay in the judge


@needs_sandbox
def test_the_program_s_process_holds_no_test(v):
    spy = """
import gc, sys
def f(x):
    seen = []
    for o in gc.get_objects():
        try: text = repr(o) if type(o) in (list, tuple, dict, str) and len(o) < 2000 else ''
        except Exception: text = ''
        if 'KRAM_DETCEPXE' in text[::-1]: seen.append(text)
    frame, names = sys._getframe(1), []
    while frame: names += [k for k, y in frame.f_locals.items() if 'KRAM_DETCEPXE' in repr(y)[::-1]]; frame = frame.f_back
    return len(seen), names
"""
    assert judge(v, spy, "assert f(1) == (0, []), 'EXPECTED_MARK'", setup="SECRET = 'EXPECTED_MARK'")["passed"] == 1


@needs_sandbox
def test_weaker_mode_runs_what_the_judge_cannot_and_says_so(v):
    code = "class P:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o.x\ndef f(): return P(1)"
    test = "assert f() == P(1)"
    assert judge(v, code, test)["passed"] == 0
    r = judge(v, code, test, mode="candidate")
    assert r["passed"] == 1 and r["error_details"][0]["rule"] == "weaker_mode" and "forge" in r["log"]
    assert judge(v, code.replace("P(1)", "P(2)"), test, mode="candidate")["passed"] == 0
    assert calibrate(v, code, [test]) == "candidate" and calibrate(v, "def f(): return 1", ["assert f() == 1"]) == "judge"
    assert calibrate(v, "def f(): return 1", ["assert f() == 2"]) == "broken"


HOSTILE = """
import os, random, struct
rng = random.Random({seed})
def f(x):
    for _ in range(rng.randrange(1, 30)):
        kind = rng.choice([b'V', b'R', b'E', b'K', b'J', bytes([rng.randrange(256)])])
        body = bytes(rng.randrange(256) for _ in range(rng.randrange(40))) if rng.random() < 0.5 else \\
               rng.choice([b't\\0\\0\\0\\3s\\0\\0\\0\\2ok', b't\\0\\0\\0\\4s\\0\\0\\0\\4call', b'h\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff']) + bytes(rng.randrange(30))
        n = rng.choice([len(body), rng.randrange(1 << 32), 0])
        os.write(3, struct.pack('>cI', kind, n) + body)
    return 3
"""


@needs_sandbox
def test_noise_on_the_channel_costs_only_its_own_program(v):
    for seed in range(40):
        r = judge(v, HOSTILE.format(seed=seed), "assert f(lambda x: x) == 2", "assert f(1) == 2", timeout=3)
        assert r["passed"] == 0
    assert judge(v, "def f(): return 1", "assert f() == 1")["passed"] == 1


# ------------------------------------------------------------------ many, once, and how much
@needs_sandbox
def test_batch_is_ordered_counted_and_judged_once_each():
    seen, before = [], children_of(os.getpid())
    with CodeVerifier(2, strength=LEVEL) as w:
        items = [dict(code=f"def f(): return {i % 3}", tests=["assert f() == 1"]) for i in range(9)]
        out = w.verify(items, progress=lambda done, total: seen.append((done, total)))
        assert [r["passed"] for r in out] == [0, 1, 0] * 3 and seen[-1] == (3, 3)
        with pytest.raises(ValueError, match="no tests"): w.verify_one("x = 1", [])
        with pytest.raises(ValueError, match="test 1 is no Python"): w.verify_one("x = 1", ["assert x", "assert ("])
        with pytest.raises(ValueError, match="setup is no Python"): w.verify_one("x = 1", ["assert x"], setup="import")
        with pytest.raises(ValueError, match="timeout"): w.verify_one("x = 1", ["assert x"], timeout=0)
        with pytest.raises(ValueError, match="stdin"): w.verify_one("x = 1", [{"stdin": "a"}])
        with pytest.raises(ValueError, match="mode"): w.verify_one("x = 1", ["assert x"], mode="fast")
        assert len(children_of(os.getpid()) - before) >= 4
    end = time.monotonic() + 5
    while children_of(os.getpid()) - before and time.monotonic() < end: time.sleep(0.05)
    assert children_of(os.getpid()) - before == set()


@needs_sandbox
def test_the_same_program_gets_the_same_verdict_twice(v):
    code = "def f(x): return list({c for c in x})\nimport random\ndef g(): return random.Random(0).random()"
    tests = ["assert f('hello world') == ['x']", "assert f('abc')[0] == 'a'"]
    assert len({json.dumps({k: r for k, r in judge(v, code, *tests).items() if k != "seconds"}) for _ in range(5)}) == 1


@needs_sandbox
def test_verify_code_needs_nothing_else():
    r = verify_code("def f(x): return x + 1", ["assert f(1) == 2"], strength=LEVEL)
    assert (r["status"], r["passed"]) == ("ok", 1)
    Verdict.model_validate(r)


def test_rewards():
    some, none, all_ = {"passed": 1, "total": 4}, {"passed": 0, "total": 4}, {"passed": 4, "total": 4}
    assert [reward(x, "binary") for x in (none, some, all_)] == [0, 0, 1]
    assert [reward(x, "partial") for x in (none, some, all_)] == [0, .25, 1]
    assert [reward(x, "scaled") for x in (none, some, all_)] == [-1, -.5, 1]
    assert reward({"passed": 0, "total": 0}, "binary") == 0
    with pytest.raises(ValueError, match="binary"): reward(some, "best")
