"""Judging code problems: the side of the lab. `verify_code` for one program, `CodeVerifier` for many."""
import ast
import functools
import json
import os
import queue
import select
import signal
import subprocess
import socket
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from . import wire
from .pool import _ROOT, STARVED, clean_environment
from .strength import SandboxError, strength as _strength

_BOOT = ("import sys; sys.path[:] = [p for p in sys.path if p]; sys.path.insert(0, sys.argv[1])\n"
         "from grpo_lab.sandbox import judge, zygote\n"
         "import json; c = json.loads(sys.argv[3]); zygote.watch(c['life']); judge.main(int(sys.argv[2]), c)")
GRACE = 5.0                             # seconds past the longest a program may take after which its judge itself is replaced


class _Judge:
    "One judge process and its pipe."

    def __init__(self, owner):
        self.errors = tempfile.TemporaryFile()
        self.sock, theirs = socket.socketpair()
        life, self.life = os.pipe2(os.O_CLOEXEC)
        config = {"strength": owner.strength_wanted, "without": list(owner.without), "python": owner.python,
                  "memory_mb": owner.judge_memory_mb, "life": life}
        with theirs:
            self.proc = subprocess.Popen([owner.python, "-s", "-c", _BOOT, _ROOT, str(theirs.fileno()), json.dumps(config)],
                                         env=clean_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=self.errors,
                                         stderr=self.errors, pass_fds=[theirs.fileno(), life], start_new_session=True)
        os.close(life)
        self.info = None

    def ready(self, seconds=120.0):
        if self.info is None:
            try: kind, body = self.read(time.monotonic() + seconds)
            except (wire.Broken, TimeoutError) as e:
                self.errors.seek(0)
                raise SandboxError(f"the judge did not start ({e}):\n{self.errors.read()[-3000:].decode('utf-8', 'replace')}") from None
            if kind != b"O": raise SandboxError(body.decode("utf-8", "replace"))
            self.info = json.loads(body)
        return self

    def read(self, deadline):
        left = deadline - time.monotonic()
        p = select.poll(); p.register(self.sock, select.POLLIN)
        if not p.poll(max(left, 0) * 1000): raise TimeoutError("no answer")
        return wire.recv(self.sock.fileno(), 1 << 28)

    def judge(self, spec):
        wire.send(self.sock.fileno(), b"J", json.dumps(spec).encode())
        return json.loads(self.read(time.monotonic() + 2 * spec.get("repeats", 0.5) * STARVED * spec["timeout"] + GRACE)[1])

    def close(self):
        self.sock.close()
        if self.life is not None: os.close(self.life); self.life = None
        try: self.proc.wait(0.2)
        except subprocess.TimeoutExpired: self.proc.kill(); self.proc.wait()
        self.errors.close()


@functools.lru_cache(256)
def _imports_only(setup):
    "The setup, when it is nothing but imports: then the program may have it too."
    try: tree = ast.parse(setup)
    except SyntaxError as e: raise ValueError(f"the setup is no Python: line {e.lineno}: {e.msg}") from None
    return [setup] if setup.strip() and all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in tree.body) else []


def _spec(code, tests, setup, entry_point, mode, timeout, memory_mb, output_bytes, reply_bytes):
    tests = list(tests)
    if not tests: raise ValueError("there are no tests: a program cannot be judged against nothing")
    kinds = {type(t) for t in tests}
    if kinds == {dict}:
        for n, t in enumerate(tests):
            if set(t) != {"stdin", "stdout"} or not all(type(v) is str for v in t.values()):
                raise ValueError(f'test {n} must be {{"stdin": text, "stdout": text}}')
        mode = "stdin"
    elif kinds != {str}: raise ValueError("tests are assert statements (strings), or all of them {stdin, stdout} pairs")
    if mode not in ("judge", "candidate", "stdin"): raise ValueError(f'mode must be "judge" or "candidate", not {mode!r}')
    if timeout <= 0: raise ValueError(f"timeout must be positive, not {timeout} s")
    if memory_mb < 16: raise ValueError(f"memory must be at least 16 MB, not {memory_mb}")
    shared = ([setup] if setup.strip() else []) if mode == "candidate" else _imports_only(setup)
    return {"code": code, "tests": tests, "setup": setup, "shared_setup": shared, "entry_point": entry_point, "mode": mode,
            "timeout": float(timeout), "memory_mb": int(memory_mb), "output_bytes": int(output_bytes), "reply_bytes": int(reply_bytes)}


