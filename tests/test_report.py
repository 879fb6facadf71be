"""The report in a real browser: offline, silent, readable on a phone, deaf to hostile text."""
import html.parser
import json
import re
import shutil

import pytest

from grpo_lab.ledger import Ledger
from grpo_lab.report import example_run, write_report

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")) if p), None)
EVIL = "</pre></style><script>document.title='pwned';alert(1)</script><img src='http://example.invalid/x.png' onerror='alert(2)'>"
VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Reports of a finished run, an unfinished one, and one full of hostile text."
    root = tmp_path_factory.mktemp("runs")
    whole, half, nasty = example_run(root / "whole"), example_run(root / "half", upto=4), example_run(root / "nasty")
    rows = Ledger(nasty / "ledger").read("4_evaluate").to_dict("records")
    for row in rows:
        row.update(prompt=EVIL, completion=EVIL, code=EVIL, log=EVIL, family="<b>" + str(row["family"]), problem_id=EVIL + row["problem_id"])
    Ledger(nasty / "ledger").clear("4_evaluate")
    Ledger(nasty / "ledger").write("4_evaluate", rows)
    for f in nasty.glob("master_predictions/iteration_1/*.json"):
        doc = json.loads(f.read_text())
        doc["analysis"] = [{"issue": EVIL, "explanation": {"problem": EVIL, "reason": EVIL, "fix": EVIL}}]
        f.write_text(json.dumps({**doc, "fixed_code": EVIL}))
    doc = json.loads((nasty / "run.json").read_text())
    doc["run_id"] = doc["settings"]["student"]["model"] = EVIL
    doc["steps"]["4_evaluate"].update(state="failed", error=EVIL)
    (nasty / "run.json").write_text(json.dumps(doc))
    return {r.name: write_report(r, pictures=False) for r in (whole, half, nasty)}


class Tags(html.parser.HTMLParser):
    "Every tag with its attributes; raises where one is closed that is not open."

    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()


def test_what_was_right_before_is_not_called_still_wrong(runs):
    text = runs["whole"].read_text(encoding="utf-8")
    assert re.search(r"diff_pair-heldout-002 · still wrong", text) and re.search(r"mimcap_array-heldout-017 · right before, wrong now", text)


@pytest.mark.parametrize("name", ["whole", "half", "nasty"])
def test_self_contained(runs, name):
    text = runs[name].read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not tags.open and len(text) < 3_000_000
    assert not {"script", "iframe", "object", "embed", "base", "form", "audio", "video"} & {t for t, _ in tags.seen}
    for tag, attrs in tags.seen:
        assert not any(a.startswith("on") for a in attrs), (tag, attrs)
        for a in ("src", "href", "srcset", "poster", "data"):
            assert attrs.get(a, "data:,").startswith(("data:", "#")), (tag, attrs)
        assert tag != "img" or attrs.get("alt"), "a picture without words"
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style and "@import" not in style
    targets = {a["id"] for _, a in tags.seen if "id" in a}
    assert {a["href"][1:] for t, a in tags.seen if t == "a"} <= targets


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the browser tests of the report need it")
    if not CHROMIUM:
        pytest.skip("no chromium on this machine: the browser tests of the report need it")
    with api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield b
        b.close()


def visit(browser, path, **context):
    "Open a page; what it asked for, said and showed."
    page = browser.new_context(offline=True, **context).new_page()
    page.set_default_timeout(240_000)    # a busy machine is slow, not wrong
    said, asked = [], []
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("dialog", lambda d: (said.append("dialog"), d.dismiss()))
    page.on("request", lambda r: asked.append(r.url))
    page.goto(path.as_uri(), wait_until="load")
    return page, said, [u for u in asked if not u.startswith("data:")]


@pytest.mark.parametrize("name", ["whole", "half", "nasty"])
def test_opens_offline(runs, browser, name):
    page, said, asked = visit(browser, runs[name], viewport={"width": 1200, "height": 800})
    assert asked == [runs[name].as_uri()] and said == []
    assert page.title().endswith("report of a grpo_lab run") and "pwned" not in page.evaluate("document.title").split("<")[0]
    broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)")
    assert broken == [] and page.evaluate("document.images.length") >= (10 if name == "whole" else 1)
    if name == "nasty":
        assert "<script>document.title='pwned'" in page.inner_text("body")


def test_phone_dark_and_without_scripts(runs, browser):
    page, said, asked = visit(browser, runs["whole"], viewport={"width": 390, "height": 844}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3])) < 120
    # the pictures follow: their text, dark by day, is light by night
    bright = {}
    for scheme in ("light", "dark"):
        page, *_ = visit(browser, runs["whole"], viewport={"width": 1200, "height": 800}, color_scheme=scheme)
        image = pytest.importorskip("PIL.Image", reason="pillow reads the screenshots")
        import io
        shot = image.open(io.BytesIO(page.locator("figure img").first.screenshot())).convert("L")
        counts = shot.histogram()
        bright[scheme] = max(range(256), key=counts.__getitem__)     # the commonest grey: the paper
        extremes = shot.getextrema()
        assert extremes[1] - extremes[0] > 120
    assert bright["dark"] < 60 < 200 < bright["light"]
    page, said, asked = visit(browser, runs["whole"], java_script_enabled=False)
    assert said == [] and page.locator("h1").inner_text().startswith("Of 36 held-out problems")
