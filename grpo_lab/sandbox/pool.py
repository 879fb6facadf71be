"""The supervisor: warm zygotes, one hardened child per payload, deadlines, and nothing left behind."""
import atexit
import collections
import concurrent.futures
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from dataclasses import asdict, dataclass, field, replace

from . import wire
from .strength import LEVELS, SandboxError, strength as _strength

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = ("import sys; sys.path[:] = [p for p in sys.path if p]; sys.path.insert(0, sys.argv[1])\n"
         "from grpo_lab.sandbox.zygote import main\n"
         "sys.path.remove(sys.argv[1]); import json; main(int(sys.argv[2]), json.loads(sys.argv[3]))")


def clean_environment():
    """The whole environment of zygotes and judges: nothing of the user's comes along.

    One thread for the array libraries (a fork copies only the calling one) and a fixed hash seed, so that the
    same program gets the same verdict twice. Python's -I would drop the seed; -s, this environment, the working
    directory / and an emptied path entry give the same isolation.
    """
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace", "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Limits:
    "What one program may use. A program past any of these ends; its neighbours do not notice."
    seconds: float = 10.0           # wall time from fork to reply (on a busy machine: CPU time, see Job._starved)
    memory_mb: int = 1024           # address space on top of what the warm interpreter already maps
    reply_bytes: int = 32 << 20     # longest reply accepted
    output_bytes: int = 1 << 16     # most that may be printed before the program is ended
    file_bytes: int = 0             # >0: one scratch file of at most this size, its path in os.environ["SANDBOX_FILE"]
    readable: tuple = ()            # folders or files the program may read (needs Landlock); none by default


@dataclass
class Outcome:
    "How one program ended."
    status: str                     # ok | syntax_error | refused | timeout | memory | runtime_error
    reply: bytes = b""              # what run() returned, when status is ok
    log: str = ""                   # the last lines of its exception, then what it printed
    seconds: float = 0.0            # wall time, fork to end
    reason: str = ""                # '', exception, syntax, refused, timeout, memory, exit, killed, output_flood, reply_flood, protocol, sandbox
    why: str = ""                   # the cause in one line
    output: str = ""                # what it printed (stdout and stderr), cut at output_bytes
    stdout: bytes = b""             # what it printed to stdout alone, when it was given a stdin
    cpu: float = 0.0                # CPU seconds of the child
    max_mb: float = 0.0             # its peak resident memory


STARVED = 6                             # how many times its wall time a program gets when it is kept from running


class _ZygoteDied(Exception): pass