def _blank(status, total, log, seconds=0.0):
    return {"status": status, "passed": 0, "total": total, "drc_errors": None, "lvs_errors": None, "devices": None,
            "devices_expected": None, "error_details": [{"kind": "run", "rule": status, "description": log[:300], "count": 1, "boxes": []}],
            "log": log, "seconds": seconds}


class CodeVerifier:
    """Judges programs against tests, `workers` at a time.

        with CodeVerifier(workers=2) as v:
            v.verify_one(code, tests)                            # a dict with the fields of Verdict
            v.verify([{"code": ..., "tests": [...]}, ...])       # in order; keys as in verify_one

    Each worker is a judge process (it holds the tests) with one zygote under it (its children hold the programs).
    A judge that does not come back is replaced; the program it was judging gets a timeout.
    """

    def __init__(self, workers=2, python=None, strength="strong", without=(), judge_memory_mb=2048):
        _strength(without).require(strength)
        if workers < 1: raise ValueError(f"workers must be at least 1, not {workers}")
        self.python, self.strength_wanted, self.without = python or sys.executable, strength, tuple(without)
        self.judge_memory_mb, self.workers = judge_memory_mb, workers
        self._idle, self._lock, self._all, self._closed = queue.LifoQueue(), threading.Lock(), set(), False
        try:
            for j in [self._new() for _ in range(workers)]:
                j.ready(); self._idle.put(j)
        except BaseException:
            self.close(); raise

    def _new(self):
        j = _Judge(self)
        with self._lock: self._all.add(j)
        return j

    def verify_one(self,
                   code,                   # the program's text, or None when the completion had none
                   tests,                  # assert statements, or {"stdin", "stdout"} dicts
                   setup="",               # trusted code run before the tests, in the judge (imports go to the program as well)
                   entry_point=None,       # name (or names) the program must define; guessed from the tests otherwise
                   mode="judge",           # "candidate": run the asserts inside the program's process, which is weaker and says so
                   timeout=10.0,           # seconds for the program and all its tests
                   memory_mb=1024,         # address space of the program
                   output_bytes=1 << 16, reply_bytes=16 << 20):
        "One program's verdict (dict). ValueError when the tests or the setup are no Python."
        if code is None or not code.strip(): return _blank("no_code", len(list(tests)), "there is no program in the completion")
        return self._ask(_spec(code, tests, setup, entry_point, mode, timeout, memory_mb, output_bytes, reply_bytes))

    def compare_time(self, code, reference, tests, setup="", entry_point=None, repeats=5, timeout=10.0, memory_mb=1024):
        """CPU time of a program against a trusted reference: `{"who": None, "program": [seconds a test], "reference": [...]}`.

        Both run `repeats` times in turn, each time in a fresh child of one zygote, and each test counts with its least
        time; the kernel counts, not the program. Handing over arguments and answers is in both. Where a test fails,
        `who` names the one that failed it ("program" or "reference") and the verdict's fields say how.
        """
        if repeats < 1: raise ValueError(f"repeats must be at least 1, not {repeats}")
        spec = _spec(code, tests, setup, entry_point, "judge", timeout, memory_mb, 1 << 16, 16 << 20)
        if spec["mode"] == "stdin": raise ValueError("only programs with assert statements can be timed")
        return self._ask({**spec, "reference": reference, "repeats": int(repeats)})

    def _ask(self, spec):
        "What an idle judge answers; one that dies is replaced, and asked once more."
        if self._closed: raise SandboxError("the verifier is closed")
        j = self._idle.get()
        if j is None: self._idle.put(None); raise SandboxError("the verifier is closed")
        try:
            for attempt in (0, 1):
                t0 = time.monotonic()
                try:
                    reply = j.ready().judge(spec)
                    if "error" in reply:
                        if not reply.get("judge"): raise ValueError(reply["error"])
                        return _blank("runtime_error", len(spec["tests"]), reply["error"], time.monotonic() - t0)
                    return reply
                except (TimeoutError, wire.Broken, OSError) as e:
                    self._drop(j)
                    slow = type(e) is TimeoutError or j.proc.returncode == -signal.SIGXCPU
                    j = self._new()
                    if slow: return _blank("timeout", len(spec["tests"]), f"a comparison with the answer did not end within {spec['timeout']:g} s", time.monotonic() - t0)
            return _blank("runtime_error", len(spec["tests"]), "the judge died twice on this program")
        except ValueError: raise
        except BaseException:
            self._drop(j); j = None                     # Ctrl-C: this judge may be in the middle of something
            raise
        finally:
            if self._closed and j is not None: self._drop(j)
            elif not self._closed: self._idle.put(j if j is not None else self._new())

    def verify(self, items, progress=None):
        "Verdicts of all items (dicts of verify_one's arguments), in order; identical items are judged once."
        items = [dict(i) for i in items]
        keys = [json.dumps(i, sort_keys=True, default=str) for i in items]
        first = {}
        for k, i in zip(keys, items): first.setdefault(k, i)
        done, lock = [0], threading.Lock()

        def one(kv):
            v = self.verify_one(**kv[1])
            with lock:
                done[0] += 1
                if progress: progress(done[0], len(first))
            return kv[0], v
        with ThreadPoolExecutor(self.workers) as threads:
            verdicts = dict(threads.map(one, first.items()))
        return [json.loads(json.dumps(verdicts[k])) for k in keys]

    def _drop(self, j):
        with self._lock: self._all.discard(j)
        j.close()

    def close(self):
        "End every judge, zygote and child."
        with self._lock:
            self._closed = True
            gone, self._all = list(self._all), set()
        self._idle.put(None)
        for j in gone: j.close()

    def __enter__(self): return self
    def __exit__(self, *exc): self.close()


