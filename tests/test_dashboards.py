"""Dashboards on everything that a run folder can be: empty, one row, unfinished, failed, damaged, hostile, huge."""
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from grpo_lab import dashboards, plots, views
from grpo_lab.evaluate import example_rows
from grpo_lab.ledger import Ledger
from grpo_lab.records import atomic_write
from grpo_lab.report import example_run

EVIL = "<script>window.hacked = 1</script><img src=x onerror=\"window.hacked = 2\"><b>bold</b> </style></pre> ${`x`} \u202e\x00 \ud800"
BOARDS = {"run": dashboards.run_board, "rewards": dashboards.rewards_board, "advantages": dashboards.advantages_board, "training": dashboards.training_board,
          "feedback": dashboards.feedback_board, "completions": dashboards.completions_board, "compare": lambda v: dashboards.compare_board({v.name: v.dir, "again": v.dir})}


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


def check(board) -> str:
    "Every HTML of a board: only tags of ours, nothing that runs or loads; returns all of it."
    text = "".join(w.value for w in walk(board.widget) if type(w).__name__ == "HTML")
    tags = Tags()
    tags.feed(text)
    for tag, attrs in tags.seen:
        assert tag not in ("script", "iframe", "object", "embed", "link", "form", "input"), tag
        assert not any(a.startswith("on") for a in attrs), (tag, attrs)
        assert tag != "img" or attrs.get("src", "").startswith("data:image/png;base64,")
        assert not re.match(r"\s*(javascript|https?):", attrs.get("href") or attrs.get("xlink:href") or "")
    return text


def empty(d):
    (d / "ledger").mkdir()


def one_row(d):
    (stage, part), rows = next(iter(example_rows(0).items()))
    Ledger(d / "ledger", "x").write(stage, rows[:1], part)
    atomic_write(d / "run.json", json.dumps({"run_id": "x", "settings": {}, "steps": {stage: {"state": "running", "started": "2026-01-01T00:00:00+00:00"}}}))


def in_progress(d):
    example_run(d, upto=4)
    rows = example_rows(0)["3_grpo", "step-000001"]
    Ledger(d / "ledger", "x").write("3_grpo", rows, "step-000001")
    (d / "training_data" / "3_grpo.log.jsonl").write_text('{"step": 1, "reward": 0.5}\n{"step": 2, "rew')  # being written


def failed(d):
    example_run(d, upto=4)
    doc = json.loads((d / "run.json").read_text())
    doc["steps"]["3_grpo"] |= {"state": "failed", "error": "RuntimeError: out of " + EVIL.replace("\ud800", "")}
    atomic_write(d / "run.json", json.dumps(doc))


def missing_columns(d):
    example_run(d)
    import pandas as pd
    for f in sorted((d / "ledger").glob("*.parquet")):
        df = pd.read_parquet(f).drop(columns=["advantage", "tokens", "clean", "log", "iteration", "finish_reason", "model", "family"])
        (df.drop(columns=["code", "error_details"]) if "step-000002" in f.name else df).to_parquet(f)


def damaged(d):
    example_run(d)
    (d / "run.json").write_text('{"steps": ')
    (d / "ledger" / "3_grpo--step-000003.parquet").write_bytes(b"PAR1 no")
    (d / "master_predictions" / "iteration_1" / "nmos-train-000.json").write_text("[1, 2")
    (d / "training_data" / "3_grpo.alarms.jsonl").write_text("nonsense\n[1]\n")


