"""The judge: a process of the layout interpreter that has klayout.db, reads layouts as data, and never runs model code.

It serves one request at a time over two pipes until the first of them closes. A request is a frame: four length bytes, a
JSON header, then as many bytes of layout as the header's `bytes` says; the reply likewise.

    {"op": "judge", "netlist": ..., "drc": "rules" | "none"}       + GDS  ->  {"drc": [...], "lvs": {...}}
    {"op": "render", "boxes": [...], "width": w, "height": h}      + GDS  ->  {} + PNG
    a layout that cannot be judged                                        ->  {"refused": why}
    an error of ours                                                      ->  {"error": traceback}

Only GDS is read (other formats may name further files). The file must have one top cell; that cell, flattened, is what is
judged: shapes in other cells, texts and properties are neither checked nor useful.
"""
from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import traceback

REACH_UM = 100_000.0  # 10 cm: a chip is smaller, and integer nanometres stay far from overflow


class Refused(Exception):
    "This file is not a layout that can be judged; the message says why."


def read_layout(gds: bytes):
    "(layout in nm, flattened top cell) of a GDS file. Raises Refused."
    import klayout.db as db
    from .drc import MAX_SHAPES, flat_shapes
    if gds[:4] != b"\x00\x06\x00\x02":
        raise Refused("the file is no GDS stream")
    fd = os.memfd_create("layout.gds")
    try:
        view = memoryview(gds)
        while view:
            view = view[os.write(fd, view):]
        layout = db.Layout()
        try:
            layout.read(f"/proc/self/fd/{fd}")
        except RuntimeError as e:
            raise Refused(f"the layout cannot be read: {str(e).splitlines()[0][:200]}") from e
    finally:
        os.close(fd)
    tops = layout.top_cells()
    if len(tops) != 1:
        raise Refused(f"the layout has {len(tops)} top cells, one is wanted")
    top = tops[0]
    box = top.dbbox()
    if not box.empty() and max(abs(v) for v in (box.left, box.bottom, box.right, box.top)) > REACH_UM:
        raise Refused(f"the layout reaches beyond {REACH_UM / 1e4:g} cm from the origin")
    factor = layout.dbu / 0.001
    if not 0.5 <= factor <= 1000 or abs(factor - round(factor)) > 1e-6:
        raise Refused(f"the database unit is {layout.dbu} um; whole nanometres are wanted")
    shapes = flat_shapes(layout, top)
    if shapes > MAX_SHAPES:
        raise Refused(f"the layout has {shapes} shapes, more than the {MAX_SHAPES} that are judged")
    top.flatten(-1, True)
    if round(factor) != 1:
        layout.transform(db.ICplxTrans(float(round(factor))))
    layout.dbu = 0.001
    return layout, top


def judge(gds: bytes, netlist: str, drc: str = "rules") -> dict:
    "DRC and LVS of one layout against the trusted netlist."
    from . import lvs
    layout, top = read_layout(gds)
    found = []
    if drc == "rules":
        from .drc import check
        found = check(layout, top)
    return {"drc": found, "lvs": lvs.compare(layout, top, netlist)}


def _serve(requests, replies) -> None:
    import klayout.db  # noqa: F401
    from . import drc, lvs, render  # noqa: F401  loaded before the first request
    _send(replies, {"ready": True})
    while True:
        head = requests.read(4)
        if len(head) < 4:
            return
        header = json.loads(requests.read(struct.unpack(">I", head)[0]))
        blob = requests.read(header["bytes"])
        signal.setitimer(signal.ITIMER_PROF, header["cpu"])  # computing time; the signal ends this process
        signal.setitimer(signal.ITIMER_REAL, header["seconds"] + 5)  # nobody waits longer: end, whoever is left
        body = b""
        try:
            if header["op"] == "judge":
                answer = judge(blob, header["netlist"], header["drc"])
            elif header["op"] == "render":
                layout, top = read_layout(blob)
                body = render.png(layout, top, header["boxes"], header["width"], header["height"], header.get("legend", True))
                answer = {}
            else:
                answer = {"error": f"unknown request {header['op']!r}"}
        except Refused as e:
            answer = {"refused": str(e)}
        except MemoryError:
            os._exit(77)
        except BaseException:
            answer = {"error": traceback.format_exc()[-3000:]}
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(replies, answer, body)


def _send(pipe, answer: dict, body: bytes = b"") -> None:
    answer["bytes"] = len(body)
    data = json.dumps(answer).encode()
    pipe.write(struct.pack(">I", len(data)) + data + body)
    pipe.flush()


def main() -> None:
    "Entry point of the process: arguments are the memory limit in MiB and the parent's process id."
    memory_mb, parent = int(sys.argv[1]), int(sys.argv[2])
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the service
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the service's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints stays out of the replies
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    _serve(os.fdopen(os.dup(0), "rb"), replies)


if __name__ == "__main__":
    main()