class _Worker:
    "One zygote and the one job it may be running."

    def __init__(self, pool):
        self.pool = pool
        self.errors = tempfile.TemporaryFile()
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        life, self.life = os.pipe2(os.O_CLOEXEC)         # its write end closes with this process: see zygote.watch
        config = {"preload": pool.preload, "root": _ROOT, "without": list(pool.without), "uid": pool.uid()}
        env = {**clean_environment(), **pool.env}
        with theirs:
            self.proc = subprocess.Popen([pool.python, "-s", "-c", _BOOT, _ROOT, str(theirs.fileno()),
                                          json.dumps({**config, "life": life})],
                                         env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=self.errors,
                                         stderr=self.errors, pass_fds=[theirs.fileno(), life], start_new_session=True)
        os.close(life)
        self.ctl = mine
        self.info = None

    def ready(self, seconds):
        "Wait until the zygote has imported everything; its report. SandboxError when it cannot start."
        if self.info is None:
            try: self.info = self._answer(seconds)
            except (_ZygoteDied, TimeoutError) as e:
                self.errors.seek(0)
                text = self.errors.read()[-3000:].decode("utf-8", "replace")
                self.close()
                raise SandboxError(f"the sandbox's interpreter {self.pool.python} did not start "
                                   f"({e}) while importing {self.pool.preload}:\n{text}") from None
            if not self.info["ready"]:
                self.close()
                raise SandboxError(f"{self.pool.preload} could not be imported in {self.pool.python}:\n{self.info['error']}")
        return self.info

    def _ask(self, message, fds=()):
        try:
            socket.send_fds(self.ctl, [json.dumps(message).encode()], fds)
            return self._answer(30)
        except OSError as e: raise _ZygoteDied(str(e)) from None

    def _answer(self, seconds):
        p = select.poll(); p.register(self.ctl, select.POLLIN)
        if not p.poll(seconds * 1000): raise TimeoutError(f"no answer in {seconds:g} s")
        try: message = self.ctl.recv(1 << 20)
        except OSError: message = b""
        if not message: raise _ZygoteDied("the zygote is gone")
        return json.loads(message)

    def start(self, limits, stdin=None, hint=None):
        "Fork a child; returns the Job that talks with it. With `stdin`, its descriptors 0 and 1 are pipes of their own."
        mine, theirs = socket.socketpair()
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(1 if stdin is None else 3)]      # log; then stdin, stdout
        given = [theirs.fileno(), pipes[0][1]] + ([] if stdin is None else [pipes[1][0], pipes[2][1]])
        kept = [pipes[0][0]] + ([] if stdin is None else [pipes[1][1], pipes[2][0]])
        try:
            answer = self._ask({"do": "spawn", "seconds": limits.seconds, "memory_mb": limits.memory_mb,
                                "file_bytes": limits.file_bytes, "readable": list(limits.readable), "hint": hint}, given)
        except BaseException:
            mine.close()
            for fd in kept: os.close(fd)
            raise
        finally:
            theirs.close()
            for fd in given[1:]: os.close(fd)
        return Job(self, limits, mine, kept, answer["pid"], stdin)

    def close(self):
        "End the zygote and, with it, whatever it was running."
        self.ctl.close()
        if self.life is not None: os.close(self.life); self.life = None
        if self.proc.poll() is None:
            try: self.proc.wait(0.2)
            except subprocess.TimeoutExpired:
                self.proc.kill(); self.proc.wait()
        self.errors.close()


