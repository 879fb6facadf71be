"""Layout programs that answer with damaged or hostile GDS: the reader never runs model code, and it survives."""
import base64
import random
import struct

import pytest

from grpo_lab.sandbox import strength

LEVEL = strength().level
pytestmark = pytest.mark.skipif(LEVEL in ("none", "no-seccomp"), reason=f"no sandbox here: {strength()}")
NMOS = ".subckt TOP D G S B\nX1 D G S B sky130_fd_pr__nfet_01v8 l=0.15 w=6\n.ends\n"
GOOD = "from glayout import nmos, sky130\ncomponent = nmos(sky130, width=3, fingers=2, with_dummy=False)\n"
# goes past the guest: the program itself writes a reply frame to the channel, then ends
FORGED = """
import base64, os, struct
body = b"G" + base64.b64decode({data!r})
frame = struct.pack(">cI", b"R", len(body)) + body
while frame: frame = frame[os.write(3, frame):]
os._exit(0)
"""


@pytest.fixture(scope="module")
def service():
    from grpo_lab.layout import LayoutService
    try: made = LayoutService(workers=1, seconds=30.0, strength=LEVEL)
    except Exception as e:
        if type(e).__name__ != "LayoutEnvError": raise
        pytest.skip(f"no layout interpreter here: {e}")
    with made as svc: yield svc


def damaged(gds, seed):
    "One way to break a GDS file."
    rng, raw = random.Random(seed), bytearray(gds)
    how = seed % 6
    if how == 0: raw = raw[:rng.randrange(len(raw))]
    elif how == 1:
        for _ in range(20): raw[rng.randrange(len(raw))] = rng.randrange(256)
    elif how == 2:                                              # record lengths that lie
        at = 0
        for _ in range(rng.randrange(5, 40)): at += max(4, struct.unpack_from(">H", raw, at)[0])
        struct.pack_into(">H", raw, at, rng.choice([0, 1, 3, 4, 65535]))
    elif how == 3: raw = bytearray(rng.randbytes(rng.randrange(1, 3000)))
    elif how == 4: raw = raw + raw
    else: raw = bytearray(rng.choice([b"", b"\0" * 1000, b"%SEMI-OASIS\r\n" + rng.randbytes(200), b"\x1f\x8b" + rng.randbytes(100), gds[:4] * 500]))
    return bytes(raw)


def test_the_reader_survives_malformed_layouts(service):
    honest = service.verify([(GOOD, NMOS)], keep_gds=True)[0]
    assert honest["status"] == "ok" and honest["drc_errors"] == 0 and honest["lvs_errors"] == 0
    gds = honest["gds"]
    untouched = FORGED.format(data=base64.b64encode(gds).decode())
    broken = [FORGED.format(data=base64.b64encode(damaged(gds, seed)).decode()) for seed in range(36)]
    verdicts = service.verify([(untouched, NMOS)] + [(b, NMOS) for b in broken])
    assert verdicts[0]["status"] == "ok"                        # so what follows did reach the reader
    read = [v for v in verdicts[1:] if v["status"] == "ok"]
    assert len(read) < len(broken) / 2 and all(v["status"] in ("ok", "runtime_error", "timeout", "memory", "refused") for v in verdicts)
    again = service.verify([(GOOD + "# again\n", NMOS)])[0]
    assert (again["status"], again["drc_errors"], again["lvs_errors"]) == ("ok", 0, 0)
