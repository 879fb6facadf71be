"""Pictures of layouts by KLayout's own renderer, without a screen. Runs in the judge."""
from __future__ import annotations


def png(layout, top, boxes=(), width: int = 480, height: int = 360, legend: bool = True) -> bytes:
    "PNG of the flattened top cell with violation boxes (um) outlined in red."
    raise NotImplementedError