class Job:
    "A live child: frames to and from it, its output drained, its deadline kept."

    def __init__(self, worker, limits, sock, pipes, pid, stdin=None):
        self.worker, self.limits, self.sock, self.pid = worker, limits, sock, pid
        self.t0 = time.monotonic()
        self.deadline = self.t0 + limits.seconds
        self.flooded, self.inbox, self.sending, self.ended = False, bytearray(), memoryview(b""), None
        self.texts = {pipes[0]: bytearray()}             # what each output pipe gave
        self.log, self.out, self.stdin = pipes[0], None, None
        self.poll = select.poll()
        if stdin is not None:
            self.stdin, self.out, self.feed = pipes[1], pipes[2], memoryview(stdin)
            self.texts[self.out] = bytearray()
            self.poll.register(self.stdin, select.POLLOUT)
        sock.setblocking(False)
        for fd in pipes: os.set_blocking(fd, False)
        for fd in self.texts: self.poll.register(fd, select.POLLIN)
        self.poll.register(sock, select.POLLIN)
        self.poll.register(worker.ctl, select.POLLIN)

    def _drain(self, fd):
        "Take what an output pipe holds; False when it is empty or at its end."
        try: part = os.read(fd, 1 << 16)
        except BlockingIOError: return False
        if not part: self.poll.unregister(fd); return False
        room = self.limits.output_bytes - len(self.texts[fd])
        self.texts[fd] += part[:max(room, 0)]
        if len(part) > room: self.flooded = True
        return not self.flooded

    def _pump(self):
        "Hand the program more of its stdin; close it at the end."
        try:
            if self.feed: self.feed = self.feed[os.write(self.stdin, self.feed):]
        except BlockingIOError: return
        except OSError: self.feed = memoryview(b"")
        if not self.feed:
            self.poll.unregister(self.stdin); os.close(self.stdin); self.stdin = None

    def send(self, kind, body):
        "Queue a frame; recv() pushes it out."
        self.sending = memoryview(bytes(self.sending) + wire.HEAD.pack(kind, len(body)) + body)

    def recv(self):
        "`(kind, body)`; or `(None, reason)` with reason timeout, output_flood, reply_flood or closed."
        head, late = wire.HEAD.size, False
        while True:
            if len(self.inbox) >= head:
                kind, n = wire.HEAD.unpack_from(self.inbox)
                if n > self.limits.reply_bytes: return None, "reply_flood"
                if len(self.inbox) >= head + n:
                    body = bytes(self.inbox[head:head + n]); del self.inbox[:head + n]
                    return kind, body
            left = self.deadline - time.monotonic()
            if late and left <= 0 and not self._starved(): return None, "timeout"
            late = left <= 0
            self.poll.modify(self.sock, select.POLLIN | (select.POLLOUT if self.sending else 0))
            for fd, event in self.poll.poll(left * 1000 + 1 if left > 0 else 50):
                if fd in self.texts: self._drain(fd)
                elif fd == self.stdin: self._pump()
                elif fd == self.worker.ctl.fileno(): raise _ZygoteDied("the zygote died during a job")
                else:
                    if event & select.POLLOUT and self.sending:
                        try: self.sending = self.sending[self.sock.send(self.sending):]
                        except BlockingIOError: pass
                        except OSError: self.sending = memoryview(b"")
                    if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                        try: part = self.sock.recv(1 << 20)
                        except BlockingIOError: continue
                        except OSError: part = b""
                        if not part: return None, "closed"
                        self.inbox += part
            if self.flooded: return None, "output_flood"

    def _starved(self):
        """Past its wall time: is the program ready to run and merely kept waiting by a busy machine?

        Then it may go on until its CPU time is used up, or STARVED times its wall time. A verdict should not
        depend on what else the machine is doing. A program that sleeps gets no such mercy.
        """
        if time.monotonic() > self.t0 + STARVED * self.limits.seconds: return False
        try:
            with open(f"/proc/{self.pid}/stat") as f: part = f.read().rsplit(")", 1)[1].split()
        except OSError: return False
        return part[0] in "RD" and (int(part[11]) + int(part[12])) / os.sysconf("SC_CLK_TCK") < self.limits.seconds

    def end(self):
        "Kill the child if it lives, reap it, close up; `(wait status, cpu seconds, peak MB)`."
        if self.ended is None:
            try:
                answer = self.worker._ask({"do": "reap"})
                for fd in self.texts:
                    try:
                        while self._drain(fd): pass
                    except KeyError: pass                # already at its end
            finally:
                self.sock.close()
                for fd in (*self.texts, self.stdin):
                    if fd is not None: os.close(fd)
            self.ended = answer["status"], answer["cpu"], answer["max_kb"] / 1024
        return self.ended

    def outcome(self, kind, body):
        "End the child and say how it ended, given the last frame (or the reason there is none)."
        status, cpu, mb = self.end()
        text = bytes(self.texts[self.log]).decode("utf-8", "replace")
        made = dict(output=text, stdout=bytes(self.texts.get(self.out, b"")), seconds=time.monotonic() - self.t0, cpu=cpu, max_mb=mb)

        def bad(status, reason, log): 
            lines = log.strip().splitlines()
            return Outcome(status, b"", log + (("\nprinted:\n" + text) if text else ""), reason=reason, why=lines[-1][:400] if lines else status, **made)
        if kind == b"R": return Outcome("ok", body, text, **made)
        if kind == b"E":
            try:
                status, reason, log = json.loads(body)
                if status in ("syntax_error", "refused", "timeout", "memory", "runtime_error") and \
                        type(reason) is str and type(log) is str: return bad(status, reason[:40], log[:8000])
            except (ValueError, TypeError, RecursionError): pass
            return bad("runtime_error", "protocol", "the program sent something that is no message of ours")
        if kind is not None or body == "protocol":
            return bad("runtime_error", "protocol", "the program sent something that is no message of ours")
        if body == "timeout": return bad("timeout", "timeout", f"no answer within {self.limits.seconds:.3g} s")
        if body == "output_flood" or self.flooded: return bad("runtime_error", "output_flood", f"printed more than {self.limits.output_bytes} bytes")
        if body == "reply_flood": return bad("runtime_error", "reply_flood", f"answered with more than {self.limits.reply_bytes} bytes")
        if os.WIFSIGNALED(status):
            n = os.WTERMSIG(status)
            if n == signal.SIGSYS: return bad("refused", "refused", "a forbidden system call ended the program")
            if n == signal.SIGXCPU: return bad("timeout", "timeout", "used up its CPU time")
            if n == signal.SIGKILL and cpu > self.limits.seconds: return bad("timeout", "timeout", "used up its CPU time")
            if n == signal.SIGKILL: return bad("runtime_error", "protocol", "ended its conversation with the judge")
            return bad("runtime_error", "killed", f"died of signal {n} ({signal.strsignal(n)})")
        from .zygote import MEMORY_EXIT
        if os.WEXITSTATUS(status) == MEMORY_EXIT: return bad("memory", "memory", "ran out of memory")
        return bad("runtime_error", "exit", f"ended without an answer (exit status {os.WEXITSTATUS(status)})")