def hostile(d):
    example_run(d)
    rows = example_rows(0)["3_grpo", "step-000004"]
    safe = EVIL.replace("\ud800", "")
    for r in rows:
        r["step"] = 21
        r |= {k: safe for k in ("prompt", "completion", "code", "log", "problem_id", "family", "group_id")} | {"group_id": safe + str(r["group_id"])}
        r["error_details"] = json.dumps([{"kind": safe, "rule": safe, "description": safe, "count": safe, "boxes": [safe]}])
    Ledger(d / "ledger", safe).write("3_grpo", rows, "step-000021")
    doc = json.loads((d / "run.json").read_text())
    doc["profile"], doc["settings"]["student"]["model"] = safe, safe
    atomic_write(d / "run.json", json.dumps(doc))
    issue = {"issue": safe, "explanation": {"problem": safe, "reason": safe, "fix": safe}}
    atomic_write(d / "master_predictions" / "iteration_1" / "aaa.json", json.dumps({"filename": "../../" + safe, "analysis": [issue], "fixed_code": safe}))
    (d / "training_data" / "3_grpo.alarms.jsonl").write_text(json.dumps({"step": 2, "name": safe, "seen": safe, "meaning": safe, "mend": safe}) + "\n")


def long_and_foreign(d):
    example_run(d)
    rows = example_rows(0)["3_grpo", "step-000004"]
    for i, r in enumerate(rows):
        text = ("设计 🦊 مرحبا ﷽ Ω " if i % 2 else "x = 1  # é\n") * 20_000
        r |= {"step": 21, "completion": text, "code": text, "prompt": text[:5000], "log": text}
    Ledger(d / "ledger", "x").write("3_grpo", rows, "step-000021")


CASES = [empty, one_row, in_progress, failed, missing_columns, damaged, hostile, long_and_foreign]


@pytest.mark.parametrize("case", CASES, ids=lambda f: f.__name__)
def test_every_board_on(case, tmp_path):
    d = tmp_path / "run"
    d.mkdir()
    case(d)
    view = views.open_view(d)
    for name, make in BOARDS.items():
        board = make(view)
        board.refresh()
        for c in board.controls.values():  # move every control once
            if type(c).__name__ in ("Dropdown", "SelectionSlider") and len(c.options) > 1:
                c.value = c.options[-1][1] if isinstance(c.options[-1], tuple) else c.options[-1]
            if type(c).__name__ == "Grid" and c.rows:
                c.picked = [0, min(1, len(c.head) - 1)]
        text = check(board)
        assert "cannot be shown" not in text, (name, re.findall(r"This cannot be shown[^<]*", text))
        size = sum(len(json.dumps(w.get_state(), default=str)) for w in walk(board.widget))
        assert size < 2_500_000, (name, size)  # of this, most is SVG; texts are cut
        if case is hostile and name == "completions":
            c = board.controls
            for k in ("stage", "model", "iteration", "step", "family", "verdict"):
                c[k].value = dashboards.ANY
            c["step"].value, c["grid"].picked = 21, [1, 0]
            assert "&lt;script&gt;" in check(board) and EVIL[:20] in str(c["grid"].rows)  # the grid's texts are set as textContent
        if case is hostile and name == "feedback":
            board.controls["iteration"].value, board.controls["issue"].value, board.controls["problem"].value = 1, dashboards.ANY, "aaa"
            assert "&lt;script&gt;" in check(board)
        if case is hostile and name in ("rewards", "training"):
            assert "&lt;script&gt;" in text
    if case is hostile:
        assert "&lt;script&gt;" in views.settings_that_differ({"a": view.manifest, "b": {}}).pipe(views.table_html)
    if case is empty:
        assert "No groups yet" in BOARDS["rewards"](view).controls["grid"].caption and "No completions yet" in BOARDS["completions"](view).controls["text"].value
    if case is failed:
        assert "failed in stage 3" in views.status_html(view)
    if case is damaged:
        assert "step-000003.parquet cannot be read" in views.status_html(view) and 3 not in views.steps_of(view.df, "3_grpo")
    if case is long_and_foreign:
        page = views.completion_html(views.detail(view.rows, int(view.df.index[view.df.step == 21][1])))
        assert "设计 🦊" in page and "more characters" in page and len(page) < 120_000
    if case is missing_columns:
        assert views.detail(view.rows, int(view.df.index[view.df.step == 2][0]))["code"] is None


