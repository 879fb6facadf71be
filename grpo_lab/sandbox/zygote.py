"""The zygote: a clean interpreter that has imported what programs need, and forks one hardened child per job.

It never holds a payload: the supervisor hands it descriptors, it hands them to the child, and the child
reads its payload from them after it has been locked in. What it may be told is which trusted parts to have
ready (`warm`): plain data that the preload module checks and turns into calls of its own library.
"""
import ctypes
import fcntl
import gc
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback

from . import kernel, wire

DATA = 3                                         # the child's descriptor of the channel to the supervisor
MEMORY_EXIT = 77
HIGH = 64                                        # descriptors the zygote keeps live above this


# ------------------------------------------------------------------ the child
def explain(error, skip=__file__):
    "`(status, reason, text)` of an exception that ended a program; the text is its last lines."
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-6))[-4000:]
    if isinstance(error, MemoryError): return "memory", "memory", text or "MemoryError"
    if isinstance(error, SyntaxError) and error.filename in ("<program>", "<string>", "<unknown>"):
        return "syntax_error", "syntax", text
    refused = isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == kernel.EPERM) \
        or (isinstance(error, RuntimeError) and "can't start new thread" in str(error))
    return ("refused", "refused", text) if refused else ("runtime_error", "exception", text)


def harden(spec, state):
    "Lock this process in, for good. Raises OSError if any step the strength promises cannot be done."
    k = kernel
    scratch = spec.get("scratch")
    ruleset = state["ruleset"]
    if state["landlock"] and (scratch or spec.get("readable")):
        ruleset = k.landlock_ruleset(state["landlock"])
        if scratch: k.landlock_allow(ruleset, scratch, True, state["landlock"])
        for path in spec.get("readable") or (): k.landlock_allow(ruleset, path, False, state["landlock"])
    if scratch and os.geteuid() == 0: os.chown(scratch, state["uid"], state["uid"])
    k.set_limits(state["base"] + (spec["memory_mb"] << 20), spec["seconds"], spec.get("file_bytes", 0))
    k.become_nobody(state["uid"])
    k.prctl(k.PR_SET_DUMPABLE, 0)
    k.prctl(k.PR_SET_PDEATHSIG, signal.SIGKILL)          # after the change of identity, which clears it
    if os.getppid() != state["pid"]: os._exit(1)
    k.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
    if state["caps"]: k.drop_capabilities()
    if state["landlock"]: k.landlock_restrict(ruleset)
    k.close_from(DATA + 1)
    if state["seccomp"]: k.seccomp_install(state["program_files" if scratch or spec.get("readable") else "program"])


def child(spec, fds, state, guest):
    "Runs in the forked child; never returns."
    code = 1
    try:
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, HIGH) for fd in fds]      # out of the way of 0..3
        os.dup2(high[0], DATA); os.dup2(high[1], 1); os.dup2(high[1], 2)
        if len(high) > 2: os.dup2(high[2], 0); os.dup2(high[3], 1)       # stdin and stdout of their own
        if spec.get("scratch"): os.environ["SANDBOX_FILE"] = spec["scratch"]
        try: harden(spec, state)
        except BaseException as e:
            wire.send(DATA, b"E", json.dumps(["runtime_error", "sandbox", f"the sandbox could not lock in: {e}"]).encode())
            os._exit(1)
        kind, payload = wire.recv(DATA, 1 << 31)
        try:
            reply = guest(payload)
            sys.stdout.flush()
            wire.send(DATA, b"R", reply)
            code = 0
        except SystemExit as e:
            flush()
            wire.send(DATA, b"E", json.dumps(["runtime_error", "exit", f"the program called exit({e.code!r})"]).encode())
        except BaseException as e:
            flush()
            wire.send(DATA, b"E", json.dumps(explain(e)).encode())
    except MemoryError: code = MEMORY_EXIT
    except BaseException: pass
    os._exit(code)


def flush():
    for f in (sys.stdout, sys.stderr):
        try: f.flush()
        except BaseException: pass


# ------------------------------------------------------------------ the zygote
PROBES = {"files": "open('/etc/passwd').close()", "fork": "os.fork() or os._exit(0)", "socket": "socket.socket()",
          "kill": "os.kill(os.getppid(), 0)"}


def probe(payload):
    "Guest of the self-test: which of the four doors does this child find open?"
    found = []
    for name, code in PROBES.items():
        try:
            exec(code); found.append(name)
        except BaseException: pass
    return json.dumps(found).encode()


def self_test(state):
    "Fork one hardened child and report the doors it found open (a truthful strength, measured here and now)."
    a, b = socket.socketpair(); r, w = os.pipe()
    pid = os.fork()
    if pid == 0: child({"memory_mb": 256, "seconds": 5}, [b.fileno(), w], state, probe)
    b.close(); os.close(w)
    try:
        a.settimeout(10)
        wire.send(a.fileno(), b"J")
        a.setblocking(True)
        if not select.select([a], [], [], 60)[0]: raise OSError("the self-test hung")       # a busy machine may take its time
        kind, body = wire.recv(a.fileno(), 65536)
        if kind != b"R": raise OSError(json.loads(body)[2])
        return json.loads(body)
    finally:
        os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); a.close(); os.close(r)


