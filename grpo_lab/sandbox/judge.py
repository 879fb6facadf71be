"""The judge: holds tests and expected values, never runs the candidate's program.

It is a process of its own (see verify.py for the side that starts it). In the tests, each name that the
program must supply is a stand-in: calling it sends the arguments to the candidate's process and gets plain
data back, and the comparison happens here. What the program overrides, prints, returns or exits with can
change its answers, never the judgement of them.
"""
import ast
import builtins
import functools
import gc
import importlib
import itertools
import json
import os
import random
import re
import resource
import signal
import sys
import time
import traceback

from . import codec, wire
from .pool import STARVED, Limits, Pool
from .zygote import kernel, vmsize

MODULES = {"math": "math", "cmath": "cmath", "np": "numpy", "numpy": "numpy", "re": "re", "random": "random", "itertools": "itertools",
           "collections": "collections", "functools": "functools", "operator": "operator", "string": "string", "json": "json",
           "heapq": "heapq", "bisect": "bisect", "datetime": "datetime", "decimal": "decimal", "fractions": "fractions",
           "statistics": "statistics", "copy": "copy", "typing": "typing", "sys": "sys", "time": "time", "types": "types",
           "inspect": "inspect", "hashlib": "hashlib", "calendar": "calendar", "array": "array", "struct": "struct"}
# names that tests may use without importing them, when the program imported them (from x import *)
NAMES = {"Counter": "collections", "defaultdict": "collections", "OrderedDict": "collections", "deque": "collections",
         "namedtuple": "collections", "Decimal": "decimal", "Fraction": "fractions", "reduce": "functools", "isclose": "math",
         "sqrt": "math", "pi": "math", "combinations": "itertools", "permutations": "itertools", "product": "itertools",
         "date": "datetime", "timedelta": "datetime", "array": "array"}
METHODS = frozenset(itertools.chain.from_iterable(dir(t) for t in (list, str, dict, set, tuple, int, float, bytes, complex, frozenset)))
MAX_CALLBACKS, MAX_RESTARTS = 50, 8
_NUMPY = re.compile(r"\b(numpy|pandas|scipy|sklearn)\b")
WEAKER = "weaker mode: the tests ran in the program's own process, where a hostile program can forge them"


class Gone(BaseException):
    "The candidate's process is over (the job's last frame or reason is kept); tests cannot swallow this."


class Slow(BaseException):
    "The time is up while the judge itself was busy."


class ProgramError(Exception):
    "An exception of the program that has no built-in counterpart."


class Unsupported(TypeError):
    "The test does something with a candidate's object that the judge will not let it do."


# ------------------------------------------------------------------ stand-ins
class Handle:
    "An object that lives in the candidate's process: a result that is no plain data, or an instance a test made."
    __slots__ = ("_r", "_n", "_full")

    def __init__(self, remote, number, full):
        for k, v in (("_r", remote), ("_n", number), ("_full", full)): object.__setattr__(self, k, v)

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__") and name not in ("__name__", "__doc__", "__dict__"): raise AttributeError(name)
        if not self._full and name in METHODS:
            raise Unsupported(f"the program returned an object of its own; the test's .{name} is not trusted to it")
        value = self._r.ask("get", self, name)
        if type(value) is Handle: object.__setattr__(value, "_full", self._full)
        return value

    def __setattr__(self, name, value): self._r.ask("set", self, name, value)
    def __call__(self, *args, **kw): return self._r.call(self, args, kw)
    def __getitem__(self, key): return self._r.ask("item", self, key)
    def __setitem__(self, key, value): self._r.ask("setitem", self, key, value)

    def __len__(self):
        n = self._r.ask("len", self)
        if type(n) is not int or n < 0: raise TypeError("no length")
        return n

    def __contains__(self, x):
        if self._full: return self._r.ask("contains", self, x) is True
        return any(x == y for y in self)

    def __iter__(self): return self._r.ask("iter", self)

    def __next__(self):
        answer = self._r.ask("next", self)
        if type(answer) is not tuple or len(answer) != 2: raise ProgramError("odd answer")
        if not answer[0]: raise StopIteration
        return answer[1]

    def __bool__(self): return True

    def __eq__(self, other):
        if type(other) is Handle: return other._n == self._n and other._r is self._r
        if type(other) in (int, float, str, bytes, list, tuple, dict, set, frozenset, bool, complex):
            answer = self._r.ask("data", self)                     # what it holds, if it is built on a built-in type
            if type(answer) is tuple and len(answer) == 2 and answer[0] is True and type(answer[1]) is not Handle: return answer[1] == other
        return False

    def __hash__(self): return hash(self._n)
    def __str__(self): return self._text("str")
    def __repr__(self): return self._text("repr")

    def _text(self, op):
        s = self._r.ask(op, self)
        if type(s) is not str: raise TypeError("no string")
        return s

    def __instancecheck__(self, x):
        return type(x) is Handle and self._r.ask("isinstance", x, self) is True


