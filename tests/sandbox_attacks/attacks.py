"""The attack suite: programs that try to be rewarded, to hurt, to reach out, or to meet one another.

Every attack has a control: the same program is first run without the sandbox and must succeed there, so that a
passing test means "stopped" and not "never worked". Two shapes:

- FORGE: the program should double its argument and does not. `grader` names the naive grader (naive.py) it fools.
- HIT:   the program's f() does something it should not be able to do and returns "HIT" when it managed.
  kind "hang" instead: f() must not come to an end by itself, and survive SIGTERM where `stubborn`.

Upper-case words such as SECRET_FILE are replaced by the runner with values of the run.
"""
from dataclasses import dataclass, field

DOUBLE = ("assert f(1) == 2", "assert f(5) == 10")


@dataclass
class Attack:
    name: str
    group: str                      # forge | resources | reach | siblings
    code: str
    grader: str = ""                # naive grader that a forgery fools
    tests: tuple = DOUBLE
    hang: bool = False
    stubborn: bool = False
    first: str = ""                 # siblings: the program that runs before (or beside) this one
    beside: bool = False
    needs: str = ""                 # '' | x86_64: what the control needs


ATTACKS = []


def forge(name, grader, code, tests=DOUBLE): ATTACKS.append(Attack(name, "forge", code, grader, tests))
def hit(name, group, code, **kw): ATTACKS.append(Attack(name, group, code, tests=("assert f() == 'HIT'",), **kw))