def test_pictures_take_the_short_frame(tmp_path):
    "Every picture draws the same from the reader of the dashboards as from the ledger."
    d = example_run(tmp_path / "run")
    short, whole = views.open_view(d).df, Ledger(d / "ledger").read()
    for name in ("heldout", "family", "problems", "statuses", "errors", "rewards", "rewards_by_model", "groups", "advantages", "zero_variance"):
        a, b = (getattr(plots, f"{name}_table")(df) for df in (short, whole))
        assert a.reset_index().astype(str).equals(b.reset_index().astype(str)), name


def test_a_growing_ledger_reads_only_what_is_new(tmp_path, monkeypatch):
    rows, ledger = example_rows(0), Ledger(tmp_path / "ledger", "x")
    ledger.write("3_grpo", rows["3_grpo", "step-000001"], "step-000001")
    reader, read = views.Rows(tmp_path / "ledger"), []
    real = views._read_short
    monkeypatch.setattr(views, "_read_short", lambda p: read.append(p) or real(p))
    assert reader.refresh() is False and not read
    ledger.write("3_grpo", rows["3_grpo", "step-000002"], "step-000002")
    assert reader.refresh() and [p.rpartition("--")[2] for p in read] == ["step-000002.parquet"] and len(reader.frame) == 64
    assert views.search(reader, "glayout").sum() > 0
    (tmp_path / "ledger" / "3_grpo--step-000001.parquet").unlink()
    assert reader.refresh() and len(reader.frame) == 32 and len(views.search(reader, "glayout")) == 32


def test_executed_notebook_shows_plain_parts(tmp_path):
    "What `show_x` displays before its board needs neither widgets nor trust: PNG and escaped HTML."
    from IPython.utils.capture import capture_output
    d = example_run(tmp_path / "run")
    for name in ("run", "feedback", "rewards", "advantages", "training", "completions"):
        with capture_output() as seen:
            getattr(dashboards, f"show_{name}")(d)
        kinds = [set(o.data) for o in seen.outputs] if seen.outputs else []
        if not kinds:  # no IPython shell in pytest: what would be displayed is printed
            assert seen.stdout.strip(), name


def test_index_and_commands(tmp_path, monkeypatch):
    from grpo_lab import cli
    root = tmp_path / "project"
    example_run(root / "outputs" / "demo|<b>")
    (root / "nbs" / "walkthroughs").mkdir(parents=True)
    shutil.copy("nbs/index.ipynb", root / "nbs" / "walkthroughs" / "1.ipynb")
    doc = json.loads(dashboards.write_index(root).read_text())
    text = "\n".join(c["source"] for c in doc["cells"])
    assert "demo\\|\\<b\\>" in text and "](../nbs/walkthroughs/1.ipynb)" in text and "finished, 6 of 6 steps" in text
    calls = []
    monkeypatch.setattr("subprocess.call", lambda command, **how: calls.append((command, how)) or 0)
    assert cli.main(["dashboard", str(root / "outputs" / "demo|<b>"), "--port", "8899", "--no-browser"]) == 0
    command, how = calls[0]
    assert "voila" in command and "--port=8899" in command and "--Voila.ip=127.0.0.1" in command and how["env"]["GRPO_LAB_RUN"].endswith("demo|<b>")
    assert cli.main(["dashboard", "no such run"]) == 2


def test_executed_stages_keep_their_dashboards(unbroken):
    "A batch run leaves widgets in its notebooks, each with its state, and the notebooks stay small."
    for name, boards in {"2_self_improve_1": 1, "3_grpo": 3, "4_evaluate": 1}.items():
        file = unbroken.dir / "notebooks" / f"{name}.ipynb"
        doc = json.loads(file.read_text())
        shown = [o for c in doc["cells"] if "dashboards.show" in "".join(c["source"]) for o in c["outputs"]]
        assert sum("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in shown) == boards, name
        assert not [o for o in shown if "failed:" in json.dumps(o)] and "cannot be shown" not in file.read_text()
        assert doc["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"] and file.stat().st_size < 2_000_000