class Function:
    "A name of the program, as the tests see it."
    def __init__(self, remote, name, number, makes):
        self._remote, self._name, self._makes, self._handle = remote, name, makes, Handle(remote, number, makes)
        self.__name__ = self.__qualname__ = name

    def __call__(self, *args, **kw): return self._remote.call(self._handle, args, kw, self._name, self._makes)
    def __getattr__(self, name): return getattr(self._handle, name)
    def __instancecheck__(self, x): return self._handle.__instancecheck__(x)


class Remote:
    "The conversation with one candidate's process."

    def __init__(self, job):
        self.job, self.over, self.last, self.failure = job, None, None, None
        self.own, self.own_ids, self.depth = [], {}, 0

    # --- values
    def _number(self, x):
        if type(x) is Handle and x._r is self: return x._n
        if type(x) is Function: return x._handle._n
        if callable(x) and not isinstance(x, type) or hasattr(x, "__next__"):
            n = self.own_ids.get(id(x))
            if n is None:
                self.own.append(x)
                n = self.own_ids[id(x)] = -len(self.own)
            return n
        return None

    def _stand_in(self, n):
        if n >= 0: return Handle(self, n, False)
        if -n > len(self.own): raise codec.BadData("no such object")
        return self.own[-n - 1]

    def encode(self, x):
        try: return codec.encode(x, self._number)
        except codec.NotPlain as e: raise Unsupported(f"an argument of the test cannot be sent to the program: {e}") from None

    # --- requests
    def _receive(self):
        kind, body = self.job.recv()
        if kind is None or kind == b"E":
            self.over = (kind, body)
            raise Gone()
        return kind, body

    def request(self, op, *args):
        if self.over: raise Gone()
        if op is not None: self.job.send(b"C", self.encode((op,) + args))
        while True:
            kind, body = self._receive()
            try:
                if kind == b"K": self._callback(*codec.decode(body, self._stand_in)); continue
                if kind != b"V": raise codec.BadData("odd message")
                answer = codec.decode(body, self._stand_in)
                if type(answer) is not tuple or not answer: raise codec.BadData("odd answer")
                return answer
            except (codec.BadData, TypeError, ValueError) as e:
                self.over = (None, "protocol")
                raise Gone() from None

    def _callback(self, op, number, args, kw):
        "The program calls a function of the test."
        self.depth += 1
        try:
            if self.depth > MAX_CALLBACKS: raise RecursionError("functions of the test call back too deep")
            if type(number) is not int or not -len(self.own) <= number < 0: raise codec.BadData("no such object")
            f = self.own[-number - 1]
            if op == "call" and callable(f): value = f(*args, **kw)
            elif op == "next" and hasattr(f, "__next__"):
                value = next(((True, x) for x in f), (False, None))
            else: raise codec.BadData("odd callback")
            data = self.encode((True, value))
        except Exception as e:
            name = next(c.__name__ for c in type(e).__mro__ if getattr(builtins, c.__name__, None) is c)
            data = self.encode((False, (name, [a for a in e.args if type(a) in (str, int, float)])))
        finally: self.depth -= 1
        self.job.send(b"A", data)

    def ask(self, op, *args):
        "One request; its plain value, a Handle, or the exception the program raised."
        return self._value(self.request(op, *args), args)

    def _value(self, answer, args=()):
        kind = answer[0]
        if kind == "ok" and len(answer) == 3:
            self._mutate(answer[2], args)
            return answer[1]
        if kind == "object" and len(answer) >= 2 and type(answer[1]) is int:
            if len(answer) == 3: self._mutate(answer[2], args)
            return Handle(self, answer[1], True)
        if kind == "unplain": raise Unsupported(f"the program's answer is no plain data: {str(answer[1])[:200]}")
        if kind == "raise" and len(answer) == 6:
            _, base, name, given, status, text = answer
            self.failure = (status if status in ("refused", "memory") else "exception", str(text)[-2000:])
            cls = getattr(builtins, base, None) if type(base) is str else None
            if not (isinstance(cls, type) and issubclass(cls, Exception)): cls = ProgramError
            try: error = cls(*given)
            except Exception: error = ProgramError(str(name)[:100])
            raise error
        self.over = (None, "protocol")
        raise Gone()

    def call(self, handle, args, kw, name=None, make=False):
        answer = self.request("make" if make else "call", handle, args, kw)
        self.last = None
        value = self._value(answer, args)
        if name and not make: self.last = (name, args, kw, value)
        return value

    def _mutate(self, changed, args):
        "Carry over to the test's own objects what the program did to its copies of them."
        if type(changed) is not list: raise Gone()
        for item in changed:
            if type(item) is tuple and len(item) == 2 and type(item[0]) is int and 0 <= item[0] < len(args): update(args[item[0]], item[1])


