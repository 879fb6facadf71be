"""The attack suite, as the user running the tests and, from root, as an ordinary user too; with and without Landlock."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "sandbox_attacks"))
import attacks  # noqa: E402
from grpo_lab.sandbox import strength  # noqa: E402
from grpo_lab.sandbox.kernel import ARCH  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534
CONFIGS = ["root, Landlock", "root, no Landlock", "user, Landlock", "user, no Landlock"]
pytestmark = pytest.mark.skipif(strength("landlock").level == "none", reason=f"no sandbox here: {strength()}")


def ordinary_python():
    "An interpreter that an ordinary user may start (root's own may lie in root's home)."
    for python in (sys.executable, getattr(sys, "_base_executable", ""), shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        try:
            p = subprocess.run([python, "-I", "-c", "import sys, ctypes; assert sys.version_info >= (3, 10)"], user=NOBODY, group=NOBODY,
                               extra_groups=[], cwd="/", capture_output=True)
            if p.returncode == 0: return python
        except (OSError, TypeError): pass
    return None


@pytest.fixture(scope="module")
def results():
    "config -> what the runner reports, made on first use. The controls run once for each user."
    made = {}

    def get(config):
        if config in made: return made[config]
        who, how = config.split(", ")
        if how == "Landlock" and not strength().landlock: pytest.skip("this kernel has no Landlock")
        if who == "root" and os.geteuid() != 0: pytest.skip("not run as root")
        folder, python, extra = ROOT, sys.executable, {}
        if who == "user" and os.geteuid() == 0:
            python = ordinary_python()
            if python is None: pytest.skip("no Python that an ordinary user may start")
            folder = made.get("copy")
            if folder is None:                                       # the repository itself may lie where only root looks
                folder = made["copy"] = Path(tempfile.mkdtemp(prefix="sandbox-attacks-copy-"))
                folder.chmod(0o755)
                for part in ("grpo_lab/sandbox", "tests/sandbox_attacks"):
                    shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            extra = dict(user=NOBODY, group=NOBODY, extra_groups=[])
        command = [python, str(folder / "tests" / "sandbox_attacks" / "runner.py")]
        if how == "Landlock" or not strength().landlock: command.append("--controls")
        if how == "no Landlock": command += ["--without", "landlock"]
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
        p = subprocess.run(command, capture_output=True, text=True, cwd="/", env=env, timeout=1500, **extra)
        assert p.returncode == 0, p.stderr[-3000:]
        made[config] = json.loads(p.stdout)
        return made[config]
    yield get
    if "copy" in made: shutil.rmtree(made["copy"], ignore_errors=True)


def test_the_suite_is_large_enough():
    groups = {a.group for a in attacks.ATTACKS}
    assert len(attacks.ATTACKS) >= 60 and groups == {"forge", "resources", "reach", "siblings"}
    assert len({a.name for a in attacks.ATTACKS}) == len(attacks.ATTACKS)


@pytest.mark.parametrize("config", CONFIGS)
def test_user_and_leftovers(results, config):
    r = results(config)
    assert (r["_uid"] == 0) == config.startswith("root")
    assert r["_left"] == []


@pytest.mark.parametrize("name", [a.name for a in attacks.ATTACKS])
@pytest.mark.parametrize("config", CONFIGS)
def test_attack(results, config, name):
    r = results(config).get(name)
    if r is None: pytest.skip(f"written for another machine than {ARCH}")
    if "control" in r: assert r["control"], f"the control did not work, so this test proves nothing: {r['control_how']}"
    assert r["stopped"], r["how"]