class Pool:
    """Warm workers that run payloads in hardened children.

        with Pool(workers=2, preload="grpo_lab.layout.guest") as pool:
            out = pool.run(b"...")                       # thread-safe; an Outcome
            for out in pool.map(payloads): ...           # in order, `workers` at a time

    The preload module is imported by a fresh interpreter (`python`, any 3.10-3.12, even of another venv) with
    a clean environment. It defines `prepare()` (optional; run once, imports everything that will be needed,
    since a child can open no file), `run(payload: bytes) -> bytes` (run in the hardened child) and, optional, `warm(hint)`
    (run in the zygote before the fork: builds what many children need; true when it built something). An
    exception in run() is an Outcome with status runtime_error (or memory, refused, syntax_error) and its
    last lines in `log`. Printing goes to Outcome.output.

    A child has no files, no network, no processes, no signals to others. `Limits(file_bytes=N)` grants one
    scratch file (path in os.environ["SANDBOX_FILE"]), `Limits(readable=(path, ...))` reading; both need Landlock.
    A child that dies or hangs costs its own payload; a dead zygote is replaced and its payload tried once more.

    Raises SandboxError when this machine cannot give `strength`, or the preload module cannot be imported.
    """

    def __init__(self,
                 workers=2,                # zygotes, hence programs at a time
                 python=None,              # interpreter of the zygotes; this one by default
                 preload="grpo_lab.sandbox.guest",   # module (or .py file) with prepare() and run(payload)
                 limits=None,              # Limits of every job
                 strength="strong",        # weakest level accepted: strong | no-landlock | no-seccomp | none
                 env=None,                 # extra environment for the zygotes (never secrets)
                 start_seconds=120.0,      # longest wait for the imports
                 without=()):              # pretend the kernel lacks 'landlock' and/or 'seccomp' (tests)
        if workers < 1: raise ValueError(f"workers must be at least 1, not {workers}")
        self.strength = _strength(without)
        self.strength.require(strength)
        self.limits = limits or Limits()
        self.level = strength
        self.python, self.preload = python or sys.executable, preload
        self.env, self.without, self.start_seconds = dict(env or {}), tuple(without), start_seconds
        self.workers = workers
        self._uids = iter(range(0))
        self._idle = _Idle()
        self._lock = threading.Lock()
        self._all, self._closed, self._made = set(), False, 0
        self._threads = None
        self.replaced = 0                  # zygotes that had to be replaced
        _POOLS.add(self)
        try:
            for w in [self._new() for _ in range(workers)]:
                self._check(w); self._idle.put(w)
        except BaseException:
            self.close(); raise

    def uid(self):
        "A user id that owns nothing, another one for each zygote."
        return 1_900_000_000 + (os.getpid() * 64 + self._made) % 90_000_000

    def _new(self):
        with self._lock:
            if self._closed: raise SandboxError("the pool is closed")
            self._made += 1
            w = _Worker(self)
            self._all.add(w)
        return w

    def _check(self, w):
        "Refuse a zygote whose children found a door open that this strength promises to be shut."
        info = w.ready(self.start_seconds)
        if self.strength.level in ("strong", "no-landlock") and info["doors"]:
            raise SandboxError(f"the self-test found open: {', '.join(info['doors'])}; this machine does not contain programs. "
                               'Name the weaker mode (strength="none") to run them all the same.')
        return w

    def _drop(self, w):
        with self._lock: self._all.discard(w)
        w.close()

    @property
    def info(self):
        "What the first zygote reported: landlock ABI, seccomp, threads alive at fork, megabytes mapped."
        with self._lock: return dict(next(iter(self._all)).info or {}) if self._all else {}

    def _borrow(self, lane=None):
        if self._closed: raise SandboxError("the pool is closed")
        w = self._idle.get(lane)
        if w is None: self._idle.put(None); raise SandboxError("the pool is closed")
        return w

    def _with_worker(self, use, lane=None):
        "Call use(worker); replace the worker when it dies, try once more, then give up with a sandbox Outcome."
        w = self._borrow(lane)
        try:
            for attempt in (0, 1):
                try:
                    if w is None: w = self._check(self._new())
                    return use(w)
                except (_ZygoteDied, TimeoutError, SandboxError) as e:      # SandboxError: its successor did not start
                    if w is not None: self._drop(w); w = None
                    self.replaced += 1
                    last = e
            return Outcome("runtime_error", b"", f"the sandbox's worker died twice: {last}", reason="sandbox")
        except BaseException:
            if w is not None: self._drop(w); w = None              # Ctrl-C in the middle: nothing survives
            raise
        finally:
            if w is None and not self._closed:
                try: w = self._check(self._new())
                except BaseException: w = None
            if w is not None: self._idle.put(w)
            elif not self._closed: self._idle.put(_Absent(self))

    def run(self, payload, limits=None, hint=None, lane=None):
        """Run one payload in a fresh child; waits for a free worker. Returns its Outcome.

        `hint` is plain data for the guest's warm(); jobs of one `lane` go to the worker that had the lane before, where it is free.
        """
        limits = limits or self.limits

        def use(w):
            job = w.start(limits, hint=hint)
            job.send(b"J", payload)
            return job.outcome(*job.recv())
        return self._with_worker(use, lane)

    def map(self, payloads, limits=None):
        "Outcomes of all payloads, in their order, `workers` at a time."
        if self._threads is None:
            self._threads = concurrent.futures.ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        return self._threads.map(lambda p: self.run(p, limits), payloads)

    def close(self):
        "End every zygote and child now."
        with self._lock:
            self._closed = True
            gone, self._all = list(self._all), set()
        self._idle.put(None)
        for w in gone:                                  # all at once, then wait for each
            try: w.proc.kill()
            except OSError: pass
        for w in gone: w.close()
        if self._threads: self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self): return self
    def __exit__(self, *exc): self.close()
    def __del__(self):
        try: self.close()
        except BaseException: pass


class _Idle:
    "Workers that wait for a job: the one that had the lane before, else the one that ended last (its pages are warm)."
    def __init__(self): self.workers, self.lanes, self.some = [], {}, threading.Condition()

    def put(self, w):
        with self.some: self.workers.append(w); self.some.notify()

    def get(self, lane=None):
        with self.some:
            while not self.workers: self.some.wait()
            w = self.lanes.get(lane) if lane is not None else None
            if w in self.workers: self.workers.remove(w)
            else: w = self.workers.pop()
            if lane is not None: self.lanes[lane] = w
            return w


class _Absent:
    "Stands in the queue for a worker that could not be replaced; the next job tries again."
    def __init__(self, pool): self.pool, self.ctl = pool, None
    def start(self, limits, hint=None): raise _ZygoteDied("no worker could be started")
    def close(self): pass


_POOLS = weakref.WeakSet()


@atexit.register
def _close_all():
    for p in list(_POOLS): p.close()