def update(old, new, depth=0):
    "Make the mutable `old` equal to `new` in place, keeping inner objects where types and places agree."
    if depth > codec.MAX_DEPTH or type(old) is not type(new): return False
    if type(old) in (list, tuple):
        kept = [a if update(a, b, depth + 1) else b for a, b in zip(old, new)] + list(new[len(old):])
        if type(old) is tuple: return len(old) == len(new) and all(a is b or a == b for a, b in zip(old, kept))
        old[:] = kept
        return True
    if type(old) is dict:
        kept = {k: old[k] if k in old and update(old[k], x, depth + 1) else x for k, x in new.items()}
        old.clear(); old.update(kept)
        return True
    if type(old) is set: old.clear(); old.update(new); return True
    if type(old) is bytearray: old[:] = new; return True
    return False


# ------------------------------------------------------------------ which names belong to the program
@functools.lru_cache(256)
def prepared(tests, setup, entry_point):
    "`names` and the compiled tests; a group's samples share their tests."
    trees = []
    for n, t in enumerate(tests):
        try: trees.append(ast.parse(t, f"<test {n}>"))
        except SyntaxError as e: raise ValueError(f"test {n} is no Python: {e.msg}: {t[:200]!r}") from None
    before = ast.parse(setup, "<setup>")
    wanted, entry = names([*trees, before], entry_point)
    return wanted, entry, [compile(t, f"<test {n}>", "exec", dont_inherit=True) for n, t in enumerate(trees)], compile(before, "<setup>", "exec", dont_inherit=True)


def names(trees, entry_point=None):
    """`(wanted, problem)`: names the program must supply, from the trusted side's text only.

    A name that tests use and that neither they, nor the setup, nor the built-ins define is the program's.
    A built-in's name is the program's only when it is the entry point, or when tests ask for nothing else.
    """
    used, defined = set(), set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)): defined.add(node.name)
            elif isinstance(node, ast.arg): defined.add(node.arg)
            elif isinstance(node, ast.ExceptHandler) and node.name: defined.add(node.name)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for a in node.names: defined.add((a.asname or a.name).split(".")[0])
    entry = {entry_point} if isinstance(entry_point, str) and entry_point else set(entry_point or ())
    free = {n for n in used - defined if not hasattr(builtins, n)}
    wanted = free | (entry & used) | (entry if not free else set())
    if not entry and not (free - set(MODULES)):
        wanted |= {n for n in used - defined if hasattr(builtins, n)}
    return wanted, entry