# ------------------------------------------------------------------ forging: the answer that equals everything
forge("eq_always_true", "exit", """
class E:
    def __eq__(self, other): return True
def f(x): return E()
""")
forge("eq_int_subclass", "exit", """
class E(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return E(7)
""")
forge("eq_str_subclass", "exit", """
class E(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def f(x): return E('')
""", ("assert f(1) == 'two'",))
forge("eq_list_subclass", "exit", """
class E(list):
    def __eq__(self, other): return True
def f(x): return E()
""", ("assert f(1) == [1, 1]", "assert [5, 5] == f(5)"))
forge("fake_class", "exit", """
class E:
    __class__ = int
    def __eq__(self, other): return True
def f(x): return E()
""", ("assert isinstance(f(2), int) and f(2) == 4",))
forge("metaclass_eq", "exit", """
class M(type):
    def __eq__(cls, other): return True
    __hash__ = type.__hash__
class E(metaclass=M): pass
def f(x): return E
""")
forge("membership", "exit", """
class E:
    def __eq__(self, other): return True
    def __hash__(self): return hash(4)
def f(x): return E()
""", ("assert f(2) in [4]", "assert f(2) in {4}"))
forge("ordering", "exit", """
class E:
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
def f(x): return E()
""", ("assert f(2) > 3 and f(2) < 5",))
forge("arithmetic", "exit", """
class E:
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
def f(x): return E()
""", ("assert abs(f(2) - 4) < 1e-6",))
forge("always_contains", "exit", """
class E:
    def __contains__(self, other): return True
def f(x): return E()
""", ("assert 4 in f(2)",))
forge("always_issubset", "exit", """
class E:
    def issubset(self, other): return True
def f(x): return E()
""", ("assert f(2).issubset({4})",))
forge("always_startswith", "exit", """
class E:
    def startswith(self, other): return True
def f(x): return E()
""", ("assert f('a').startswith('aa')",))
forge("class_as_function", "exit", """
class f(int):
    def __new__(cls, x): return int.__new__(cls, 0)
    def __eq__(self, other): return True
    __hash__ = int.__hash__
""")
forge("nested_in_list", "exit", """
class E:
    def __eq__(self, other): return True
def f(x): return [E(), E()]
""", ("assert f(2) == [2, 4]",))
# ------------------------------------------------------------------ forging: ending early
forge("os_exit_at_load", "exit", "import os\nos._exit(0)\n")
forge("os_exit_in_call", "exit", "import os\ndef f(x): os._exit(0)\n")
forge("sys_exit_at_load", "exit", "import sys\nsys.exit(0)\n")
forge("system_exit_in_call", "exit", "def f(x): raise SystemExit(0)\n")
forge("atexit", "exit", "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0\n")
forge("excepthook", "exit", "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef f(x): return 0\n")
forge("exec_true", "exit", "import os\ndef f(x): os.execv('/bin/true', ['true'])\n")
forge("unraisable_exit", "exit", """
import os
class D:
    def __del__(self): os._exit(0)
keep = D()
def f(x):
    global keep
    del keep
""")
# ------------------------------------------------------------------ forging: saying so
forge("print_marker", "marker", "print('ALL TESTS PASSED')\ndef f(x): return 0\n")
forge("print_marker_and_die", "marker", "import os\ndef f(x):\n    os.write(1, b'ALL TESTS PASSED\\n')\n    os.kill(os.getpid(), 9)\n")
forge("every_descriptor", "pipe", """
import os, struct
def f(x):
    for fd in range(3, 64):
        for text in (b'{"passed": true}\\n', b'passed\\n',
                     struct.pack('>cI', b'R', 2) + b'ok', struct.pack('>cI', b'V', 0)):
            try: os.write(fd, text)
            except OSError: pass
    os._exit(0)
""")
forge("answers_in_advance", "pipe", """
import os, struct
def say(body):
    for fd in range(3, 64):
        try: os.write(fd, b'{"passed": true}\\n' if fd > 3 else struct.pack('>cI', b'V', len(body)) + body)
        except OSError: pass
for n in range(6): say(b't\\0\\0\\0\\3s\\0\\0\\0\\2ok' + b'T' + b'l\\0\\0\\0\\0')
def f(x): os._exit(0)
import os
""")
forge("patched_json", "json", "import json\njson.dumps = lambda *a, **k: '{\"passed\": true}'\ndef f(x): return 0\n")
# ------------------------------------------------------------------ forging: looking into, and patching, the grader
forge("frame_append", "inproc", """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        if type(frame.f_locals.get('result')) is list: frame.f_locals['result'].append('passed')
        frame = frame.f_back
    raise SystemExit
""")
forge("frame_expected", "inproc", """
import sys
def f(x):
    frame = sys._getframe(1)
    while frame:
        consts = [c for c in frame.f_code.co_consts if type(c) is int]
        if frame.f_code.co_filename == '<string>' and len(consts) >= 2: return consts[-1] if consts[-1] != x else consts[1]
        frame = frame.f_back
""", ("assert f(1) == 2",))
forge("frame_tests", "inproc", """
import sys
def f(x):
    frame = sys._getframe(1)
    while frame:
        for t in frame.f_locals.get('tests', ()):
            if f'f({x}) ==' in t: return int(t.split('==')[1])
        frame = frame.f_back
""")
forge("gc_scan", "inproc", """
import gc
def f(x):
    for o in gc.get_objects():
        if type(o) in (list, tuple):
            for t in o:
                if type(t) is str and t.startswith('assert') and f'f({x}) ==' in t: return int(t.split('==')[1])
""")
forge("memory_scan", "inproc", """
def f(x):
    want = f'assert f({x}) == '.encode()
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as mem:
        for line in maps:
            span, mode = line.split()[:2]
            if not mode.startswith('rw'): continue
            a, b = (int(v, 16) for v in span.split('-'))
            try: mem.seek(a); block = mem.read(b - a)
            except (OSError, ValueError, OverflowError): continue
            at = block.find(want)
            while at >= 0:
                tail = block[at + len(want):at + len(want) + 4]
                number = bytes(c for c in tail if 48 <= c < 58)
                if number: return int(number)
                at = block.find(want, at + 1)
""")
forge("own_source", "exit", """
import sys
def f(x):
    for line in open(sys.argv[0]):
        if line.startswith(f'assert f({x}) =='): return int(line.split('==')[1])
""")
forge("patched_exec", "inproc", "import builtins\nbuiltins.exec = lambda *a: None\ndef f(x): return 0\n")
forge("patched_abs", "exit", "import builtins\nbuiltins.abs = lambda x: 0\ndef f(x): return 0\n", ("assert abs(f(2) - 4) < 1e-6",))
forge("shadowed_set", "exit", "def set(x): return 0\ndef f(x): return [0]\n", ("assert set(f(2)) == set([2, 4])",))
forge("shadowed_sorted", "exit", "sorted = len\ndef f(x): return 'ab'\n", ("assert sorted(f(2)) == sorted([2, 4])",))
forge("fake_module", "exit", """
import sys, types
m = types.ModuleType('math'); m.isclose = lambda *a, **k: True
sys.modules['math'] = m
def f(x): return 0
""", ("import math\nassert math.isclose(f(2), 4)",))
forge("patched_module", "exit", "import math\nmath.isclose = lambda *a, **k: True\ndef f(x): return 0\n",
      ("import math\nassert math.isclose(f(2), 4)",))
