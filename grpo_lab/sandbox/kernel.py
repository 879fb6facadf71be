"""What the sandbox asks of the kernel: rlimits, identity, Landlock, seccomp. Linux only, ctypes only.

Everything here is called in a freshly forked child, between fork and the first line of untrusted code,
so it is written to be quick and to fail loudly: a step that cannot be done raises OSError and the child
never runs its program.
"""
import ctypes
import os
import platform
import resource
import struct
import sys

# ------------------------------------------------------------------ calling the kernel
ARCH = platform.machine()                        # 'x86_64' | 'aarch64' | anything else is unsupported
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
TESTED = ("x86_64",)                             # machines on which the attack suite has been run

_libc = None


def libc():
    "The C library, with errno kept per call."
    global _libc
    if _libc is None: _libc = ctypes.CDLL(None, use_errno=True)
    return _libc


def _check(r, what):
    if r < 0:
        e = ctypes.get_errno()
        raise OSError(e, f"{what}: {os.strerror(e)}")
    return r


def syscall(name, *args):
    "A raw system call by name; raises OSError with the call's name when it fails."
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    return _check(libc().syscall(ctypes.c_long(nr(name)), *args), name)


def prctl(option, a=0, b=0, c=0, d=0):
    "prctl(2) with plain integers."
    z = ctypes.c_ulong
    return _check(libc().prctl(ctypes.c_int(option), z(a), z(b), z(c), z(d)), f"prctl({option})")


PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38

# ------------------------------------------------------------------ system call numbers (x86-64, aarch64)
_X, _A = {}, {}
for _line in """
read 0 63|write 1 64|open 2 -|close 3 57|stat 4 -|fstat 5 80|lstat 6 -|poll 7 -|lseek 8 62|mmap 9 222|mprotect 10 226
munmap 11 215|brk 12 214|rt_sigaction 13 134|rt_sigprocmask 14 135|rt_sigreturn 15 139|ioctl 16 29|pread64 17 67
pwrite64 18 68|readv 19 65|writev 20 66|access 21 -|select 23 -|sched_yield 24 124|mremap 25 216|madvise 28 233
shmget 29 194|dup 32 23|pause 34 -|nanosleep 35 101|getitimer 36 102|alarm 37 -|setitimer 38 103|getpid 39 172
socket 41 198|clone 56 220|fork 57 -|vfork 58 -|execve 59 221|exit 60 93|kill 62 129|uname 63 160|fcntl 72 25
ftruncate 77 46|getdents 78 -|getcwd 79 17|readlink 89 -|gettimeofday 96 169|getrlimit 97 163|getrusage 98 165
sysinfo 99 179|times 100 153|ptrace 101 117|getuid 102 174|getgid 104 176|geteuid 107 175|getegid 108 177
getppid 110 173|capset 126 91|rt_sigpending 127 136|rt_sigtimedwait 128 137|rt_sigsuspend 130 133
sigaltstack 131 132|pivot_root 155 41|prctl 157 167|chroot 161 51|mount 165 40|umount2 166 39|reboot 169 142
init_module 175 105|gettid 186 178|time 201 -|futex 202 98|sched_getaffinity 204 123|getdents64 217 61
restart_syscall 219 128|clock_gettime 228 113|clock_getres 229 114|clock_nanosleep 230 115|exit_group 231 94
tgkill 234 131|kexec_load 246 104|add_key 248 217|request_key 249 218|keyctl 250 219|openat 257 56
newfstatat 262 79|readlinkat 267 78|faccessat 269 48|pselect6 270 72|ppoll 271 73|unshare 272 97
set_robust_list 273 99|perf_event_open 298 241|prlimit64 302 261|setns 308 268|getcpu 309 168
process_vm_readv 310 270|process_vm_writev 311 271|kcmp 312 272|finit_module 313 273|seccomp 317 277
getrandom 318 278|memfd_create 319 279|kexec_file_load 320 294|bpf 321 280|execveat 322 281|userfaultfd 323 282
membarrier 324 283|statx 332 291|rseq 334 293|pidfd_send_signal 424 424|io_uring_setup 425 425
io_uring_enter 426 426|io_uring_register 427 427|open_tree 428 428|move_mount 429 429|fsopen 430 430
fsconfig 431 431|fsmount 432 432|fspick 433 433|pidfd_open 434 434|clone3 435 435|close_range 436 436
openat2 437 437|pidfd_getfd 438 438|faccessat2 439 439|process_madvise 440 440|mount_setattr 442 442
landlock_create_ruleset 444 444|landlock_add_rule 445 445|landlock_restrict_self 446 446|memfd_secret 447 447
""".strip().replace("\n", "|").split("|"):
    _n, _x, _a = _line.split()
    if _x != "-": _X[_n] = int(_x)
    if _a != "-": _A[_n] = int(_a)
TABLES = {"x86_64": _X, "aarch64": _A}