def verify_code(code, tests, setup="", timeout=10.0, memory_mb=1024, entry_point=None, mode="judge", strength="strong",
                memory=None, verifier=None):
    "Judge one program against tests; a dict with the fields of Verdict. Starts and ends a judge unless given a `verifier`."
    kw = dict(setup=setup, timeout=timeout, memory_mb=memory or memory_mb, entry_point=entry_point, mode=mode)
    if verifier is not None: return verifier.verify_one(code, tests, **kw)
    with CodeVerifier(1, strength=strength) as v: return v.verify_one(code, tests, **kw)


def calibrate(verifier, reference, tests, setup="", entry_point=None, **kw):
    """How a problem must be judged, found by its trusted reference: "judge", "candidate" (weaker), or "broken".

    Never decided by a candidate's program, which could ask for the weaker mode.
    """
    for mode in ("judge", "candidate"):
        v = verifier.verify_one(reference, tests, setup=setup, entry_point=entry_point, mode=mode, **kw)
        if v["status"] == "ok" and v["passed"] == v["total"]: return mode
    return "broken"


REWARDS = ("binary", "partial", "scaled")


def reward(verdict, kind="partial"):
    """A number for a verdict: binary 1 if every test passed else 0; partial = share of tests passed;
    scaled = 2 * share - 1, in [-1, 1], and -1 for a program that did not load."""
    total = verdict["total"]
    share = verdict["passed"] / total if total else 0.0
    if kind == "binary": return 1.0 if total and verdict["passed"] == total else 0.0
    if kind == "partial": return share
    if kind == "scaled": return 2 * share - 1
    raise ValueError(f"reward must be one of {', '.join(REWARDS)}, not {kind!r}")
