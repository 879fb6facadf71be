"""Circuit programs -> layouts -> DRC and LVS verdicts. Importable anywhere: standard library only.

    from grpo_lab.layout import LayoutService
    with LayoutService(workers=2, drc="rules", seconds=10.0, memory_mb=2048, strength="strong") as svc:
        verdicts = svc.verify([(code, netlist), ...], progress=None)   # a dict with the Verdict fields each, in order
        verdicts = svc.verify(items, keep_gds=True)                    # adds "gds": bytes, None where nothing was built
        verdict = svc.judge(gds, netlist)                              # DRC + LVS of a layout that is there already
        png = svc.render(gds, boxes=[[x1, y1, x2, y2]], width=480, height=360)

`code` is a self-contained program that leaves a glayout Component in `component`; `netlist` is the problem's trusted SPICE
`.subckt`. The first LayoutService on a machine makes the layout interpreter (`python -m grpo_lab.layout.env`); starting one
later takes about three seconds, a candidate well under one. Make one service and keep it.

What is where: env (the interpreter), fast (glayout at a tenth of its time), guest (runs one program, in the sandbox), judge
(DRC and LVS, another process), drc and deck (rules), spice and lvs (the circuit), render (pictures), service (all together).
Processes of the layout interpreter: fast, guest, judge, drc, lvs, render. Never import those in the main one.

Verdicts: status ok means built and judged, with drc_errors and lvs_errors (0 and 0: clean), devices and devices_expected
(after merging devices in parallel). An empty layout is ok with 0 devices and every device and net of the netlist missing.
Otherwise status says what happened (syntax_error, runtime_error, timeout, memory, refused) and log has the line and the
message. error_details: {"kind": "drc" | "lvs" | "run", "rule", "description", "count", "boxes" in um}.
"""
from .env import LayoutEnvError, layout_python
from .service import LayoutError, LayoutService

__all__ = ["LayoutService", "LayoutError", "LayoutEnvError", "layout_python"]