def nr(name):
    "This machine's number of the system call `name`; KeyError on an unsupported machine."
    return TABLES[ARCH][name]


# ------------------------------------------------------------------ seccomp
# Allowed without a look at the arguments: memory, time, its own signals' handlers, reading and writing
# descriptors it already holds.  Nothing here names a path, a process or an address.
ALLOW = """read write close fstat poll lseek munmap brk rt_sigaction rt_sigprocmask rt_sigreturn pread64 pwrite64
readv writev select sched_yield mremap madvise dup pause nanosleep getitimer alarm setitimer getpid exit uname
getcwd gettimeofday getrlimit getrusage sysinfo times getuid getgid geteuid getegid getppid rt_sigpending
rt_sigtimedwait rt_sigsuspend sigaltstack gettid time futex sched_getaffinity restart_syscall clock_gettime
clock_getres clock_nanosleep exit_group pselect6 ppoll set_robust_list getcpu getrandom membarrier rseq""".split()
# With a scratch file (or readable folders) the child may name paths; Landlock then decides which.
ALLOW_FILES = """open openat stat lstat access faccessat faccessat2 newfstatat statx readlink readlinkat getdents
getdents64 ftruncate""".split()
# No honest program asks for these: the process dies at once (SIGSYS) instead of getting an error back.
KILL = """ptrace process_vm_readv process_vm_writev execve execveat io_uring_setup io_uring_enter io_uring_register
bpf userfaultfd unshare setns mount umount2 pivot_root chroot keyctl add_key request_key perf_event_open kcmp
pidfd_open pidfd_getfd pidfd_send_signal memfd_create memfd_secret init_module finit_module kexec_load
kexec_file_load reboot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr process_madvise""".split()
_LD, _JA, _JEQ, _JGE, _JSET, _RET = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_OK, _DIE, _ERR = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS, ENOTTY = 1, 38, 25


def seccomp_program(arch=ARCH, files=False):
    "The BPF bytes of the allow-list for `arch`; `files` adds the path calls that Landlock then judges."
    t, out = TABLES[arch], []

    def ins(code, k, jt=0, jf=0): out.append(struct.pack("=HBBI", code, jt, jf, k))

    def arg(i, high=False): ins(_LD, 16 + 8 * i + (4 if high else 0))

    def when(name, body):
        "Emit `body` (a list of instructions built by calls above) guarded by nr == name."
        if name not in t: return
        mark = len(out)
        body()
        block = out[mark:]; del out[mark:]
        ins(_JEQ, t[name], 0, len(block)); out.extend(block)

    ins(_LD, 4); ins(_JEQ, AUDIT_ARCH[arch], 1, 0); ins(_RET, _DIE)            # another ABI: die
    ins(_LD, 0)
    if arch == "x86_64": ins(_JGE, 0x40000000, 0, 1); ins(_RET, _DIE)          # x32: die
    plain = {t[name]: _OK for name in ALLOW + (ALLOW_FILES if files else []) if name in t}
    plain.update({t[name]: _DIE for name in KILL if name in t})
    if "clone3" in t: plain[t["clone3"]] = _ERR | ENOSYS
    if files: plain.update({t[name]: _OK for name in ("mmap", "mprotect")})

    def no_exec(): arg(2); ins(_JSET, 4, 0, 1); ins(_RET, _ERR | EPERM); ins(_RET, _OK)     # W^X: no new code
    if not files:
        when("mmap", no_exec); when("mprotect", no_exec)

    def few_commands():
        arg(1)
        for c in (0, 1, 2, 3, 4, 1030): ins(_JEQ, c, 0, 1); ins(_RET, _OK)      # never F_SETOWN, F_SETSIG, leases
        ins(_RET, _ERR | EPERM)
    when("fcntl", few_commands)

    def own_limits_read_only():
        arg(0); ins(_JEQ, 0, 1, 0); ins(_RET, _ERR | EPERM)
        arg(2); ins(_JEQ, 0, 1, 0); ins(_RET, _ERR | EPERM)
        arg(2, True); ins(_JEQ, 0, 1, 0); ins(_RET, _ERR | EPERM)
        ins(_RET, _OK)
    when("prlimit64", own_limits_read_only)
    when("ioctl", lambda: ins(_RET, _ERR | ENOTTY))                             # isatty() answers no
    # the rest by halving: a chain of a hundred comparisons would be walked at every install, for every number
    other = _ERR | EPERM                                                        # everything else: refused

    def halve(spans):
        "Instructions that send a number to its action; spans are (first number, action), ascending."
        if len(spans) == 1: return [(_RET, spans[0][1], 0, 0)]
        mid = len(spans) // 2
        low, high = halve(spans[:mid]), halve(spans[mid:])
        if len(low) < 256: return [(_JGE, spans[mid][0], len(low), 0)] + low + high
        return [(_JGE, spans[mid][0], 0, 1), (_JA, len(low), 0, 0)] + low + high
    spans = [(0, other)]
    for n in sorted(plain):
        if spans[-1][0] == n: spans[-1] = (n, plain[n])
        else: spans.append((n, plain[n]))
        spans.append((n + 1, other))
    merged = []
    for first, action in spans:
        if not merged or merged[-1][1] != action: merged.append((first, action))
    for code, k, jt, jf in halve(merged): ins(code, k, jt, jf)
    return b"".join(out)