def vmsize():
    with open("/proc/self/statm") as f: return int(f.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def load(name, root):
    "Import the guest (a module's name, or a .py file) with the project's parent folder on the path for just that long."
    sys.path.insert(0, root)
    try:
        if name.endswith(".py"):
            spec = importlib.util.spec_from_file_location(os.path.basename(name)[:-3], name)
            guest = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(guest)
        else: guest = importlib.import_module(name)
        if hasattr(guest, "prepare"): guest.prepare()
    finally:
        sys.path.remove(root)
    return guest


def watch(life):
    """Have the kernel end this process the moment the supervisor is gone, whatever it is doing.

    `life` is the read end of a pipe whose write end only the supervisor holds: when that closes, SIGIO
    (default: terminate) is sent here. Unlike PDEATHSIG it does not fire when a mere thread of the supervisor ends.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]: os._exit(0)           # it went before we looked


def cheap_fork():
    """fork(2) without Python's own after-fork work, where this process has one thread.

    That work (locks, thread list, seeds) mends what other threads left behind; here there are none, and it would touch
    two hundred pages in every child, more than the fork itself costs. A consequence worth having: `random`, unless
    seeded, starts alike in every child, so that a verdict can be had twice.
    """
    if len(os.listdir("/proc/self/task")) > 1: return os.fork
    return ctypes.PyDLL(None).fork


def main(control, config):
    "Serve spawn and reap requests until the supervisor is gone."
    watch(config["life"])
    ctl = socket.socket(fileno=control)
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    without = config["without"]
    state = {"pid": os.getpid(), "caps": True, "uid": config["uid"], "ruleset": -1,
             "landlock": 0 if "landlock" in without else kernel.landlock_abi(),
             "seccomp": "seccomp" not in without and kernel.seccomp_available()}
    try:
        module = load(config["preload"], config["root"])
        guest, warm = module.run, getattr(module, "warm", None)
        if state["seccomp"]:
            state["program"] = kernel.seccomp_program()
            state["program_files"] = kernel.seccomp_program(files=True)
        if state["landlock"]:
            fd = kernel.landlock_ruleset(state["landlock"])
            state["ruleset"] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH); os.close(fd)
        kernel.drop_bounding()
        try:                                             # when memory runs out, this family goes first
            with open("/proc/self/oom_score_adj", "w") as f: f.write("1000")
        except OSError: pass
        gc.collect(); gc.freeze()
        try: kernel.libc().malloc_trim(0)                # pages given back now are not copied at every fork
        except AttributeError: pass                      # another C library than glibc
        fork = cheap_fork()
        state["base"] = vmsize()
        doors = self_test(state)
        threads = len(os.listdir("/proc/self/task"))
        ctl.send(json.dumps({"ready": True, "doors": doors, "landlock": state["landlock"], "threads": threads,
                             "seccomp": state["seccomp"], "base_mb": state["base"] >> 20}).encode())
    except BaseException as e:
        text = "".join(traceback.format_exception(type(e), e, e.__traceback__))[-6000:]
        ctl.send(json.dumps({"ready": False, "error": text}).encode())
        return
    folder, pid, scratch, deadline = None, 0, None, 0.0

    def end():
        "Kill and reap the child of now; its wait status and usage."
        nonlocal pid, scratch
        status, usage = 0, None
        if pid:
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            pid = 0
        if scratch:
            os.unlink(scratch); scratch = None
        return status, usage

    try:
        while True:
            if not select.select([ctl], [], [], 1.0)[0]:
                if os.getppid() != parent: break
                if pid and time.monotonic() > deadline: os.kill(pid, signal.SIGKILL)
                continue
            msg, fds, _, _ = socket.recv_fds(ctl, 65536, 4)
            if not msg: break
            spec = json.loads(msg)
            if spec["do"] == "spawn":
                if spec.get("hint") and warm is not None and warm(spec["hint"]):
                    gc.freeze()
                    state["base"] = vmsize()
                if spec.get("file_bytes"):
                    folder = folder or tempfile.mkdtemp(prefix="grpo-lab-")
                    os.chmod(folder, 0o711)
                    fd, scratch = tempfile.mkstemp(dir=folder, suffix=spec.get("suffix", "")); os.close(fd)
                    spec["scratch"] = scratch
                deadline = time.monotonic() + 6 * spec["seconds"] + 5      # in case the supervisor sleeps
                pid = fork()
                if pid == 0: child(spec, fds, state, guest)
                for fd in fds: os.close(fd)
                ctl.send(json.dumps({"pid": pid}).encode())
            else:
                status, usage = end()
                ctl.send(json.dumps({"status": status, "cpu": usage.ru_utime + usage.ru_stime if usage else 0.0,
                                     "max_kb": usage.ru_maxrss if usage else 0}).encode())
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        end()
        if folder:
            try: os.rmdir(folder)
            except OSError: pass