forge("patched_grader", "inproc", """
import sys
for m in list(sys.modules.values()):
    for name in ('verdict', 'encode', 'recv', '_serve', '_same'):
        if callable(getattr(m, name, None)):
            try: setattr(m, name, lambda *a, **k: True)
            except Exception: pass
def f(x): return 0
""")
forge("trace_function", "inproc", """
import sys
def tracer(frame, event, arg):
    if type(frame.f_locals.get('result')) is list and not frame.f_locals['result']: frame.f_locals['result'].append('passed')
    return tracer
def f(x):
    frame = sys._getframe()
    while frame: tracer(frame, '', None); frame.f_trace = tracer; frame = frame.f_back
    sys.settrace(tracer)
    return 0
""")
forge("thread_appends", "inproc", """
import gc, sys, threading, time
def late():
    for frame in sys._current_frames().values():
        while frame:
            if type(frame.f_locals.get('result')) is list: frame.f_locals['result'].append('passed')
            frame = frame.f_back
def f(x):
    t = threading.Thread(target=late); t.start(); t.join()
    return 0
""")
forge("pickled_answer", "pickle", """
class E:
    def __reduce__(self): return (eval, ("open('MARK_FILE', 'w').close() or 2",))
def f(x): return E()
""", ("assert f(1) == 2",))
forge("deep_answer", "crash", "def f(x):\n    a = []\n    for _ in range(200000): a = [a]\n    return a\n", ("assert f(1) == 2",))
forge("huge_answer", "swallow", "def f(x): return bytes(100_000_000)\n", ("assert f(1) == 2",))

# ------------------------------------------------------------------ resources
hit("fork", "resources", "import os\ndef f():\n    pid = os.fork()\n    if pid == 0: os._exit(0)\n    os.waitpid(pid, 0)\n    return 'HIT'\n")
hit("fork_many", "resources", """
import os
def f():
    pids = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0: os._exit(0)
        pids.append(pid)
    for p in pids: os.waitpid(p, 0)
    return 'HIT'
""")
hit("thread", "resources", "import threading\ndef f():\n    out = []\n    t = threading.Thread(target=out.append, args=('HIT',)); t.start(); t.join()\n    return out[0]\n")
hit("raw_thread", "resources", "import _thread, time\ndef f():\n    out = []\n    _thread.start_new_thread(out.append, ('HIT',))\n    time.sleep(0.2)\n    return out[0]\n")
hit("subprocess", "resources", "import subprocess\ndef f(): return subprocess.run(['/bin/echo', 'HIT'], capture_output=True, text=True).stdout.strip()\n")
hit("posix_spawn", "resources", "import os\ndef f():\n    os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)\n    return 'HIT'\n")
hit("raw_clone", "resources", """
import ctypes, os
def f():
    pid = ctypes.CDLL(None).syscall(56, 17, 0, 0, 0, 0)
    if pid == 0: os._exit(0)
    if pid > 0: os.waitpid(pid, 0); return 'HIT'
""", needs="x86_64")
hit("raw_vfork", "resources", """
import ctypes, os
def f():
    pid = ctypes.CDLL(None).syscall(57)
    if pid == 0: os._exit(0)
    if pid > 0: os.waitpid(pid, 0); return 'HIT'
""", needs="x86_64")
hit("memory", "resources", "def f():\n    a = bytearray(600 << 20)\n    return 'HIT'\n")
hit("memory_many_small", "resources", "def f():\n    a = [bytes(1 << 20) for _ in range(600)]\n    return 'HIT'\n")
hit("shared_mmap", "resources", "import mmap\ndef f():\n    m = mmap.mmap(-1, 600 << 20)\n    m[::4096] = b'x' * (600 << 8)\n    return 'HIT'\n")
hit("memfd", "resources", "import os\ndef f():\n    fd = os.memfd_create('x'); os.ftruncate(fd, 1 << 20)\n    return 'HIT'\n")
hit("dev_shm", "resources", "import os\ndef f():\n    p = '/dev/shm/UNIQUE'\n    open(p, 'wb').write(b'x' * 4096); os.unlink(p)\n    return 'HIT'\n")
hit("sysv_shared_memory", "resources", """
import ctypes
def f():
    libc = ctypes.CDLL(None)
    n = libc.shmget(0, 4096, 0o1600)
    if n >= 0: libc.shmctl(n, 0, None); return 'HIT'
""")
hit("disk", "resources", "import os, tempfile\ndef f():\n    t = tempfile.TemporaryFile(dir='SCRATCH'); t.write(b'x' * (5 << 20)); t.flush()\n    return 'HIT'\n")
hit("output_flood", "resources", "import sys\ndef f():\n    for _ in range(2000): sys.stdout.write('x' * 1000 + '\\n')\n    sys.stdout.flush()\n    return 'HIT'\n")
hit("stderr_flood", "resources", "import os\ndef f():\n    for _ in range(2000): os.write(2, b'x' * 1000)\n    return 'HIT'\n")
hit("descriptors", "resources", "import os\ndef f():\n    fds = [os.dup(1) for _ in range(200)]\n    for d in fds: os.close(d)\n    return 'HIT'\n")
hit("raise_limits", "resources", """
import resource
def f():
    done = []
    for what in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        try: resource.setrlimit(what, resource.getrlimit(what)); done.append(what)
        except (ValueError, OSError): pass
    if done: return 'HIT'
""")
hit("stack_crash_takes_grader", "resources", "import ctypes\ndef f(): ctypes.string_at(1)\n", hang=True)
hit("endless_loop", "resources", "def f():\n    while True: pass\n", hang=True)
hit("c_level_loop", "resources", "def f(): return sum(range(10 ** 13))\n", hang=True)
hit("regex_backtracking", "resources", "import re\ndef f(): return re.match('(a+)+$', 'a' * 60 + 'b')\n", hang=True)
hit("sleep", "resources", "import time\ndef f(): time.sleep(1000)\n", hang=True)
hit("stopped", "resources", "import os, signal\ndef f(): os.kill(os.getpid(), signal.SIGSTOP)\n", hang=True, stubborn=True)
hit("ignored_signals", "resources", """
import signal
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f():
    while True: pass
""", hang=True, stubborn=True)
hit("blocked_signals", "resources", "import signal, time\ndef f():\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n    while True: time.sleep(1)\n", hang=True, stubborn=True)
hit("hang_at_load", "resources", "import time\ntime.sleep(1000)\ndef f(): return 'HIT'\n", hang=True)
hit("swallow_everything", "resources", "import time\ndef f():\n    while True:\n        try: time.sleep(1000)\n        except BaseException: pass\n", hang=True)