def seccomp_available():
    "True when the kernel offers filters with the kill-process action (asked without changing anything)."
    if not sys.platform.startswith("linux") or ARCH not in TABLES: return False
    action = ctypes.c_uint32(_DIE)
    try: return syscall("seccomp", 2, 0, ctypes.byref(action)) == 0
    except OSError: return False


def seccomp_install(program):
    "Install `program` for this process, for good. Needs no-new-privileges."
    buf = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buf))
    syscall("seccomp", 1, 0, ctypes.c_char_p(fprog))


# ------------------------------------------------------------------ Landlock
def landlock_abi():
    "The kernel's Landlock version, 0 where there is none."
    if not sys.platform.startswith("linux") or ARCH not in TABLES: return 0
    try: return syscall("landlock_create_ruleset", None, 0, 1)
    except OSError: return 0


_LL_READ_FILE, _LL_WRITE_FILE, _LL_READ_DIR, _LL_TRUNCATE = 1 << 2, 1 << 1, 1 << 3, 1 << 14


def landlock_ruleset(abi=None):
    "Descriptor of a ruleset that denies every file access, TCP, abstract sockets and signals this ABI knows."
    abi = landlock_abi() if abi is None else abi
    fs = (1 << 13) - 1
    if abi >= 2: fs |= 1 << 13
    if abi >= 3: fs |= 1 << 14
    if abi >= 5: fs |= 1 << 15
    attr = struct.pack("=Q", fs)
    if abi >= 4: attr += struct.pack("=Q", 3)
    if abi >= 6: attr += struct.pack("=Q", 3)
    return syscall("landlock_create_ruleset", ctypes.c_char_p(attr), len(attr), 0)


def landlock_allow(ruleset, path, write=False, abi=None):
    "Let `path` (a file, or a folder and all below) be read, and written when `write`."
    abi = landlock_abi() if abi is None else abi
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = _LL_READ_FILE | (_LL_READ_DIR if os.path.isdir(path) else 0)
        if write: rights |= _LL_WRITE_FILE | (_LL_TRUNCATE if abi >= 3 else 0)
        syscall("landlock_add_rule", ruleset, 1, ctypes.c_char_p(struct.pack("=Qi", rights, fd)), 0)
    finally:
        os.close(fd)


def landlock_restrict(ruleset):
    "Enter the ruleset, for good. Needs no-new-privileges."
    syscall("landlock_restrict_self", ruleset, 0)


# ------------------------------------------------------------------ identity and limits
def drop_capabilities():
    "Empty the effective, permitted and inheritable sets (and with them the ambient one)."
    head = struct.pack("=Ii", 0x20080522, 0)
    syscall("capset", ctypes.c_char_p(head), ctypes.c_char_p(b"\0" * 24))


def drop_bounding():
    "Empty the bounding set where that is allowed: nothing this process or its children execute can regain a capability."
    for cap in range(64):
        try: prctl(PR_CAPBSET_DROP, cap)
        except OSError: break                       # past the last capability, or not allowed to drop


def become_nobody(uid):
    "As root: take an id that owns nothing. Returns the id now held (0 only where none could be taken)."
    if os.geteuid() != 0: return os.geteuid()
    for u in (uid, 65534):
        try:
            os.setgroups([]); os.setresgid(u, u, u); os.setresuid(u, u, u)
            return u
        except OSError:
            continue
    return 0


def set_limits(address_space, seconds, file_bytes=0, nofile=16):
    "Lower the rlimits; sizes in bytes. The soft CPU limit ends the child one second after its wall time."
    cpu = int(seconds) + 1
    for what, soft, hard in (
            (resource.RLIMIT_AS, address_space, address_space), (resource.RLIMIT_CPU, cpu, cpu + 1),
            (resource.RLIMIT_NOFILE, nofile, nofile), (resource.RLIMIT_CORE, 0, 0),
            (resource.RLIMIT_FSIZE, file_bytes, file_bytes), (resource.RLIMIT_NPROC, 0, 0),
            (resource.RLIMIT_MEMLOCK, 0, 0), (resource.RLIMIT_MSGQUEUE, 0, 0)):
        top = resource.getrlimit(what)[1]
        if top != resource.RLIM_INFINITY: soft, hard = min(soft, top), min(hard, top)
        resource.setrlimit(what, (soft, hard))


def close_from(first):
    "Close every descriptor from `first` up."
    try: syscall("close_range", first, 0x7FFFFFFF, 0)
    except (OSError, KeyError): os.closerange(first, 4096)
