"""The signatures that `grpo_lab.corpus` reads from sources are those that Python itself reports after importing them."""
import json
import subprocess

import pytest

from grpo_lab.corpus import PUBLIC, Api, glayout_site
from grpo_lab.layout.env import LayoutEnvError, environment, layout_python

ASK = """
import importlib, inspect, json, sys
out = {}
for module in json.loads(sys.argv[1]):
    m = importlib.import_module(module)
    for name, value in vars(m).items():
        if name.startswith("_"): continue
        f = inspect.unwrap(value) if callable(value) else None
        params = None
        if inspect.isfunction(f):
            ps = inspect.signature(f).parameters.values()
            if not any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in ps):
                params = [[p.name, p.default is p.empty] for p in ps]
        out[module + ":" + name] = [getattr(f, "__name__", None), params]
print(json.dumps(out))
"""


def test_signatures_agree_with_python():
    try:
        python = layout_python(create=False)
    except LayoutEnvError as e:
        pytest.skip(str(e))
    done = subprocess.run([python, "-c", ASK, json.dumps(PUBLIC)], capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]
    api, compared, real = Api(glayout_site()), 0, json.loads(done.stdout.splitlines()[-1])
    for module in PUBLIC:
        wrong = [n for n in api.names(module) if not n.startswith("_") and api.lookup(module, n) and f"{module}:{n}" not in real]
        assert not wrong, f"the table offers {wrong} of {module}, and Python does not have them"
    for key, (real_name, params) in real.items():
        module, name = key.split(":")
        found = api.lookup(module, name)
        assert found is not None, f"from {module} import {name} works, and the table says it would not"
        if params is None or found.open:
            continue
        assert (found.name, [[p, p in found.required] for p in found.params]) == (real_name, params), key
        compared += 1
    assert compared > 60
