"""The walk-throughs: from top to bottom (slow), and what a reader may rely on in each."""
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "nbs" / "walkthroughs").glob("*.ipynb"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_executed_with_exercises(path):
    "Saved as executed, without an error; figures kept; answers hidden until they are asked for."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [c for c in cells if c["cell_type"] == "code" and "".join(c["source"]).strip()]
    outputs = [o for c in code for o in c["outputs"]]
    if not outputs:
        pytest.skip("saved without its outputs: run it from top to bottom")
    assert not [o for o in outputs if o["output_type"] == "error"]
    assert any({"image/png", "text/html"} & set(o.get("data", {})) for o in outputs), "no figure or table was kept"
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert text.startswith("# ") and re.search(r"\n> .+", text)
    if "## Exercises" in text:
        answers = text.split("## Exercises")[1]
        assert answers.count("<details>") == answers.count("</details>") >= 3
    asserted = [c for c in code if "assert" in "".join(c["source"])]
    assert asserted, "what is claimed is not checked"


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_runs_from_top_to_bottom(path, tmp_path):
    import nbformat
    from nbclient import NotebookClient
    nb = nbformat.read(path, as_version=4)
    NotebookClient(nb, timeout=3600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
    assert not [o for c in nb.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]
