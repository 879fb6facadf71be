"""LayoutService: programs in, verdicts out. Main interpreter, standard library only.

    with LayoutService(workers=2) as svc:
        verdicts = svc.verify([(code, netlist), ...])

Two kinds of processes stand behind it, both of the layout interpreter: *builders* (grpo_lab.sandbox: warm, fork one
hardened child per program, which answers with GDS bytes) and *judges* (klayout.db only, DRC and LVS of those bytes). As
many of each as there are workers; one builds while another judges, so every core is busy. Whatever dies or hangs costs
the candidate it was busy with, and is replaced.
"""
from __future__ import annotations

import collections
import dataclasses
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from . import env as _env
from . import spice
from .parts import parts

GDS_BYTES = 16 << 20  # longest layout accepted
CACHE = 8192  # verdicts kept
LOG = 4000  # characters of log kept
START = 600.0  # seconds a process may take to start; two or three where the machine is idle
PATIENCE = 4  # a process that was kept from computing (busy machine) may take this many times its limit by the clock
_ROOT = str(Path(__file__).resolve().parents[2])
_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from grpo_lab.layout.judge import main; main()"


class LayoutError(RuntimeError):
    "The service itself cannot work (no interpreter, closed, a judge that will not start); the message says why."


class _Died(Exception):
    "The judge ended or hung; .status is what that costs the candidate."

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Judge:
    "One judge process; started when first needed, started again after it died or hung. Not thread-safe."

    def __init__(self, python: str, cpu: float, memory_mb: int):
        self.python, self.cpu, self.memory_mb = python, cpu, memory_mb
        self.seconds = PATIENCE * cpu
        self.process, self.started = None, 0

    def ask(self, header: dict, blob: bytes = b"") -> tuple:
        "Send a request, wait for the reply: (answer, bytes). Raises _Died after stopping the process."
        if self.process is None or self.process.poll() is not None:
            self._start()
        header = {**header, "bytes": len(blob), "cpu": self.cpu, "seconds": self.seconds}
        data = json.dumps(header).encode()
        deadline = time.monotonic() + self.seconds
        try:
            self._write(struct.pack(">I", len(data)) + data + blob, deadline)
            return self._reply(deadline)
        except _Died:
            raise
        except BaseException:  # Ctrl-C halfway: the next reply would belong to this request
            self.stop()
            raise

    def _start(self):
        self.stop()
        try:
            self.process = subprocess.Popen([self.python, "-s", "-c", _BOOT, _ROOT, str(self.memory_mb), str(os.getpid())],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                            env=_env.environment(), start_new_session=True, cwd="/", bufsize=0)
        except OSError as e:
            raise LayoutError(f"cannot start the layout interpreter {self.python}: {e}") from e
        self.started += 1
        os.set_blocking(self.process.stdin.fileno(), False)
        try:
            self._reply(time.monotonic() + START)
        except _Died as e:
            raise LayoutError(f"the judge does not start in {self.python}: {e}. Run `{self.python} -c 'import klayout.db'`, or "
                              f"make the interpreter again with `{sys.executable} -m grpo_lab.layout.env`.") from e

    def _write(self, data: bytes, deadline: float):
        view, fd = memoryview(data), self.process.stdin.fileno()
        while view:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [fd], [], left)[1]:
                self._dead("timeout")
            try:
                view = view[os.write(fd, view):]
            except BlockingIOError:
                continue
            except OSError:
                self._dead("died")

    def _read(self, count: int, deadline: float) -> bytes:
        parts, fd = [], self.process.stdout.fileno()
        while count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                self._dead("timeout")
            part = os.read(fd, min(count, 1 << 20))
            if not part:
                self._dead("died")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _reply(self, deadline: float) -> tuple:
        answer = json.loads(self._read(struct.unpack(">I", self._read(4, deadline))[0], deadline))
        return answer, self._read(answer["bytes"], deadline)

    def _dead(self, how: str):
        code = self.stop()
        if how == "timeout":
            raise _Died("timeout", f"DRC and LVS took more than {self.seconds:g} s")
        if code == -signal.SIGPROF:
            raise _Died("timeout", f"DRC and LVS took more than {self.cpu:g} s of computing")
        if code == 77:
            raise _Died("memory", "DRC and LVS ran out of memory")
        raise _Died("timeout", f"the judge died on this layout (exit status {code})")

    def stop(self):
        "End the process if there is one; its exit status."
        process, self.process = self.process, None
        if process is None:
            return None
        code = process.poll()
        if code is None:
            try:
                code = process.wait(0.05)  # already on its way out?
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        process.stdin.close()
        process.stdout.close()
        return code


