"""The pool: what ends how, who dies with whom, and what is refused."""
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from grpo_lab.sandbox import Limits, Pool, SandboxError, kernel, strength
from grpo_lab.sandbox.pool import clean_environment

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "sandbox_attacks"))
from runner import children_of  # noqa: E402

needs_linux = pytest.mark.skipif(strength("landlock").level == "none", reason=f"no sandbox here: {strength()}")
LEVEL = strength().level
GUEST = """
def prepare():
    import json, os, random, socket, threading, time, mmap, ctypes
def run(payload):
    space = {}
    exec(compile(payload.decode(), "<program>", "exec"), space)
    return repr(space.get("out")).encode()
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guest")
    (folder / "my_guest.py").write_text(GUEST)
    return folder


@pytest.fixture(scope="module")
def pool(guest):
    with Pool(2, preload=f"{guest}/my_guest.py", limits=Limits(seconds=20, memory_mb=256, reply_bytes=1 << 20, output_bytes=4096), strength=LEVEL) as p:
        yield p


def run(pool, text, **kw): return pool.run(textwrap.dedent(text).encode(), Limits(**{**pool.limits.__dict__, **kw}) if kw else None)


def gone(pids, seconds=5):
    "Are these processes gone (zombies of a dead parent count as gone)?"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = set()
        for p in pids:
            try:
                with open(f"/proc/{p}/stat") as f:
                    if f.read().rsplit(")", 1)[1].split()[0] not in "ZX": alive.add(p)
            except OSError: pass
        if not alive: return True
        time.sleep(0.05)
    return False


@needs_linux
@pytest.mark.parametrize("text,status,reason,word", [
    ("out = 1 + 1", "ok", "", ""),
    ("1 / 0", "runtime_error", "exception", "ZeroDivisionError"),
    ("x = (", "syntax_error", "syntax", "never closed"),
    ("open('/etc/passwd')", "refused", "refused", "not permitted"),
    ("import os\nos.fork()", "refused", "refused", "not permitted"),
    ("import os\nos.execv('/bin/true', ['x'])", "refused", "refused", "forbidden system call"),
    ("x = bytearray(1 << 30)", "memory", "memory", "MemoryError"),
    ("x = []\nwhile True: x.append(bytes(1 << 20))", "memory", "memory", "MemoryError"),
    ("print('x' * 100000)\nimport time\ntime.sleep(60)", "runtime_error", "output_flood", "4096"),
    ("out = 'x' * (2 << 20)", "runtime_error", "reply_flood", "answered with more"),
    ("import os\nos._exit(0)", "runtime_error", "exit", "without an answer"),
    ("import sys\nsys.exit(3)", "runtime_error", "exit", "3"),
    ("import ctypes\nctypes.string_at(1)", "runtime_error", "killed", "Segmentation"),
    ("def f(): f()\nf()", "runtime_error", "exception", "RecursionError"),
    ("import os\nos.close(3)\nwhile True: pass", "runtime_error", "protocol", "ended its conversation"),
    ("import os\nos.write(3, b'Rxxx')\nos._exit(0)", "runtime_error", "exit", ""),
    ("import os\nos.write(3, b'Zxxxxxxxx' * 100)\nwhile True: pass", "runtime_error", "reply_flood", ""),
    ("import os\nos.write(3, b'E\\0\\0\\0\\2{}')\nwhile True: pass", "runtime_error", "protocol", "no message of ours"),
])
def test_every_end_is_told_apart(pool, text, status, reason, word):
    out = pool.run(text.encode())
    assert (out.status, out.reason) == (status, reason) and word in out.log, out


@needs_linux
@pytest.mark.parametrize("text", ["while True: pass", "import time\ntime.sleep(100)", "import os\nos.read(3, 1)",
                                  "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\ntime.sleep(100)"])
def test_timeout(pool, text):
    assert run(pool, text, seconds=0.4).status == "timeout"


@needs_linux
def test_output_is_kept_and_log_ends_with_the_cause(pool):
    out = run(pool, "print('hello')\nraise ValueError('boom')")
    assert out.output == "hello\n" and "ValueError: boom" in out.log and out.why == "ValueError: boom"


@needs_linux
def test_each_program_starts_from_the_same_clean_process(pool, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret-token")
    run(pool, "import json, os\njson.x = 1\nos.environ['Y'] = '1'")
    out = run(pool, "import json, os\nout = (hasattr(json, 'x'), 'Y' in os.environ, 'secret' in str(os.environ), hash('a'))")
    again = run(pool, "out = (False, False, False, hash('a'))")
    assert out.reply == again.reply and out.reply.startswith(b"(False, False, False")
    assert "MY_TOKEN" not in clean_environment()
    with Pool(1, preload=pool.preload, strength=LEVEL) as fresh:
        assert run(fresh, "import os\nout = 'secret' in str(os.environ)").reply == b"False"


@needs_linux
def test_identity_and_limits_of_a_child(pool):
    out = json.loads(eval(run(pool, """
        import os, json, resource
        out = json.dumps([os.getuid(), os.getgid(), os.getgroups() if os.getuid() else [], resource.getrlimit(resource.RLIMIT_CORE)[1],
                          resource.getrlimit(resource.RLIMIT_NPROC)[1], resource.getrlimit(resource.RLIMIT_NOFILE)[1], resource.getrlimit(resource.RLIMIT_FSIZE)[1]])
    """.replace("os.getgroups() if os.getuid() else []", "0")).reply))
    uid, gid, _, core, nproc, nofile, fsize = out
    assert core == nproc == fsize == 0 and nofile <= 64
    if os.getuid() == 0: assert uid != 0 and gid != 0


@needs_linux
def test_map_keeps_order_and_threads_may_share_a_pool(pool):
    outs = list(pool.map([f"import time\ntime.sleep({0.02 * (5 - i % 5)})\nout = {i}".encode() for i in range(12)]))
    assert [o.reply for o in outs] == [str(i).encode() for i in range(12)]


@needs_linux
def test_no_descriptor_and_no_process_is_lost(pool):
    run(pool, "out = 1")
    fds, kids = len(os.listdir("/proc/self/fd")), children_of(os.getpid())
    for text in ("out = 1", "1 / 0", "import os\nos._exit(0)", "print('x' * 100000)", "import os\nos.close(3)") * 5: run(pool, text)
    assert len(os.listdir("/proc/self/fd")) == fds and children_of(os.getpid()) == kids


@needs_linux
def test_a_killed_zygote_is_replaced_and_its_job_tried_again(guest):
    with Pool(1, preload=f"{guest}/my_guest.py", strength=LEVEL, limits=Limits(seconds=30)) as p:
        zygote = next(iter(p._all)).proc.pid
        outs = []
        t = threading.Thread(target=lambda: outs.append(p.run(b"import time\ntime.sleep(1)\nout = 7")))
        t.start()
        end = time.monotonic() + 10
        while not children_of(zygote) and time.monotonic() < end: time.sleep(0.01)
        child = children_of(zygote)
        assert child
        os.kill(zygote, signal.SIGKILL)
        t.join(60)
        assert outs[0].status == "ok" and outs[0].reply == b"7" and p.replaced == 1
        assert gone(child | {zygote})
        assert p.run(b"out = 8").reply == b"8"


@needs_linux
def test_a_job_that_kills_its_zygote_twice_is_reported(guest):
    with Pool(1, preload=f"{guest}/my_guest.py", strength=LEVEL, limits=Limits(seconds=30)) as p:
        stop = threading.Event()

        def killer():
            while not stop.is_set():
                for w in list(p._all):
                    if children_of(w.proc.pid):
                        try: os.kill(w.proc.pid, signal.SIGKILL)
                        except OSError: pass
                time.sleep(0.01)
        t = threading.Thread(target=killer); t.start()
        try: out = p.run(b"import time\ntime.sleep(20)")
        finally: stop.set(); t.join()
        assert out.reason == "sandbox" and out.status == "runtime_error"
        assert p.run(b"out = 8").reply == b"8"


SUPERVISOR = """
import os, sys, time, threading
sys.path.insert(0, {root!r})
from grpo_lab.sandbox import Pool, Limits, CodeVerifier
{body}
"""


def supervisor(body):
    text = SUPERVISOR.format(root=str(HERE.parent), body=textwrap.dedent(body))
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@needs_linux
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("what", ["pool", "judge", "busy judge"])
def test_a_dead_supervisor_leaves_nothing(guest, how, what):
    if what == "pool":
        body = f"""
            p = Pool(2, preload={str(guest / 'my_guest.py')!r}, strength={LEVEL!r}, limits=Limits(seconds=100))
            threading.Thread(target=p.run, args=(b"while True: pass",), daemon=True).start()
        """
    else:
        program, test = ("def f():\\n    while True: pass", "assert f()") if what == "judge" else ("def f(): return 1", "while f(): pass\\nassert False")
        body = f"""
            v = CodeVerifier(2, strength={LEVEL!r})
            threading.Thread(target=v.verify_one, args=("{program}", ["{test}"]), kwargs=dict(timeout=100), daemon=True).start()
        """
    p = supervisor(textwrap.dedent(body) + "\ntime.sleep(1)\nprint('up', flush=True)\ntime.sleep(100)\n")
    assert p.stdout.readline() == "up\n", p.stderr.read()
    pids = children_of(p.pid)
    assert len(pids) >= 3
    os.kill(p.pid, how)
    p.wait(20)
    assert gone(pids, 10), f"left behind: {pids}"


@needs_linux
def test_a_dead_thread_of_the_supervisor_ends_nothing(guest):
    made = []
    t = threading.Thread(target=lambda: made.append(Pool(1, preload=f"{guest}/my_guest.py", strength=LEVEL)))
    t.start(); t.join()
    time.sleep(0.2)
    with made[0] as p: assert p.run(b"out = 1").reply == b"1" and p.replaced == 0


@needs_linux
def test_ctrl_c_during_a_job_leaves_no_child_and_a_working_pool(guest):
    p = supervisor(f"""
        import signal
        sys.path.insert(0, {str(HERE / 'sandbox_attacks')!r})
        pool = Pool(1, preload={str(guest / 'my_guest.py')!r}, strength={LEVEL!r}, limits=Limits(seconds=100))
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        try: pool.run(b"while True: pass"); print("finished")
        except KeyboardInterrupt: print("interrupted")
        print(pool.run(b"out = 5").reply)
        from runner import children_of
        print(len(children_of(os.getpid())))
    """)
    out, err = p.communicate(timeout=60)
    assert out.split() == ["interrupted", "b'5'", "1"], out + err


@needs_linux
def test_other_interpreters(guest):
    found = []
    for v in ("3.10", "3.12"):
        for path in (shutil.which(f"python{v}"), *sorted(Path(os.path.expanduser("~/.pyenv/versions")).glob(f"{v}.*/bin/python"))):
            if path and subprocess.run([str(path), "-c", "import ctypes"], capture_output=True).returncode == 0: found.append(str(path)); break
    if not found: pytest.skip("no other Python 3.10 or 3.12 here")
    for python in found:
        with Pool(1, python=python, preload=f"{guest}/my_guest.py", strength=LEVEL) as p:
            assert p.run(b"import sys\nout = sys.version_info[:2]").reply == str(tuple(map(int, Path(python).resolve().name.removeprefix("python").split(".")))).encode()
            assert p.run(b"import os\nos.fork()").status == "refused" and p.run(b"open('/etc/passwd')").status == "refused"


@needs_linux
def test_scratch_file_and_readable_folder(guest):
    tmp_path = Path(tempfile.mkdtemp(prefix="sandbox-test-")); tmp_path.chmod(0o755)     # where the child's own user may look
    (tmp_path / "given").write_text("given"); (tmp_path / "other").mkdir(); (tmp_path / "other" / "x").write_text("x")
    (tmp_path / "given").chmod(0o644)
    if not strength().landlock: pytest.skip("this kernel has no Landlock")
    with Pool(1, preload=f"{guest}/my_guest.py", limits=Limits(seconds=20, file_bytes=1000, readable=(str(tmp_path / "given"),))) as p:
        write = "import os\npath = os.environ['SANDBOX_FILE']\n"
        assert p.run((write + "open(path, 'wb').write(b'abc')\nout = open(path).read()").encode()).reply == b"'abc'"
        assert "File too large" in p.run((write + "f = open(path, 'wb'); f.write(b'x' * 5000); f.close()").encode()).log
        assert p.run(f"out = open({str(tmp_path / 'given')!r}).read()".encode()).reply == b"'given'"
        for bad in (f"open({str(tmp_path / 'other' / 'x')!r})", "open('/etc/passwd')", f"open({str(tmp_path / 'new')!r}, 'w')",
                    f"open({str(tmp_path / 'given')!r}, 'w')", "import os\nos.listdir('/')", write + "open(path + '2', 'w')", "import os\nos.fork()"):
            assert p.run(bad.encode()).status == "refused", bad


# ------------------------------------------------------------------ refusals
def test_strength_says_what_is_missing_and_refuses(monkeypatch, guest):
    assert strength(("landlock", "seccomp")).level == "none"
    if LEVEL != "none":
        assert str(strength(("landlock",))).startswith("weaker: no Landlock")
        with pytest.raises(SandboxError, match='strength="no-landlock"'): Pool(1, without=("landlock",))
        Pool(1, preload=f"{guest}/my_guest.py", without=("landlock",), strength="no_landlock").close()
    with pytest.raises(SandboxError, match="seccomp"): Pool(1, without=("landlock", "seccomp"), strength="no-landlock")
    with pytest.raises(ValueError, match="strength must be one of"): Pool(1, strength="stong")
    with pytest.raises(ValueError, match="workers"): Pool(0)
    for platform, word in (("darwin", "Lima"), ("win32", "WSL")):
        monkeypatch.setattr(sys, "platform", platform)
        assert strength().level == "none" and word in " ".join(strength().details)
        with pytest.raises(SandboxError, match=word): Pool(1)
    monkeypatch.undo()
    monkeypatch.setattr(kernel, "ARCH", "riscv64")
    assert "untested machine" in str(strength())
    monkeypatch.setattr(kernel, "ARCH", "aarch64")
    assert strength().level == "none"


@needs_linux
def test_the_self_test_catches_a_sandbox_that_does_not_hold(guest):
    "With the filter taken away behind the pool's back, the zygote's own probe must find the doors open."
    with pytest.raises(SandboxError, match="self-test found open"):
        import grpo_lab.sandbox.pool as module
        keep = module._strength
        module._strength = lambda without=(): keep(())
        try: Pool(1, preload=f"{guest}/my_guest.py", without=("seccomp", "landlock"), strength=LEVEL)
        finally: module._strength = keep


def test_bad_preload_is_named(tmp_path):
    if LEVEL == "none": pytest.skip("no sandbox here")
    with pytest.raises(SandboxError, match="no_such_module"): Pool(1, preload="no_such_module", strength=LEVEL)
    (tmp_path / "broken.py").write_text("raise RuntimeError('cannot prepare')")
    with pytest.raises(SandboxError, match="cannot prepare"): Pool(1, preload=str(tmp_path / "broken.py"), strength=LEVEL)
    with pytest.raises((SandboxError, FileNotFoundError)): Pool(1, python="/no/such/python", strength=LEVEL)


# ------------------------------------------------------------------ the filter itself, interpreted here (also for machines not at hand)
def decide(program, arch, number, args=(0,) * 6):
    "What the BPF program answers for one system call."
    data = struct.pack("=iIQ6Q", number, kernel.AUDIT_ARCH[arch] if isinstance(arch, str) else arch, 0, *args)
    code = [struct.unpack_from("=HBBI", program, i) for i in range(0, len(program), 8)]
    pc = acc = 0
    while True:
        op, jt, jf, k = code[pc]; pc += 1
        if op == 0x20: acc = struct.unpack_from("=I", data, k)[0]
        elif op == 0x05: pc += k
        elif op == 0x15: pc += jt if acc == k else jf
        elif op == 0x35: pc += jt if acc >= k else jf
        elif op == 0x45: pc += jt if acc & k else jf
        elif op == 0x06: return k
        else: raise AssertionError(f"odd instruction {op:#x}")


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
def test_the_filter_decides_as_the_lists_say(arch, files):
    OK, DIE, EPERM = 0x7FFF0000, 0x80000000, 0x00050001
    program, t = kernel.seccomp_program(arch, files), kernel.TABLES[arch]
    allowed = set(kernel.ALLOW) | (set(kernel.ALLOW_FILES) | {"mmap", "mprotect"} if files else set())
    special = {"mmap", "mprotect", "fcntl", "prlimit64", "ioctl", "clone3"}
    for name, n in t.items():
        if name in special - allowed: continue
        assert decide(program, arch, n) == (OK if name in allowed else DIE if name in kernel.KILL else EPERM), name
    for n in range(600):
        if n not in t.values(): assert decide(program, arch, n) == EPERM, n
    for name in ("clone", "socket", "kill", "tgkill", "prctl", "capset"): assert decide(program, arch, t[name]) == EPERM
    for other in (0x40000003, 0xC0000028, 0): assert decide(program, other, t["read"]) == DIE        # i386, arm, nonsense
    if arch == "x86_64":
        for n in (0x40000000, 0x40000000 + 59, 0xFFFFFFFF): assert decide(program, arch, n & 0x7FFFFFFF if n == 0xFFFFFFFF else n) == DIE
    assert decide(program, arch, t["fcntl"], (1, 8, 0, 0, 0, 0)) == EPERM and decide(program, arch, t["fcntl"], (1, 3, 0, 0, 0, 0)) == OK
    assert decide(program, arch, t["prlimit64"], (0, 7, 0, 1, 0, 0)) == OK
    for args in ((1, 7, 0, 1, 0, 0), (0, 7, 1, 0, 0, 0), (0, 7, 1 << 32, 0, 0, 0)): assert decide(program, arch, t["prlimit64"], args) == EPERM
    if not files:
        assert decide(program, arch, t["mmap"], (0, 4096, 3, 0x22, 0, 0)) == OK and decide(program, arch, t["mmap"], (0, 4096, 7, 0x22, 0, 0)) == EPERM
        assert decide(program, arch, t["mprotect"], (0, 4096, 5, 0, 0, 0)) == EPERM
        assert decide(program, arch, t["newfstatat"], (3, 0, 0, 0x1000, 0, 0)) == EPERM        # the flag does not keep a path from being followed
