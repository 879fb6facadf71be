"""Engines execute the steps of a run. An engine is anything with one method:

    submit(step) -> Result

`step` is a `grpo_lab.runs.Step`: plain data (path of a notebook, its parameters, the run folder). `Result` says whether
the notebook ran to its end, and if not, why. The call returns when the step is over. `grpo_lab.runs.execute_run` calls it
once for each step that is not done, and believes the manifest rather than the result.

There is one engine now, `LocalEngine`: papermill in this process, the notebook's kernel in another. One that sends
the step to a cluster needs only the run folder on storage that both sides see, and nothing else in the project changes.
"""
from __future__ import annotations

from typing import Protocol


class Engine(Protocol):
    "What `execute_run` asks of an engine."

    def submit(self, step) -> "Result": ...  # noqa: F821 (grpo_lab.runs.Step -> grpo_lab.runs.Result)


def get_engine(name: str = "local", **options) -> Engine:
    "The engine of that name. Raises ValueError naming those there are."
    if name != "local":
        raise ValueError(f"there is no engine '{name}'; there is: local")
    from .local import LocalEngine
    return LocalEngine(**options)