# ------------------------------------------------------------------ reach: files
hit("read_secret", "reach", "def f():\n    if 'THE_SECRET' in open('SECRET_FILE').read(): return 'HIT'\n")
hit("read_secret_raw", "reach", """
import ctypes, os
def f():
    libc = ctypes.CDLL(None)
    fd = libc.syscall(NR_openat, -100, b'SECRET_FILE', 0)
    if fd >= 0 and b'THE_SECRET' in os.read(fd, 100): return 'HIT'
""")
hit("read_etc", "reach", "def f():\n    if 'root' in open('/etc/passwd').read(): return 'HIT'\n")
hit("list_home", "reach", "import os\ndef f():\n    if os.listdir('HOME_DIR'): return 'HIT'\n")
hit("stat_secret", "reach", "import os\ndef f():\n    if os.path.exists('SECRET_FILE'): return 'HIT'\n")
hit("stat_secret_raw", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).syscall(262, -100, b'SECRET_FILE', ctypes.create_string_buffer(256), 0x1000) == 0: return 'HIT'\n", needs="x86_64")
hit("own_environment", "reach", "import os\ndef f():\n    if 'THE_SECRET' in str(dict(os.environ)): return 'HIT'\n")
hit("c_environment", "reach", """
import ctypes
def f():
    env = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
    i = 0
    while env[i]:
        if b'THE_SECRET' in env[i]: return 'HIT'
        i += 1
""")
hit("proc_environment", "reach", "import os\ndef f():\n    if b'THE_SECRET' in open('/proc/self/environ', 'rb').read() + open(f'/proc/{os.getppid()}/environ', 'rb').read(): return 'HIT'\n")
hit("proc_of_others", "reach", "def f():\n    if open('/proc/VICTIM_PID/cmdline', 'rb').read(): return 'HIT'\n")
hit("memory_of_others", "reach", """
def f():
    with open('/proc/VICTIM_PID/maps') as maps: a = int(maps.readline().split('-')[0], 16)
    with open('/proc/VICTIM_PID/mem', 'rb', 0) as mem: mem.seek(a); mem.read(4)
    return 'HIT'
""")
hit("write_file", "reach", "def f():\n    open('MARK_FILE', 'w').write('x')\n    return 'HIT'\n")
hit("delete_file", "reach", "import os\ndef f():\n    os.unlink('DOOMED_FILE')\n    return 'HIT'\n")
hit("rename_file", "reach", "import os\ndef f():\n    os.rename('DOOMED_FILE', 'DOOMED_FILE.moved'); os.rename('DOOMED_FILE.moved', 'DOOMED_FILE')\n    return 'HIT'\n")
hit("chmod_file", "reach", "import os\ndef f():\n    os.chmod('DOOMED_FILE', 0o666)\n    return 'HIT'\n")
hit("symlink", "reach", "import os\ndef f():\n    os.symlink('/etc/passwd', 'MARK_FILE')\n    return 'HIT'\n")
hit("inotify", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).inotify_init1(0) >= 0: return 'HIT'\n")
# ------------------------------------------------------------------ reach: network
hit("tcp_connect", "reach", "import socket\ndef f():\n    socket.create_connection(('127.0.0.1', TCP_PORT), 2)\n    return 'HIT'\n")
hit("tcp_listen", "reach", "import socket\ndef f():\n    s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n    return 'HIT'\n")
hit("udp_send", "reach", "import socket\ndef f():\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', TCP_PORT))\n    return 'HIT'\n")
hit("ipv6_socket", "reach", "import socket\ndef f():\n    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n    return 'HIT'\n")
hit("unix_connect", "reach", "import socket\ndef f():\n    socket.socket(socket.AF_UNIX).connect('UNIX_PATH')\n    return 'HIT'\n")
hit("abstract_connect", "reach", "import socket\ndef f():\n    socket.socket(socket.AF_UNIX).connect('\\0UNIQUE')\n    return 'HIT'\n")
hit("netlink", "reach", "import socket\ndef f():\n    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n    return 'HIT'\n")
hit("socketpair", "reach", "import socket\ndef f():\n    socket.socketpair()\n    return 'HIT'\n")
hit("raw_socket_call", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).syscall(NR_socket, 2, 1, 0) >= 0: return 'HIT'\n")
# ------------------------------------------------------------------ reach: other processes
hit("signal_others", "reach", "import os\ndef f():\n    os.kill(VICTIM_PID, 0)\n    return 'HIT'\n")
hit("kill_others", "reach", "import os, signal\ndef f():\n    os.kill(VICTIM_PID, signal.SIGUSR1)\n    return 'HIT'\n")
hit("kill_group", "reach", "import os, signal\ndef f():\n    os.killpg(VICTIM_PID, signal.SIGUSR1)\n    return 'HIT'\n")
hit("pidfd_signal", "reach", "import ctypes\ndef f():\n    libc = ctypes.CDLL(None)\n    fd = libc.syscall(434, VICTIM_PID, 0)\n    if fd >= 0 and libc.syscall(424, fd, 0, 0, 0) == 0: return 'HIT'\n")
hit("queued_signal", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).sigqueue(VICTIM_PID, 10, 0) == 0: return 'HIT'\n")
hit("owner_signal", "reach", "import fcntl, os\ndef f():\n    fcntl.fcntl(2, fcntl.F_SETOWN, VICTIM_PID)\n    return 'HIT'\n")
hit("ptrace", "reach", """
import ctypes
def f():
    libc = ctypes.CDLL(None)
    if libc.ptrace(0x4206, VICTIM_PID, 0, 0) == 0:
        libc.ptrace(17, VICTIM_PID, 0, 0)
        return 'HIT'
""")
hit("process_vm_readv", "reach", """
import ctypes, os
class V(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('n', ctypes.c_size_t)]
def f():
    buf = ctypes.create_string_buffer(8)
    here, there = V(ctypes.addressof(buf), 1), V(VICTIM_ADDRESS, 1)
    if ctypes.CDLL(None).process_vm_readv(VICTIM_PID, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 1: return 'HIT'
""")
hit("daemon", "reach", """
import os, time
def f():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(0.3); open('MARK_FILE', 'w').close(); os._exit(0)
        os._exit(0)
    time.sleep(0.8)
    if os.path.exists('MARK_FILE'): return 'HIT'
""")
hit("new_session", "reach", "import os\ndef f():\n    os.setpgid(0, 0) if os.getpgrp() != os.getpid() else os.getpgid(0)\n    return 'HIT'\n")
hit("other_priority", "reach", "import os\ndef f():\n    os.setpriority(os.PRIO_PROCESS, VICTIM_PID, 19)\n    return 'HIT'\n")
# ------------------------------------------------------------------ reach: the kernel's side doors
hit("int_0x80", "reach", """
import ctypes, mmap, os
def f():
    m = mmap.mmap(-1, 4096, prot=7)
    m.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
    if call() == os.getpid(): return 'HIT'
""", needs="x86_64")
hit("mprotect_exec", "reach", """
import ctypes, mmap
def f():
    m = mmap.mmap(-1, 4096)
    m.write(b'\\xb8\\x2a\\x00\\x00\\x00\\xc3')
    a = ctypes.addressof(ctypes.c_char.from_buffer(m))
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(a), 4096, 5) == 0 and ctypes.CFUNCTYPE(ctypes.c_int)(a)() == 42: return 'HIT'
""", needs="x86_64")
hit("io_uring", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(200)) >= 0: return 'HIT'\n")
hit("user_namespace", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).unshare(0x10000000) == 0: return 'HIT'\n")
hit("userfaultfd", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).syscall(323, 1) >= 0: return 'HIT'\n", needs="x86_64")
hit("keyring", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).syscall(250, 0, -3, 1) > 0: return 'HIT'\n", needs="x86_64")
hit("make_traceable", "reach", "import ctypes\ndef f():\n    if ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == 0: return 'HIT'\n")
hit("memfd_exec", "reach", """
import os
def f():
    fd = os.memfd_create('x'); os.write(fd, open('/bin/true', 'rb').read())
    pid = os.posix_spawn(f'/proc/self/fd/{fd}', ['x'], {})
    os.waitpid(pid, 0)
    return 'HIT'
""")