def bind(remote, wanted, entry):
    "Stand-ins for the wanted names that the program has."
    space = {}
    answer = remote.request(None)                     # the program's first word, once it is loaded
    found = remote._value(answer)
    if type(found) is not dict: remote.over = (None, "protocol"); raise Gone()
    for name, what in found.items():
        if name not in wanted or type(what) is not tuple or len(what) != 2: continue
        kind, value = what
        if hasattr(builtins, name) and name not in entry and kind not in ("callable", "class"): continue
        if kind == "module":
            if MODULES.get(name) == value: space[name] = importlib.import_module(value)
        elif name in NAMES and name not in entry and (entry or kind == "std"):
            space[name] = getattr(importlib.import_module(NAMES[name]), name)
        elif kind == "std" and hasattr(builtins, name): continue
        elif kind in ("callable", "class", "std") and type(value) is int:
            # only a class named as classes are may hand out objects that methods are trusted to
            space[name] = Function(remote, name, value, kind == "class" and name[:1].isupper())
        elif kind == "value": space[name] = value
    return space


# ------------------------------------------------------------------ judging
def _short(x, n=160):
    try: s = repr(x)
    except BaseException as e: s = f"<{type(x).__name__}>"
    return s if len(s) <= n else s[:n] + "..."


def _alarm(*_): raise Slow()


def problem_text(test):
    line = " ".join(str(test).split())
    return line if len(line) <= 200 else line[:200] + "..."


