"""What people see, in a real browser: JupyterLab, an executed notebook, Voila, the report. Needs playwright and Chromium."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from grpo_lab.evaluate import example_rows
from grpo_lab.ledger import Ledger
from grpo_lab.report import example_run, write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]' -c constraints.txt")
CHROMIUM = next((p for p in ("/usr/bin/chromium", shutil.which("chromium"), shutil.which("chromium-browser"), shutil.which("google-chrome")) if p and Path(p).exists()), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)")
ROOT = Path(__file__).resolve().parent.parent
EVIL = "<img src=x onerror='window.hacked=1'><script>window.hacked=2</script>"
MINUTES = 120_000  # ms; these tests assert no times, and CI may be slow


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def serving(command: list, url: str, env: dict, log: Path):
    "A server, once it answers; it and its kernels are gone afterwards."
    with open(log, "w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        for _ in range(240):
            if process.poll() is not None:
                raise AssertionError(f"the server ended: {log.read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=5)
                break
            time.sleep(0.5)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield b
        b.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with a run whose last step is hostile, and an environment that leaves the user's Jupyter alone."
    d = tmp_path_factory.mktemp("browser")
    run = example_run(d / "outputs" / "made-up", heldout=12, train=12, steps=4)
    rows = example_rows(0)["3_grpo", "step-000004"][:16]
    for r in rows:
        r |= {"step": 5, "completion": EVIL, "code": EVIL, "prompt": EVIL, "log": EVIL}
    Ledger(run / "ledger", "made-up").write("3_grpo", rows, "step-000005")
    env = {**os.environ, **{f"JUPYTER_{k}_DIR": str(d / k.lower()) for k in ("CONFIG", "DATA", "RUNTIME")}, "OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return d, run, env


@pytest.fixture(scope="module")
def lab(place):
    d, run, env = place
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", f"--ServerApp.root_dir={d}", "--IdentityProvider.token=", "--allow-root",]
    with serving(command, f"http://127.0.0.1:{port}/api", env, d / "lab.log"):
        yield f"http://127.0.0.1:{port}/lab/tree/"


def notebook(path: Path, *cells: str) -> Path:
    doc = {"cells": [{"cell_type": "code", "id": f"c{i}", "metadata": {}, "execution_count": None, "outputs": [], "source": c} for i, c in enumerate(cells)],
           "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(doc))
    return path


def opened(browser, url: str):
    page = browser.new_context(viewport={"width": 1400, "height": 1600}).new_page()
    page.set_default_timeout(MINUTES)
    page.crashes = []
    page.on("pageerror", lambda e: page.crashes.append(str(e)))
    page.goto(url, timeout=MINUTES)
    return page


def move_and_click(page):
    "The rewards board: move the slider, click a cell, read the completion."
    caption = page.locator(".glab-grid caption")
    caption.filter(has_text="Step 5").wait_for()
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowLeft")
    caption.filter(has_text="Step 4").wait_for()
    cell = page.locator(".glab-grid td.pick").nth(3)
    cell.click()
    page.locator(".glab-grid td.on").first.wait_for()
    page.locator(".glab h4", has_text="Program").first.wait_for()
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    caption.filter(has_text="Step 5").wait_for()
    page.locator(".glab-grid td.pick").nth(1).click()
    page.locator(".glab pre", has_text="<script>window.hacked=2</script>").first.wait_for()  # it is there, as text
    assert page.evaluate("window.hacked") is None and not page.locator("img[src='x']").count()


def test_jupyterlab_runs_a_dashboard(browser, lab, place):
    d, run, _ = place
    notebook(d / "rewards.ipynb", f"from grpo_lab.dashboards import show_rewards\nshow_rewards({str(run)!r})")
    page = opened(browser, lab + "rewards.ipynb?reset")
    run_all(page)
    page.locator(".jp-OutputArea img").first.wait_for()  # the plain picture comes first
    move_and_click(page)
    page.keyboard.press("Control+s")
    page.wait_for_timeout(3000)
    assert (d / "rewards.ipynb").stat().st_size < 1_000_000 and not page.crashes
    page.context.close()


def test_executed_notebook_shows_its_widgets(browser, lab, place):
    "As a batch run leaves it: executed by papermill and signed. No kernel is started."
    import nbformat
    import papermill
    d, run, env = place
    source = notebook(d / "source.ipynb", f"from grpo_lab.dashboards import show_rewards\nshow_rewards({str(run)!r})")
    papermill.execute_notebook(str(source), str(d / "executed.ipynb"), kernel_name="python3", progress_bar=False)
    plain = [o for c in nbformat.read(d / "executed.ipynb", 4).cells for o in c.get("outputs", [])]
    assert any("image/png" in o.get("data", {}) for o in plain) and any("<table>" in o.get("data", {}).get("text/html", "") for o in plain)  # what an untrusted one shows
    subprocess.run([sys.executable, "-m", "jupyter", "trust", str(d / "executed.ipynb")], env=env, check=True, capture_output=True, timeout=120)
    page = opened(browser, lab + "executed.ipynb?reset")
    page.locator(".jp-OutputArea img").first.wait_for()
    page.locator(".glab-grid caption").filter(has_text="Step 5").wait_for()
    assert page.evaluate("window.hacked") is None and not page.crashes
    page.context.close()


def run_all(page):
    "Menu Run, Run All Cells: a key press may come before the editor listens."
    page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()  # the kernel is there
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


def cell_done(page, i: int):
    "Waits until the i-th code cell has run; its prompt then shows a number."
    page.wait_for_function("i => /\\[\\d+\\]/.test(document.querySelectorAll('.jp-CodeCell')[i]?.querySelector('.jp-InputPrompt')?.textContent || '')", arg=i)


def test_a_stage_notebook_runs_in_the_browser(browser, lab, place, unbroken):
    "Stage 4 of a small finished run, opened and run by hand: the run is evaluated again, and its board answers."
    d, _, _ = place
    shutil.copytree(unbroken.dir, d / "outputs" / "by-hand")
    doc = json.loads((ROOT / "nbs" / "stages" / "4_evaluate.ipynb").read_text())
    parameters = next(c for c in doc["cells"] if "parameters" in c["metadata"].get("tags", []))
    parameters["source"] = f"run_dir = {str(d / 'outputs' / 'by-hand')!r}\nprofile = 'smoke'"
    for c in doc["cells"]:
        c |= {"outputs": [], "execution_count": None} if c["cell_type"] == "code" else {}
    (d / "4_evaluate.ipynb").write_text(json.dumps(doc))
    before = (d / "outputs" / "by-hand" / "run.json").read_text()
    page = opened(browser, lab + "4_evaluate.ipynb?reset")
    page.set_viewport_size({"width": 1400, "height": 12_000})  # JupyterLab renders the cells that are in sight
    run_all(page)
    last = sum(c["cell_type"] == "code" for c in doc["cells"]) - 1
    cell_done(page, last)
    assert not page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error'], .jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'] >> text=Traceback").count()
    step = json.loads((d / "outputs" / "by-hand" / "run.json").read_text())["steps"]["4_evaluate"]
    assert step["state"] == "done" and step["attempts"] == json.loads(before)["steps"]["4_evaluate"]["attempts"] + 1 and step["metrics"]["problems"] == 4
    where = lambda text: page.locator(".glab p.muted", has_text=re.compile(text)).first  # four problems, answered by the base model and three steps
    where("^1 to 15 of 16$").wait_for()
    page.get_by_label("model", exact=True).first.select_option(label="base")
    where("^1 to 4 of 4$").wait_for()
    assert page.locator(".glab-grid tr.pick:visible").count() == 4
    assert not page.crashes
    page.context.close()


@pytest.mark.slow
def test_the_stages_by_hand_in_order(browser, place, tmp_path):
    "All notebooks as they are, opened one after the other, Run All in each: a run by hand, from nothing to a report."
    _, _, env = place
    shutil.copytree(ROOT / "nbs" / "stages", tmp_path / "nbs" / "stages")
    shutil.copy(ROOT / "settings.ini", tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    port = free_port()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", f"--ServerApp.root_dir={tmp_path}", "--IdentityProvider.token=", "--allow-root"]
    manifest = tmp_path / "outputs" / "notebook-smoke" / "run.json"
    with serving(command, f"http://127.0.0.1:{port}/api", {**env, "GRPO_LAB_HOME": str(tmp_path)}, tmp_path / "lab.log"):
        for step in ("1_initial_finetune", "2_self_improve_1", "2_self_improve_2", "3_grpo", "4_evaluate"):
            file = tmp_path / "nbs" / "stages" / f"{step.removesuffix('_1').removesuffix('_2')}.ipynb"
            if step == "2_self_improve_2":  # the one thing to say: which iteration
                file.write_text(file.read_text().replace("iteration = 1 ", "iteration = 2 "))
            doc = json.loads(file.read_text())
            page = opened(browser, f"http://127.0.0.1:{port}/lab/tree/nbs/stages/{file.name}?reset")
            page.set_default_timeout(10 * MINUTES)
            page.set_viewport_size({"width": 1400, "height": 14_000})
            run_all(page)
            cell_done(page, sum(c["cell_type"] == "code" for c in doc["cells"]) - 1)
            assert not page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count(), step
            assert json.loads(manifest.read_text())["steps"][step]["state"] == "done" and not page.crashes
            assert page.locator(".jp-OutputArea img").count(), f"{step}: no picture"
            page.context.close()
    steps = json.loads(manifest.read_text())["steps"]
    assert all(s["state"] == "done" and s["attempts"] == 1 for s in steps.values())
    assert "training_data/iteration_1.jsonl" in steps["2_self_improve_2"]["inputs"]
    answer = subprocess.run([sys.executable, "-m", "grpo_lab.cli", "report", str(manifest.parent), "--json"], capture_output=True, text=True, timeout=600, env={**env, "GRPO_LAB_HOME": str(tmp_path)})
    assert answer.returncode == 0 and Path(json.loads(answer.stdout)["report"]).exists(), answer.stderr[-2000:]


def test_the_notebooks_of_a_batch_run_show_their_widgets(browser, lab, place, unbroken):
    "As `grpo-lab run` leaves them, once trusted: three boards in stage 3, without a kernel."
    d, _, env = place
    shutil.copy(unbroken.dir / "notebooks" / "3_grpo.ipynb", d / "3_grpo.ipynb")
    subprocess.run([sys.executable, "-m", "jupyter", "trust", str(d / "3_grpo.ipynb")], env=env, check=True, capture_output=True, timeout=120)
    page = opened(browser, lab + "3_grpo.ipynb?reset")
    page.set_viewport_size({"width": 1400, "height": 14_000})
    page.locator(".glab-grid caption").filter(has_text="Step 2").first.wait_for()
    page.locator(".jupyter-widgets .glab svg, .widget-html .glab svg").first.wait_for()
    assert page.locator(".jp-OutputArea-output .jupyter-widgets.widget-vbox").count() >= 3
    assert not page.locator("text=Error displaying widget").count() and not page.crashes
    page.context.close()


def test_voila_serves_the_dashboards(browser, place):
    d, run, env = place
    port = free_port()
    command = [sys.executable, "-m", "grpo_lab.cli", "dashboard", str(run), "--port", str(port), "--no-browser"]
    with serving(command, f"http://127.0.0.1:{port}/voila/static/voila.js", env, d / "voila.log"):
        page = opened(browser, f"http://127.0.0.1:{port}/")
        page.get_by_role("tab", name="Rewards", exact=True).click()
        move_and_click(page)
        page.get_by_role("tab", name="Advantages", exact=True).click()
        box = page.locator("input[type=text]:visible").first
        box.fill("1 1 0")
        page.locator(".glab-grid td:visible", has_text="-1.155").first.wait_for()
        page.get_by_role("tab", name="Completions", exact=True).click()
        page.locator(".glab p.muted:visible", has_text="1 to 15 of").first.wait_for()
        find = page.locator("input[placeholder=search]:visible")
        find.fill("no such text anywhere")
        find.press("Enter")
        page.locator(".glab p.muted:visible", has_text="no row matches").wait_for()
        assert page.evaluate("window.hacked") is None and not page.crashes
        page.context.close()


@pytest.mark.parametrize("which", ["hostile", "a real run"])
def test_report_opens_offline(browser, place, which, request):
    "No network, no console error, no request."
    path = write_report(place[1], pictures=False) if which == "hostile" else request.getfixturevalue("unbroken").dir / "report.html"
    context = browser.new_context(offline=True)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("request", lambda r: asked.append(r.url) if not r.url.startswith(("data:", "file:")) else None)
    page.goto(path.as_uri(), timeout=MINUTES)
    page.locator("h1, h2").first.wait_for()
    assert said == [] and asked == [] and page.evaluate("window.hacked") is None
    context.close()