class LayoutService:
    """Verdicts on circuit programs: build, DRC, LVS.

        with LayoutService(workers=2) as svc:
            svc.verify([(code, netlist), ...])      # a dict with the Verdict fields for each, in order
            svc.verify(items, keep_gds=True)        # adds "gds": bytes (None where nothing was built)
            svc.judge(gds, netlist)                 # DRC and LVS of a layout that is there already
            svc.render(gds, boxes=[...])            # PNG

    Thread-safe. Raises LayoutError (the interpreter cannot be had), grpo_lab.sandbox.SandboxError (this machine cannot
    contain programs as asked), ValueError (a netlist that cannot be read: that is the problem's fault, not a candidate's).
    """

    def __init__(self,
                 workers: int = 2,  # programs at a time; as many builders and judges
                 drc: str = "rules",  # rules (in process) | full (foundry deck, KLayout program) | none
                 seconds: float = 10.0,  # for building one program; DRC and LVS have 20 s of computing, or this if longer
                 memory_mb: int = 2048,  # for building one program, on top of the warm interpreter; likewise for judging
                 strength: str = "strong",  # weakest sandbox accepted: strong | no-landlock | no-seccomp | none
                 python: str | None = None,  # layout interpreter; None finds it, or makes it (minutes, once)
                 cache: bool = True):  # remember verdicts by program and netlist
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        if drc not in ("rules", "full", "none"):
            raise ValueError(f"drc must be rules, full or none, not {drc!r}")
        from grpo_lab.sandbox import Limits, Pool
        self._pid, self._failures = os.getpid(), 0
        self.workers, self.drc, self.seconds = workers, drc, seconds
        self.python = python or _env.layout_python()
        self._decks, self._deck_lock = queue.LifoQueue(), threading.Lock()
        if drc == "full":
            from .deck import Deck
            for _ in range(workers):
                self._decks.put(Deck())
        self._cache: collections.OrderedDict | None = collections.OrderedDict() if cache else None
        self._cache_lock = threading.Lock()
        self._closed = False
        limits = Limits(seconds=seconds, memory_mb=memory_mb, reply_bytes=GDS_BYTES + 1)
        self.pool = Pool(workers=workers, python=self.python, preload="grpo_lab.layout.guest", limits=limits, strength=strength,
                         start_seconds=START,
                         env={k: v for k, v in _env.environment().items() if k not in ("PATH", "HOME", "LANG")})
        self._judges: queue.LifoQueue = queue.LifoQueue()
        self.judges = [Judge(self.python, max(20.0, seconds), max(4096, memory_mb)) for _ in range(workers)]
        for judge in self.judges:
            self._judges.put(judge)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="layout")

    # -- what others call ------------------------------------------------------------------------------------------------

    def verify(self,
               items,  # (program, trusted netlist) pairs
               progress=None,  # called as progress(done, total) after each
               keep_gds: bool = False,  # add the layout itself as "gds"
               ) -> list[dict]:
        "One dict with the Verdict fields per item, in order. Equal items are judged once."
        items = [(str(code), str(netlist)) for code, netlist in items]
        for number, netlist in enumerate(dict.fromkeys(netlist for _, netlist in items)):
            try:
                spice.read(netlist)
            except spice.SpiceError as e:
                raise ValueError(f"the trusted netlist of item {[n for _, n in items].index(netlist)} cannot be read: {e}") from e
        if self._closed:
            raise LayoutError("the layout service is closed")
        found = {item: self._remembered(item, keep_gds) for item in dict.fromkeys(items)}
        futures = self._start([item for item, known in found.items() if known is None])
        counts = collections.Counter(items)
        done = sum(counts[item] for item, known in found.items() if known is not None)
        if progress and done:
            progress(done, len(items))
        pending = set(futures)
        try:
            while pending:
                ready, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in ready:
                    item = futures[future]
                    found[item] = verdict = future.result()
                    self._remember(item, verdict)
                    done += counts[item]
                    if progress:
                        progress(done, len(items))
        except BaseException:
            for future in pending:
                future.cancel()
            raise
        out = []
        for item in items:
            verdict = json.loads(json.dumps({k: v for k, v in found[item].items() if k != "gds"}))
            if keep_gds:
                verdict["gds"] = found[item]["gds"]
            out.append(verdict)
        return out

    def _start(self, items: list) -> dict:
        """A future for each item. Programs for one netlist ask for the same parts: they stay in one lane, whose builder has them ready.

        A lane with nothing left takes the last of the longest.
        """
        wanted = {item: parts(item[0]) for item in items}
        often = collections.Counter(json.dumps(call) for calls in wanted.values() for call in calls)
        hints = {item: [c for c in calls if often[json.dumps(c)] > 1] for item, calls in wanted.items()}
        groups = collections.defaultdict(list)
        for item in items:
            groups[item[1]].append(item)
        lanes, futures, lock = [collections.deque() for _ in range(self.workers)], {item: Future() for item in items}, threading.Lock()
        for group in sorted(groups.values(), key=len, reverse=True):
            min(lanes, key=len).extend(group)

        def work(lane):
            while True:
                with lock:
                    longest = max(lanes, key=len)
                    item = lanes[lane].popleft() if lanes[lane] else longest.pop() if longest else None
                if item is None:
                    return
                if not futures[item].set_running_or_notify_cancel():
                    continue
                try:
                    futures[item].set_result(self._verify(*item, hints[item], lane))
                except BaseException as e:
                    futures[item].set_exception(e)

        for lane in range(min(self.workers, len(items))):
            self._threads.submit(work, lane).add_done_callback(lambda f: f.cancelled() and [x.cancel() for x in futures.values()])
        return {future: item for item, future in futures.items()}

    def judge(self, gds: bytes, netlist: str) -> dict:
        "The verdict on a layout that is there already (trusted or not: it is read as data)."
        try:
            spice.read(netlist)
        except spice.SpiceError as e:
            raise ValueError(f"the trusted netlist cannot be read: {e}") from e
        return self._threads.submit(self._judge, bytes(gds), netlist).result()

    def render(self,
               gds: bytes,
               boxes=(),  # violations to outline in red: [x1, y1, x2, y2] in um
               width: int = 480,
               height: int = 360,  # size of the picture in pixels
               legend: bool = True,  # name the layers and the scale under the picture
               ) -> bytes:  # a PNG file
        "KLayout's picture of a layout. Raises ValueError where the bytes are no layout that can be drawn."
        header = {"op": "render", "boxes": [list(map(float, b)) for b in boxes], "width": int(width), "height": int(height),
                  "legend": bool(legend)}
        try:
            answer, png = self._threads.submit(self._ask, header, bytes(gds)).result()
        except _Died as e:
            raise ValueError(f"the layout cannot be drawn: {e}") from e
        if "error" in answer:
            raise LayoutError(f"the picture could not be drawn: {answer['error']}")
        if "refused" in answer:
            raise ValueError(f"the layout cannot be drawn: {answer['refused']}")
        return png

    def close(self):
        "End every process now."
        if os.getpid() != self._pid:  # a fork of the process that owns them
            return
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.pool.close()
        for judge in self.judges:
            process = judge.process
            if process is not None and process.poll() is None:
                process.kill()
        self._threads.shutdown(wait=True)
        for judge in self.judges:
            judge.stop()
        while True:
            try:
                self._decks.get_nowait().close()
            except queue.Empty:
                break

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __del__(self):
        if not getattr(self, "_closed", True):
            try:
                self.close()
            except Exception:
                pass

    # -- one candidate -----------------------------------------------------------------------------------------------------

    def _verify(self, code: str, netlist: str, hint: list, lane: int) -> dict:
        start = time.monotonic()
        payload = code.encode("utf-8", "replace")
        outcome = self.pool.run(payload, hint=hint, lane=lane)
        if outcome.status == "timeout" and outcome.cpu < 0.6 * self.seconds:  # starved rather than slow: once more
            outcome = self.pool.run(payload, dataclasses.replace(self.pool.limits, seconds=PATIENCE * self.seconds), hint, lane)
        self._failures = self._failures + 1 if outcome.reason == "sandbox" else 0
        if self._failures > 4:
            raise LayoutError(f"the sandbox keeps failing: {outcome.log}")
        if outcome.status == "ok":
            kind, body = outcome.reply[:1], outcome.reply[1:]
            if kind == b"G":
                verdict = self._judge(body, netlist)
                if verdict["status"] == "ok":
                    verdict["gds"] = body
                if outcome.log and verdict["status"] == "ok":
                    verdict["log"] = _cut(outcome.log)
            else:
                verdict = self._failed(*_message(kind, body), netlist)
        else:
            verdict = self._failed(outcome.status, outcome.log, netlist)
        verdict["seconds"] = round(time.monotonic() - start, 3)
        return verdict

    def _judge(self, gds: bytes, netlist: str) -> dict:
        start = time.monotonic()
        try:
            answer, _ = self._ask({"op": "judge", "netlist": netlist, "drc": "rules" if self.drc == "rules" else "none"}, gds)
        except _Died as e:
            return self._failed(e.status, str(e), netlist)
        if "error" in answer:  # a layout nobody thought of: its author's loss, and the trace is in the log
            return self._failed("runtime_error", f"the judge failed on this layout\n{answer['error']}", netlist)
        if "refused" in answer:
            return self._failed("runtime_error", answer["refused"], netlist)
        drc, lvs = answer["drc"], answer["lvs"]
        if self.drc == "full":
            try:
                drc = self._full(gds)
            except TimeoutError as e:
                return self._failed("timeout", str(e), netlist)
        return {"status": "ok", "passed": 0, "total": 0, "drc_errors": sum(d["count"] for d in drc), "lvs_errors": lvs["errors"],
                "devices": lvs["devices"], "devices_expected": lvs["devices_expected"], "error_details": drc + lvs["details"],
                "log": "", "seconds": round(time.monotonic() - start, 3), "gds": gds}

    def _ask(self, header: dict, blob: bytes) -> tuple:
        judge = self._judges.get()
        try:
            answer, body = judge.ask(header, blob)
        finally:
            self._judges.put(judge)
        return answer, body

    def _full(self, gds: bytes) -> list:
        from .deck import DeckFailed, DeckTimeout
        deck = self._decks.get()
        try:
            return deck.check(gds)
        except DeckTimeout as e:
            raise TimeoutError(str(e)) from e
        except DeckFailed as e:
            return [{"kind": "drc", "rule": "deck", "description": str(e)[:500], "count": 1, "boxes": []}]
        finally:
            self._decks.put(deck)

    def _failed(self, status: str, log: str, netlist: str) -> dict:
        lines = [line.strip() for line in log.strip().splitlines() if line.strip()]
        said = "; ".join(lines[:2]) if lines else status  # the line of the program, and what it led to
        detail = {"kind": "run", "rule": status, "description": said[:300], "count": 1, "boxes": []}
        return {"status": status, "passed": 0, "total": 0, "drc_errors": None, "lvs_errors": None, "devices": None,
                "devices_expected": len(spice.read(netlist).devices), "error_details": [detail], "log": _cut(log),
                "seconds": 0.0, "gds": None}

    # -- verdicts remembered -------------------------------------------------------------------------------------------------

    def _remembered(self, item, keep_gds: bool):
        if self._cache is None:
            return None
        with self._cache_lock:
            verdict = self._cache.get(item)
            if verdict is None or (keep_gds and verdict["status"] == "ok" and verdict["gds"] is None):
                return None
            self._cache.move_to_end(item)
            return verdict

    def _remember(self, item, verdict: dict):
        "Keep what is a property of the program; a timeout may have been the machine's fault."
        if self._cache is None or verdict["status"] in ("timeout", "memory"):
            return
        with self._cache_lock:
            self._cache[item] = {**verdict, "gds": None} if len(self._cache) > 256 else verdict
            while len(self._cache) > CACHE:
                self._cache.popitem(last=False)


def _cut(log: str) -> str:
    "Both ends of a long log: what happened stands first, what was printed follows."
    return log if len(log) <= LOG else f"{log[:LOG // 2]}\n[...]\n{log[-LOG // 2:]}"


def _message(kind: bytes, body: bytes) -> tuple:
    "Status and text of a child's refusal; whatever else a child may have written is its own runtime error."
    try:
        answer = json.loads(body) if kind == b"E" else {}
        if answer["status"] in ("syntax_error", "runtime_error", "memory", "refused") and isinstance(answer["message"], str):
            return answer["status"], answer["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return "runtime_error", "the program sent something that is no layout"