class Case:
    "One program, its tests, and the verdict in the making."

    def __init__(self, pool, spec):
        self.pool, self.spec = pool, spec
        self.tests = spec["tests"]
        self.t0 = time.monotonic()
        self.used = 0.0                                     # CPU seconds of programs that ended before the last test
        self.passed, self.details, self.logs, self.status = 0, [], [], "ok"
        self.cpu = []                                       # when asked to measure: CPU seconds of the program in each test passed
        self.sandbox = None

    def left(self): return max(self.spec["timeout"] - self.used, 0.001)

    def note(self, rule, text, log=""):
        self.details.append({"kind": "run", "rule": rule, "description": text[:600], "count": 1, "boxes": []})
        if log: self.logs.append(log[-3000:])

    def verdict(self):
        if self.spec["mode"] == "candidate":
            self.details.insert(0, {"kind": "run", "rule": "weaker_mode", "description": WEAKER, "count": 0, "boxes": []})
            self.logs.insert(0, WEAKER)
        return {"status": self.status, "passed": self.passed, "total": len(self.tests), "drc_errors": None, "lvs_errors": None,
                "devices": None, "devices_expected": None, "error_details": self.details[:50],
                "log": "\n".join(self.logs)[-6000:], "seconds": time.monotonic() - self.t0}

    def limits(self):
        s = self.spec
        return Limits(seconds=self.left(), memory_mb=s["memory_mb"], reply_bytes=s["reply_bytes"], output_bytes=s["output_bytes"])

    # --- a process for the program
    def end(self, remote):
        "How a candidate's process ended, as the verdict tells it."
        kind, body = remote.over or (None, "closed")
        out = remote.job.outcome(kind, body)
        self.used += max(out.cpu, out.seconds / STARVED)
        return out

    def run(self, worker):
        if self.spec["mode"] == "stdin": return self.run_stdin(worker)
        s = self.spec
        entry_point = s["entry_point"]
        try: wanted, entry, code, setup = prepared(tuple(self.tests), s["setup"], tuple(entry_point) if isinstance(entry_point, list) else entry_point)
        except (SyntaxError, RecursionError, MemoryError) as e:
            raise ValueError(f"the tests or the setup are no Python: {e}") from None
        remote, space, restarts, i = None, None, 0, 0
        loaded = False
        while i < len(self.tests):
            if self.used >= s["timeout"]: return self.stop("timeout", i)
            if remote is None:
                job = worker.start(self.limits())
                job.send(b"J", json.dumps({"code": s["code"], "setup": s["shared_setup"], "names": sorted(wanted)}).encode())
                remote = Remote(job)
                try:
                    signal.setitimer(signal.ITIMER_PROF, self.left() + 0.2)
                    space = bind(remote, wanted, entry)
                    if s["mode"] != "candidate":
                        given = dict(space)
                        space["__name__"] = "tests"
                        exec(setup, space)
                        for n in entry:
                            if n in given: space[n] = given[n]
                except (Gone, Slow) as e:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    if type(e) is Slow and not remote.over: remote.over = (None, "timeout")
                    out = self.end(remote)
                    if not loaded:
                        self.status = out.status
                        self.note(out.reason or out.status, out.why, out.log)
                        return
                    return self.stop(out.status, i, out)
                except Exception as e:                      # the setup failed
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    remote.over = remote.over or (None, "closed"); self.end(remote)
                    self.status = "runtime_error"
                    self.note("setup", f"the setup failed: {type(e).__name__}: {e}", (remote.failure or ("", ""))[1])
                    return
                finally: signal.setitimer(signal.ITIMER_PROF, 0)
                loaded = True
            remote.last = remote.failure = None
            rule = text = ""
            try:
                before = cpu_seconds(remote.job.pid) if s.get("repeats") else 0.0
                signal.setitimer(signal.ITIMER_PROF, self.left() + 0.2)
                if s["mode"] == "candidate": ok = remote.ask("assert", self.tests[i]) is True
                else: exec(code[i], space); ok = True
                signal.setitimer(signal.ITIMER_PROF, 0)
                if s.get("repeats"): self.cpu.append(cpu_seconds(remote.job.pid) - before)
            except AssertionError as e:
                signal.setitimer(signal.ITIMER_PROF, 0)
                ok, rule, text = False, "wrong_answer", self.explain(remote, i, e)
            except (Gone, Slow) as e:
                signal.setitimer(signal.ITIMER_PROF, 0)
                if not remote.over: remote.over = (None, "timeout")
                out = self.end(remote); remote = None
                if out.status == "timeout": return self.stop("timeout", i, out)
                self.note(out.reason or out.status, f"{problem_text(self.tests[i])}: {out.why}", out.log)
                self.worst(out.status)
                i += 1
                restarts += 1
                if restarts > MAX_RESTARTS: break
                continue
            except MemoryError:
                signal.setitimer(signal.ITIMER_PROF, 0)
                ok, rule = False, "memory"
                text = f"{problem_text(self.tests[i])}: " + ("MemoryError" if remote.failure else "comparing the answer ran out of memory")
                self.worst("memory")
            except Exception as e:
                signal.setitimer(signal.ITIMER_PROF, 0)
                ok = False
                if isinstance(e, Unsupported): rule, text = "not_plain", f"{problem_text(self.tests[i])}: {e}"
                else:
                    rule = remote.failure[0] if remote.failure else "exception"
                    text = f"{problem_text(self.tests[i])}: {type(e).__name__}: {str(e)[:200]}"
                    if remote.failure: self.logs.append(remote.failure[1])
                    self.worst({"refused": "refused", "memory": "memory"}.get(rule, "runtime_error"))
            finally: signal.setitimer(signal.ITIMER_PROF, 0)
            if ok: self.passed += 1
            else: self.note(rule, text)
            i += 1
        if remote is not None:
            remote.over = remote.over or (None, "closed")
            self.end(remote)

    def worst(self, status):
        order = ("ok", "runtime_error", "refused", "memory", "timeout")
        if order.index(status) > order.index(self.status): self.status = status

    def stop(self, status, i, out=None):
        self.status = status
        self.note(status, f"{problem_text(self.tests[i])}: " + (out.why if out else f"the time of {self.spec['timeout']:g} s was up"), out.log if out else "")

    def explain(self, remote, i, error):
        text = problem_text(self.tests[i])
        if remote.last:
            name, args, kw, value = remote.last
            text += f" -- {name}(...) returned {_short(value)}"
        elif str(error): text += f" -- {str(error)[:200]}"
        return text

    # --- programs that read stdin and print
    def run_stdin(self, worker):
        for i, test in enumerate(self.tests):
            if self.used >= self.spec["timeout"]: return self.stop("timeout", i)
            job = worker.start(self.limits(), stdin=test["stdin"].encode())
            job.send(b"J", json.dumps({"code": self.spec["code"], "main": True}).encode())
            kind, body = job.recv()
            out = job.outcome(kind, body)
            self.used += max(out.cpu, out.seconds / STARVED)
            printed = out.stdout.decode("utf-8", "replace")
            if out.status == "ok":
                if same_text(printed, test["stdout"]): self.passed += 1
                else: self.note("wrong_answer", f"stdin {_short(test['stdin'], 80)}: printed {_short(printed)}")
            else:
                self.note(out.reason or out.status, f"stdin {_short(test['stdin'], 80)}: {out.why}", out.log)
                self.worst(out.status) if out.status != "syntax_error" else setattr(self, "status", "syntax_error")
                if out.status in ("syntax_error", "timeout"): return


