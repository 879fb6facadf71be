"""One program, one netlist, one verdict: python -m grpo_lab.layout program.py --netlist netlist.spice [--png picture.png]"""
import argparse
import json
import sys
from pathlib import Path

from . import LayoutService


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m grpo_lab.layout", description=__doc__.partition(":")[0])
    parser.add_argument("program", type=Path, help="program that leaves a glayout Component in `component`")
    parser.add_argument("--netlist", type=Path, required=True, help="trusted SPICE sub-circuit to compare with")
    parser.add_argument("--png", type=Path, help="write a picture here, violations in red")
    parser.add_argument("--drc", choices=("rules", "full", "none"), default="rules")
    args = parser.parse_args()
    with LayoutService(workers=1, drc=args.drc) as svc:
        [verdict] = svc.verify([(args.program.read_text(), args.netlist.read_text())], keep_gds=True)
        gds = verdict.pop("gds")
        if args.png and gds:
            args.png.write_bytes(svc.render(gds, boxes=[box for d in verdict["error_details"] for box in d["boxes"]]))
    json.dump(verdict, sys.stdout, indent=1)
    print()
    return 0 if verdict["status"] == "ok" and not verdict["drc_errors"] and not verdict["lvs_errors"] else 1


if __name__ == "__main__":
    sys.exit(main())