# ------------------------------------------------------------------ siblings
hit("file_left_behind", "siblings", "def f():\n    if open('SCRATCH/note').read() == 'x': return 'HIT'\n",
    first="open('SCRATCH/note', 'w').write('x')\ndef f(): return 'HIT'\n")
hit("module_state", "siblings", "import math\ndef f(): return math.note\n", first="import math\nmath.note = 'HIT'\ndef f(): return 'HIT'\n")
hit("environment_state", "siblings", "import os\ndef f(): return os.environ['NOTE']\n", first="import os\nos.environ['NOTE'] = 'HIT'\ndef f(): return 'HIT'\n")
hit("builtins_state", "siblings", "import builtins\ndef f(): return builtins.note\n", first="import builtins\nbuiltins.note = 'HIT'\ndef f(): return 'HIT'\n")
hit("read_running_sibling", "siblings", """
import os
def f():
    for pid in [SIBLING_PID]:
        try:
            with open(f'/proc/{pid}/maps') as maps: lines = maps.readlines()
            with open(f'/proc/{pid}/mem', 'rb', 0) as mem:
                for line in lines:
                    if ' rw-p ' not in line: continue
                    a, b = (int(v, 16) for v in line.split()[0].split('-'))
                    try: mem.seek(a); block = mem.read(min(b - a, 1 << 26))
                    except (OSError, OverflowError, ValueError): continue
                    if b'sibling-' + b'answer' in block: return 'HIT'
        except OSError: pass
""", first="import time\nANSWER = '-'.join(['sibling', 'answer'])\nANSWERS = [ANSWER + str(i) for i in range(1000)]\ndef f():\n    time.sleep(SIBLING_SECONDS)\n    return 'HIT'\n", beside=True)
hit("kill_running_sibling", "siblings", """
import os, signal
def f():
    os.kill(SIBLING_PID, signal.SIGCONT)
    return 'HIT'
""", first="import time\ndef f():\n    time.sleep(SIBLING_SECONDS)\n    return 'HIT'\n", beside=True)
hit("meet_by_abstract_socket", "siblings", "import socket\ndef f():\n    s = socket.socket(socket.AF_UNIX); s.connect('\\0MEET'); return s.recv(3).decode()\n",
    first="import socket, time\ndef f():\n    s = socket.socket(socket.AF_UNIX); s.bind('\\0MEET'); s.listen(); s.settimeout(SIBLING_SECONDS)\n    s.accept()[0].send(b'HIT')\n    time.sleep(0.3)\n    return 'HIT'\n", beside=True)