def cpu_seconds(pid):
    "CPU time of a process as the kernel counts it: to the nanosecond where it keeps such counts, else in ticks."
    try:
        with open(f"/proc/{pid}/schedstat") as f: return int(f.read().split()[0]) / 1e9
    except (OSError, ValueError, IndexError): pass
    try:
        with open(f"/proc/{pid}/stat") as f: part = f.read().rsplit(")", 1)[1].split()
    except OSError: return 0.0
    return (int(part[11]) + int(part[12])) / os.sysconf("SC_CLK_TCK")


def compare(pool, spec, worker):
    """Program and reference in turn, each time in a fresh child of the same zygote: the least CPU time of every test.

    The least of several runs is what the work costs; everything above it is noise. A fresh child each time, so that
    nothing is remembered from one run to the next. A run in which a test fails ends the comparison.
    """
    times = {"reference": [], "program": []}
    for _ in range(spec["repeats"]):
        for who, code in (("reference", spec["reference"]), ("program", spec["code"])):
            case = Case(pool, {**spec, "code": code})
            case.run(worker)
            if case.status != "ok" or case.passed < len(case.tests): return {"who": who, **case.verdict()}
            times[who].append(case.cpu)
    return {"who": None, **{who: [min(runs) for runs in zip(*rows)] for who, rows in times.items()}}


def same_text(a, b):
    "Printed text is compared line by line, white space at line ends and empty lines at the end aside."
    def tidy(s): return [l.rstrip() for l in s.replace("\r\n", "\n").rstrip().split("\n")]
    return tidy(a) == tidy(b)


def calm():
    "Put back what a test may have changed for the next one."
    random.seed(0)
    sys.setrecursionlimit(1000)
    np = sys.modules.get("numpy")
    if np is not None: np.random.seed(0)
    try: import decimal; decimal.setcontext(decimal.Context())
    except Exception: pass


def main(fd, config):
    "Serve one case after the other until the lab is gone."
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _alarm)
    pools = {}

    def pool_for(code):
        "Programs that speak of numpy get children of a zygote that has it; the others get cheaper ones."
        heavy = _NUMPY.search(code) is not None
        if heavy not in pools:
            free = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, free[1]))
            pools[heavy] = Pool(1, preload="grpo_lab.sandbox.guest", strength=config["strength"], without=config["without"],
                                python=config["python"], env={"SANDBOX_NUMPY": "1"} if heavy else {})
            resource.setrlimit(resource.RLIMIT_AS, free)
        return pools[heavy]
    try: pool = pool_for("")
    except BaseException as e:
        wire.send(fd, b"E", str(e).encode())
        return
    for name in config.get("imports", ("math", "collections", "itertools", "re")): importlib.import_module(name)
    gc.collect(); gc.freeze()
    limit = vmsize() + (config["memory_mb"] << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wire.send(fd, b"O", json.dumps(pool.info).encode())
    sys.stdout = open(os.devnull, "w")
    try:
        while True:
            kind, body = wire.recv(fd, 1 << 31)
            spec = json.loads(body)
            calm()
            soft = int(time.process_time() + spec["timeout"] * 2 * spec.get("repeats", 1)) + 3       # a comparison in C that never ends: SIGXCPU ends this judge
            resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))

            def judge(worker):
                if spec.get("repeats"): return compare(pool, spec, worker)
                case = Case(pool, spec)
                case.run(worker)
                return case.verdict()
            try:
                reply = pool_for(spec["code"] + spec.get("reference", ""))._with_worker(judge)
                if type(reply) is not dict: raise RuntimeError(reply.log)
            except ValueError as e: reply = {"error": str(e)}
            except BaseException as e:
                reply = {"error": f"the judge failed: {type(e).__name__}: {e}\n{traceback.format_exc(limit=-4)}", "judge": True}
            wire.send(fd, b"R", json.dumps(reply).encode())
    except wire.Broken: pass
    finally:
        for p in pools.values(): p and p.close()
