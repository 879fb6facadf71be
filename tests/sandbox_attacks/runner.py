"""Runs the attack suite as whoever starts it and prints one JSON object: {name: {"control": bool, "stopped": bool, "how": str}}.

`python runner.py [--without landlock] [--controls] [--only NAME]`. Plain Python, so that it can be run as an ordinary
user by an interpreter that has nothing but the standard library.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True
import attacks                                                                     # noqa: E402
from grpo_lab.sandbox import CodeVerifier                                          # noqa: E402
from grpo_lab.sandbox.kernel import ARCH, TABLES                                   # noqa: E402
from grpo_lab.sandbox.pool import STARVED                                          # noqa: E402

SECONDS = 0.4                           # what a sandboxed program gets in this suite
VICTIM = """
import ctypes, signal, sys
got = []
signal.signal(signal.SIGUSR1, lambda *a: got.append(1))
signal.signal(signal.SIGIO, lambda *a: got.append(1))
buf = ctypes.create_string_buffer(b'victim')
ctypes.CDLL(None).prctl(0x59616d61, -1 & (2**64 - 1), 0, 0, 0)
print(ctypes.addressof(buf), flush=True)
sys.stdin.read()
"""


class Scene:
    "Everything an attack may aim at: a secret, files, listeners, a victim."

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sandbox-attacks-")
        p = lambda *a: os.path.join(self.dir, *a)
        self.home = p("home"); os.mkdir(self.home); os.chmod(self.home, 0o700)
        self.scratch = p("scratch"); os.mkdir(self.scratch); os.chmod(self.scratch, 0o777)
        self.secret = p("home", "secret"); Path(self.secret).write_text("THE_SECRET"); os.chmod(self.secret, 0o600)
        self.unique = "grpo-lab-" + os.path.basename(self.dir)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX); self.unix.bind(p("u")); self.unix.listen(50); os.chmod(p("u"), 0o777)
        self.abstract = socket.socket(socket.AF_UNIX); self.abstract.bind("\0" + self.unique); self.abstract.listen(50)
        self.victim = subprocess.Popen([sys.executable, "-c", VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.address = int(self.victim.stdout.readline())
        self.n = 0

    def words(self, sibling_pid=0):
        "Fresh values for the upper-case words."
        self.n += 1
        self.mark = os.path.join(self.scratch, f"mark{self.n}")
        self.doomed = os.path.join(self.scratch, f"doomed{self.n}")
        Path(self.doomed).write_text("x"); os.chmod(self.doomed, 0o666)
        return {"SECRET_FILE": self.secret, "HOME_DIR": self.home, "MARK_FILE": self.mark, "DOOMED_FILE": self.doomed,
                "UNIX_PATH": os.path.join(self.dir, "u"), "TCP_PORT": str(self.tcp.getsockname()[1]), "VICTIM_PID": str(self.victim.pid),
                "VICTIM_ADDRESS": str(self.address), "UNIQUE": self.unique, "SCRATCH": self.scratch, "MEET": f"{self.unique}-{self.n}",
                "NR_openat": str(TABLES[ARCH]["openat"]), "NR_socket": str(TABLES[ARCH]["socket"]),
                "SIBLING_PID": str(sibling_pid), "SIBLING_SECONDS": "1.5"}

    def close(self):
        self.victim.kill(); self.victim.wait()
        for s in (self.tcp, self.unix, self.abstract): s.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def fill(text, words):
    for k in sorted(words, key=len, reverse=True): text = text.replace(k, words[k])
    return text


def hangs(body, env, stubborn, patience):
    "Does the program go on by itself for `patience` seconds, and survive SIGTERM if stubborn? Dying of a signal counts too."
    p = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    try:
        try:
            p.wait(patience)
            return p.returncode < 0, f"ended by itself: {p.returncode}"        # a crash takes the grader along
        except subprocess.TimeoutExpired:
            if not stubborn: return True, "still running"
        p.send_signal(signal.SIGTERM)
        try: p.wait(0.3); return False, "gave in to SIGTERM"
        except subprocess.TimeoutExpired: return True, "survived SIGTERM"
    finally: p.kill(); p.wait()


# ------------------------------------------------------------------ controls: the attack without the sandbox
def control(a, scene):
    "Did the attack work where nothing stops it?"
    words = scene.words()
    code, tests = fill(a.code, words), list(a.tests)
    env = {**os.environ, "A_SECRET": "THE_SECRET"}
    if a.group == "forge":
        p = subprocess.run([sys.executable, "-B", str(HERE / "naive.py"), a.grader], input=json.dumps({"code": code, "tests": tests, "dir": scene.dir}),
                           capture_output=True, text=True, timeout=30, env=env)
        return p.stdout == "FOOLED", p.stdout + p.stderr[-300:]
    body = code + "\nprint(f())\n"
    if a.hang:
        for patience in (0.5, 3.0, 12.0):                                # a busy machine may need longer to get going
            ok, how = hangs(body, env, a.stubborn, patience)
            if ok: break
        return ok, how
    beside = None
    try:
        if a.first and a.name.endswith("_state"):
            body = f"exec({fill(a.first, words)!r}, {{}})\n" + body               # one process for both: the naive grader's way
        elif a.first:
            beside = subprocess.Popen([sys.executable, "-c", fill(a.first, words) + "\nf()\n"], env=env)
            if not a.beside: beside.wait()
            else: time.sleep(0.3)
            body = fill(a.code, {**words, "SIBLING_PID": str(beside.pid)}) + "\nprint(f())\n"
        p = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, timeout=30, env=env)
        lines = p.stdout.strip().splitlines()
        return bool(lines) and lines[-1].endswith("HIT"), (p.stdout[-200:] + p.stderr[-300:])
    finally:
        if beside: beside.kill(); beside.wait()


# ------------------------------------------------------------------ the same in the sandbox
def children_of(pid):
    "Every living descendant of pid, from /proc."
    parent = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/stat") as f: parent[int(p)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError: pass
    found, more = set(), {pid}
    while more:
        found |= more
        more = {c for c, q in parent.items() if q in more} - found
    return found - {pid}


def stopped(a, scene, verifier, executor):
    "Was the attack stopped, its side effects too, and is the sandbox as good as before?"
    words = scene.words()
    os.environ["A_SECRET"] = "THE_SECRET"
    alive = children_of(os.getpid())
    kw = dict(timeout=SECONDS if a.hang else 5.0, memory_mb=256, reply_bytes=16 << 20)
    beside = None
    if a.first:
        beside = executor.submit(verifier.verify_one, fill(a.first, words), ["assert f() == 'HIT'"], **{**kw, "timeout": 5.0})
        sibling = 0
        if a.beside:
            end = time.monotonic() + 3
            while not sibling and time.monotonic() < end:
                sibling = max(children_of(os.getpid()) - alive, default=0); time.sleep(0.02)
            time.sleep(0.2)
        else: beside.result()
        words["SIBLING_PID"] = str(sibling or 1)
    t0 = time.monotonic()
    v = verifier.verify_one(fill(a.code, words), list(a.tests), **kw)
    seconds = time.monotonic() - t0
    how = f"{v['status']}: " + "; ".join(f"{d['rule']} {d['description']}" for d in v["error_details"])[:160]
    problems = []
    if v["passed"] == v["total"]: problems.append("it was rewarded")
    if a.hang and seconds > STARVED * SECONDS + 5: problems.append(f"it held the judge for {seconds:.1f} s")
    if a.name == "daemon": time.sleep(0.5)
    if os.path.lexists(scene.mark): problems.append("it left a file")
    if not os.path.exists(scene.doomed): problems.append("it removed a file")
    elif os.stat(scene.doomed).st_mode & 0o777 != 0o666: problems.append("it changed a file")
    if scene.victim.poll() is not None: problems.append("it ended the victim")
    if beside: beside.result()
    left = children_of(os.getpid()) - alive
    if left:
        time.sleep(0.3)
        left &= children_of(os.getpid())
    if left and not any(d["rule"] == "timeout" and "comparison" in v["log"] for d in v["error_details"]): problems.append(f"processes left: {left}")
    after = verifier.verify_one("def f(x): return 2 * x", list(attacks.DOUBLE), timeout=10)
    if after["passed"] != 2: problems.append(f"an honest program fails afterwards: {after}")
    return not problems, how + (" BUT " + ", ".join(problems) if problems else "")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--without", default=""); p.add_argument("--controls", action="store_true"); p.add_argument("--only", default="")
    o = p.parse_args()
    chosen = [a for a in attacks.ATTACKS if (not o.only or a.name == o.only) and a.needs in ("", ARCH)]
    results = {a.name: {} for a in chosen}
    scene = Scene()
    without = tuple(filter(None, o.without.split(",")))
    try:
        if o.controls:
            for a in chosen:
                try: ok, how = control(a, scene)
                except Exception as e: ok, how = False, f"{type(e).__name__}: {e}"
                results[a.name].update(control=ok, control_how=how)
        with CodeVerifier(2, strength="no-landlock" if "landlock" in without else "strong", without=without) as v, ThreadPoolExecutor(2) as ex:
            for a in chosen:
                try: ok, how = stopped(a, scene, v, ex)
                except Exception as e: ok, how = False, f"{type(e).__name__}: {e}"
                results[a.name].update(stopped=ok, how=how)
        time.sleep(0.2)
        results["_left"] = sorted(children_of(os.getpid()) - {scene.victim.pid})
    finally: scene.close()
    results["_uid"] = os.getuid()
    json.dump(results, sys.stdout)


if __name__ == "__main__": main()
