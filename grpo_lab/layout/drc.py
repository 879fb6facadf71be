"""Design-rule check (DRC) for SKY130, in process, with KLayout's geometry engine.

A chip factory promises to make what is drawn only if the drawing keeps its rules: wires no thinner, gaps no
narrower, contacts no less covered than it can print. This module checks the published SKY130 rules on the
flattened top cell and counts what is broken, rule by rule. It runs in the judge process, which has `klayout.db`
and never runs a model's code.

    check(layout, top)       -> [{"kind": "drc", "rule": "m1.2", "description": ..., "count": 3, "boxes": [...]}, ...]
    rules()                  -> the rule table, one dict per rule, ready to print

Every rule is one row of `RULES`: a name, the kind of check, the layers, the value in um, a sentence, and the
name of the same check in the foundry's KLayout deck (empty where the deck has none). Values are those of
"SkyWater SKY130 PDK, design rules, periphery" (URL below); the rows are data, the geometry is in `_CHECKS`.

Decisions:

- Only the top cell counts, flattened: shapes hidden in other cells are neither checked nor useful.
- One violation is one marker of KLayout's: an edge pair, an edge, or a polygon. That is what the deck counts too.
- Shapes on layers outside the rule set change nothing (texts, pins, drawing aids); they are not manufactured.
- The `areaid` markers (GDS layer 81) relax rules for approved memory cores and the like. A program cannot approve
  itself: using one is a violation (x.8) and relaxes nothing.
- Layouts too big to judge are refused as one violation ("size"), so that a small file with huge arrays costs nothing.
"""
from __future__ import annotations

from dataclasses import dataclass

try:
    import klayout.db as kdb
except ImportError:  # the rule table can be read anywhere; only `check` needs KLayout's module
    kdb = None

RULES_URL = "https://skywater-pdk.readthedocs.io/en/main/rules/periphery.html"
GRID_UM = 0.005  # manufacturing grid, rule x.1b
MAX_SHAPES = 300_000  # flattened shapes above which a layout is refused
MAX_BOXES = 20  # boxes reported for each rule

LAYERS = {  # drawing layers, (GDS layer, datatype)
    "dnwell": (64, 18), "nwell": (64, 20), "diff": (65, 20), "tap": (65, 44), "poly": (66, 20), "licon": (66, 44),
    "li": (67, 20), "mcon": (67, 44), "m1": (68, 20), "via": (68, 44), "m2": (69, 20), "via2": (69, 44),
    "m3": (70, 20), "via3": (70, 44), "m4": (71, 20), "via4": (71, 44), "m5": (72, 20), "capm": (89, 44),
    "cap2m": (97, 44), "nsdm": (93, 44), "psdm": (94, 20), "npc": (95, 20), "hvi": (75, 20), "hvntm": (125, 20),
    "lvtn": (125, 44), "hvtp": (78, 44), "hvtr": (18, 20), "ncm": (92, 44), "rpm": (86, 20), "urpm": (79, 20),
    "tunm": (80, 20), "nsm": (61, 20), "pad": (76, 20), "rdl": (74, 20), "poly_rs": (66, 13), "li_rs": (67, 13),
}
LAYER_NAMES = {"li": "local interconnect (li1)", "licon": "licon contact", "mcon": "mcon contact", "m1": "met1", "m2": "met2",
               "m3": "met3", "m4": "met4", "m5": "met5", "capm": "MIM capacitor plate (capm)", "nsdm": "n+ implant (nsdm)",
               "cap2m": "upper MIM capacitor plate (cap2m)", "psdm": "p+ implant (psdm)", "npc": "nitride poly cut (npc)",
               "nwell": "n-well", "dnwell": "deep n-well", "diff": "diffusion", "tap": "tap"}


@dataclass(frozen=True)
class Rule:
    name: str  # as published and unique, for example "m1.2"
    check: str  # kind of check, a key of _CHECKS
    layers: tuple  # names of drawn or derived layers, in the order the check wants
    value: float  # um (um^2 for areas); 0 where the rule has no number
    description: str
    section: str  # section of the published rules
    deck: tuple = ()  # categories of the foundry's KLayout deck that check the same; empty: the deck does not

    @property
    def published(self) -> str:
        "The rule's name in the published rules, where ours says more: x.1b for x.1b.met1."
        return {"difftap.1_tap": "difftap.1", "licon.13a": "licon.13"}.get(self.name, ".".join(self.name.split(".")[:2]))

    @property
    def source(self) -> str:
        if self.section == "rdl" and not self.value:
            return f"SkyWater SKY130 KLayout deck, {', '.join(self.deck)}"
        return f"SkyWater SKY130 PDK, periphery rules, section ({self.section}.-), rule {self.published}"


def _name(layer: str) -> str:
    return LAYER_NAMES.get(layer, layer)


def _table() -> list[Rule]:
    "The rule table, in the order of manufacture, then grid and angles."
    rows: list[Rule] = []

    def add(name, check, layers, value, description, deck=(), section=None):
        layers = (layers,) if isinstance(layers, str) else tuple(layers)
        deck = (deck,) if isinstance(deck, str) else tuple(deck)
        rows.append(Rule(name, check, layers, value, description, section or name.split(".")[0], deck))

    def width(name, layer, value, deck=(), **kw):
        add(name, "width", layer, value, f"{_name(layer)} is at least {value:g} um wide", deck, **kw)

    def space(name, layer, value, deck=(), **kw):
        add(name, "metal_space" if layer in ("m1", "m2", "m3", "m4") else "space", layer, value, f"gaps in {_name(layer)} are at least {value:g} um", deck, **kw)

    def encl(name, outer, inner, value, deck=(), text=None, **kw):
        add(name, "enclose", (outer, inner), value,
            text or f"{_name(outer)} covers {_name(inner)} and reaches at least {value:g} um beyond it", deck, **kw)

    def corner(name, outer, inner, value, deck=(), text=None, **kw):
        add(name, "adjacent", (outer, inner), value, text or f"{_name(outer)} reaches at least {value:g} um beyond "
            f"{_name(inner)} on one of any two adjacent sides", deck, **kw)

    def area(name, layer, value, deck=(), **kw):
        add(name, "area", layer, value, f"every {_name(layer)} shape has an area of at least {value:g} um^2", deck, **kw)

    def holes(name, layer, value, deck=(), **kw):
        add(name, "holes", layer, value, f"every hole in {_name(layer)} has an area of at least {value:g} um^2", deck, **kw)

    # wells
    width("dnwell.2", "dnwell", 3.0, "MRW_dnwell.WID.1")
    space("dnwell.3", "dnwell", 6.3, "MRW_dnwell.SP.1")
    width("nwell.1", "nwell", 0.84, "MR_nwell.WID.1")
    space("nwell.2a", "nwell", 1.27, "MR_nwell.SP.1")
    # threshold-voltage and special implants
    for name, layer, w, s, dw, ds in (
            ("hvtp", "hvtp", 0.38, 0.38, "MR_hvtp.WID.1", "MR_hvtp.SP.1"), ("lvtn", "lvtn", 0.38, 0.38, "lvtn.1a", "lvtn.2"),
            ("ncm", "ncm", 0.38, 0.38, "MR_ncm.WID.1", "ncm.2a"), ("hvi", "hvi", 0.6, 0.7, "hvi.1", "hvi.2a"),
            ("hvntm", "hvntm", 0.7, 0.7, "hvntm.1", "hvntm.2"), ("rpm", "rpm", 1.27, 0.84, "MR_rpm.WID.1", "MR_rpm.SP.1"),
            ("urpm", "urpm", 1.27, 0.84, "MR_urpm.WID.1", "MR_urpm.SP.1"), ("nsm", "nsm", 3.0, 4.0, "MR_nsm.WID.1", "MR_nsm.SP.1")):
        width(name + (".1a" if layer in ("lvtn", "rpm") else ".1"), layer, w, dw)
        space(name + (".2a" if layer in ("ncm", "hvi") else ".2"), layer, s, ds)
    width("hvtr.1", "hvtr", 0.38, "hvtr.1")
    add("hvtr.2", "apart", ("hvtr", "hvtp"), 0.38, "hvtr and hvtp do not overlap and are at least 0.38 um apart", ("hvtr.2", "MR_hvtr.CON.1"))
    width("tunm.1", "tunm", 0.41, "tunm.1")
    space("tunm.2", "tunm", 0.5, "tunm.2")
    add("tunm.8", "forbidden", "tunm", 0, "tunm belongs to memory cores only", "MR_tunm.CON.1")
    # diffusion and tap
    width("difftap.1", "diff", 0.15, ("difftap.1_a", "difftap.1"))
    width("difftap.1_tap", "tap", 0.15, ("MR_diff.WID.2", "difftap.1_b"))
    add("difftap.2", "gate_width", ("gate", "poly"), 0.42, "a transistor's channel is at least 0.42 um wide")
    add("difftap.3", "space", "difftap", 0.27, "gaps between diffusions or taps are at least 0.27 um", "difftap.3")
    add("difftap.8", "enclose", ("nwell", "pdiff_in"), 0.18, "the n-well reaches at least 0.18 um beyond p+ diffusion in it")
    add("difftap.9", "separate", ("ndiff_out", "nwell"), 0.34, "n+ diffusion is at least 0.34 um away from an n-well")
    add("difftap.10", "enclose", ("nwell", "ndiff_in"), 0.18, "the n-well reaches at least 0.18 um beyond an n+ tap in it")
    add("difftap.11", "separate", ("pdiff_out", "nwell"), 0.13, "a p+ tap is at least 0.13 um away from an n-well")
    # poly
    width("poly.1a", "poly", 0.15, "MR_poly.WID.2")
    space("poly.2", "poly", 0.21, "MR_poly.SP.1")
    width("poly.3", "poly_rs", 0.33, "MR_poly.WID.3")
    add("poly.4", "field_poly", ("poly", "diff"), 0.075, "poly beside a diffusion keeps at least 0.075 um away from it")
    add("poly.7", "inside_edges", ("diff", "poly"), 0.25, "diffusion reaches at least 0.25 um beyond the gate")
    add("poly.8", "inside_edges", ("poly", "diff"), 0.13, "poly reaches at least 0.13 um beyond the diffusion (gate end cap)")
    # implants
    for i, layer in (("n", "nsdm"), ("p", "psdm")):
        sec = "n/ psd"
        width(f"{i}sd.1", layer, 0.38, f"MR_{layer}.WID.2", section=sec)
        space(f"{i}sd.2", layer, 0.38, f"MR_{layer}.SP.1", section=sec)
    add("nsd.8", "overlap", ("npdiff", "npdiff"), 0, "no diffusion is both n+ and p+", "nsdm_psdm_overlap", section="n/ psd")
    add("nsd.9", "uncovered", ("difftap", "implant"), 0, "every diffusion and tap lies inside an n+ or p+ implant", section="n/ psd")
    area("nsd.10a", "nsdm", 0.265, section="n/ psd")
    area("psd.10b", "psdm", 0.255, section="n/ psd")
    # contacts to diffusion and poly
    width("npc.1", "npc", 0.27, "MR_npc.WID.1")
    space("npc.2", "npc", 0.27, "npc.2")
    add("licon.1", "cut_exact", "licon_std", 0.17, "licon contacts are squares of exactly 0.17 um", ("licon.1", "licon.1_c", "MR_licon.WID.1"))
    add("licon.2", "space", "licon_std", 0.17, "licon contacts are at least 0.17 um apart", "MR_licon.SP.1")
    add("licon.4", "licon_lands", ("licon", "difftap", "poly", "li"), 0, "every licon touches local interconnect above and diffusion, tap or poly below")
    encl("licon.5a", "difftap", "licon_diff", 0.04, text="diffusion or tap covers its contact and reaches at least 0.04 um beyond it")
    corner("licon.5c", "difftap", "licon_diff", 0.06, text="diffusion or tap reaches at least 0.06 um beyond its contact on one of any two adjacent sides")
    add("licon.5b", "separate", ("licon_tap", "diff"), 0.06, "a tap's contact is at least 0.06 um from the edge shared with a diffusion", "MR_licon.SP.5")
    encl("licon.8", "poly", "licon_poly", 0.05, text="poly covers its contact and reaches at least 0.05 um beyond it")
    corner("licon.8a", "poly", "licon_poly", 0.08, text="poly reaches at least 0.08 um beyond its contact on one of any two adjacent sides")
    add("licon.9", "separate", ("licon_on_poly", "psdm"), 0.11, "a poly contact is at least 0.11 um away from p+ implant", "MR_licon.SP.6")
    add("licon.11", "separate", ("licon_on_diff", "poly"), 0.055, "a diffusion contact is at least 0.055 um away from the gate", "MR_licon.SP.8")
    add("licon.13", "separate", ("licon_on_diff", "npc"), 0.09, "a diffusion contact is at least 0.09 um away from npc", "licon.13")
    add("licon.13a", "overlap", ("licon_on_diff", "npc"), 0, "a diffusion contact does not touch npc", "licon.13_a", section="licon")
    add("licon.14", "separate", ("licon_poly", "difftap"), 0.19, "a poly contact is at least 0.19 um away from diffusion")
    encl("licon.15", "npc", "licon_poly", 0.10, text="npc covers every poly contact and reaches at least 0.1 um beyond it")
    add("licon.17", "overlap", ("licon_on_poly", "difftap"), 0, "a contact does not land on poly and diffusion at once", "licon.17")
    # MIM capacitors
    for cap, metal, name, v, vm in (("capm", "m3", "via3", "via3", 0.14), ("cap2m", "m4", "via4", "via4", 0.2)):
        width(f"{cap}.1", cap, 1.0, f"MR_{cap}.WID.1")
        space(f"{cap}.2a", cap, 0.84, f"MR_{cap}.SP.1")
        add(f"{cap}.2b", "bottom_plate", (cap, metal), 1.2, f"the {_name(metal)} bottom plates of two capacitors are at least 1.2 um apart", f"MR_{cap}.SP.2")
        encl(f"{cap}.3", metal, cap, 0.14, f"MR_{cap}.ENC.1")
        add(f"{cap}.4", "reach", (cap, v), vm, f"a capacitor plate reaches at least {vm:g} um beyond the {name} on it", f"MR_{cap}.ENC.2")
        add(f"{cap}.5", "separate", (cap, v), vm, f"{name} beside a capacitor plate is at least {vm:g} um away from it", f"MR_{cap}.SP.3")
        add(f"{cap}.11", "other_metal", (cap, metal), 0.5, f"{_name(metal)} that is not the bottom plate is at least 0.5 um away from the capacitor", f"MR_{cap}.SP.2")
    # local interconnect
    width("li.1", "li", 0.17, "li.1")
    space("li.3", "li", 0.17, "li.3")
    add("li.5", "adjacent_li", ("li", "licon"), 0.08, "local interconnect covers its licon and reaches at least 0.08 um beyond it on one of any two adjacent sides", "li.5")
    area("li.6", "li", 0.0561, "li.6")
    width("li.7", "li_rs", 0.29, "MR_li.WID.4")
    add("ct.1", "cut", "mcon", 0.17, "mcon contacts are squares of exactly 0.17 um", ("MR_mcon.WID.1", "MR_mcon.LEN.1", "MR_mcon.ANG.1"))
    add("ct.2", "space", "mcon", 0.19, "mcon contacts are at least 0.19 um apart", "MR_mcon.SP.1")
    add("ct.4", "uncovered", ("mcon", "li"), 0, "every mcon lies on local interconnect", "MR_mcon.CON.10")
    # metals and vias
    width("m1.1", "m1", 0.14, "MR_met1.WID.1")
    space("m1.2", "m1", 0.14, "MR_met1.SP.1")
    add("m1.3b", "huge", "m1", 0.28, "met1 wider than 3 um keeps at least 0.28 um away from other met1", "MRW_met1.SP.2")
    encl("m1.4", "m1", "mcon", 0.03, ("MR_met1.ENC.1", "MR_met1.CON.1"))
    corner("m1.5", "m1", "mcon", 0.06, "m1.5")
    area("m1.6", "m1", 0.083, "MR_met1.AR.1")
    holes("m1.7", "m1", 0.14, "MR_met1.AR.2")
    add("via.1a", "cut", "via", 0.15, "via cuts (met1 to met2) are squares of exactly 0.15 um", ("via.1a", "via.1a_a", "via.1a_b"))
    space("via.2", "via", 0.17, "via.2")
    encl("via.4a", "m1", "via", 0.055, ("MR_via1.ENC.1", "MR_via1.CON.1"))
    corner("via.5a", "m1", "via", 0.085, "via.5a")
    width("m2.1", "m2", 0.14, "MR_met2.WID.1")
    space("m2.2", "m2", 0.14, "m2.2")
    add("m2.3b", "huge", "m2", 0.28, "met2 wider than 3 um keeps at least 0.28 um away from other met2", "MRW_met2.SP.2")
    encl("m2.4", "m2", "via", 0.055, ("m2.4", "m2.4_a"))
    corner("m2.5", "m2", "via", 0.085, "m2.5")
    area("m2.6", "m2", 0.0676, "MR_met2.AR.1")
    holes("m2.7", "m2", 0.14, "MR_met2.AR.2")
    add("via2.1a", "cut", "via2", 0.2, "via2 cuts (met2 to met3) are squares of exactly 0.2 um", ("via2.1a", "via2.1a_a", "MR_via2.LEN.1"))
    space("via2.2", "via2", 0.2, "via2.2")
    encl("via2.4", "m2", "via2", 0.04, ("via2.4", "MR_via2.CON.1"))
    corner("via2.5", "m2", "via2", 0.085, "via2.5")
    width("m3.1", "m3", 0.3, "MR_met3.WID.1")
    space("m3.2", "m3", 0.3, "m3.2")
    add("m3.3d", "huge", "m3", 0.4, "met3 wider than 3 um keeps at least 0.4 um away from other met3", "MRW_met3.SP.2")
    encl("m3.4", "m3", "via2", 0.065, ("m3.4", "MR_met3.CON.1"))
    area("m3.6", "m3", 0.24, "MR_met3.AR.1")
    holes("m3.7", "m3", 0.2, "MR_met3.AR.2")
    add("via3.1", "cut", "via3", 0.2, "via3 cuts (met3 to met4) are squares of exactly 0.2 um", ("via3.1", "via3.1_a", "MR_via3.LEN.1"))
    space("via3.2", "via3", 0.2, "via3.2")
    encl("via3.4", "m3", "via3", 0.06, ("via3.4", "via3.4_a"))
    corner("via3.5", "m3", "via3", 0.09, "via3.5")
    width("m4.1", "m4", 0.3, "MR_met4.WID.1")
    space("m4.2", "m4", 0.3, "m4.2")
    encl("m4.3", "m4", "via3", 0.065, ("m4.3", "MR_met4.CON.1"))
    area("m4.4a", "m4", 0.24, "MR_met4.AR.1")
    add("m4.5b", "huge", "m4", 0.4, "met4 wider than 3 um keeps at least 0.4 um away from other met4", "MRW_met4.SP.2")
    holes("m4.7", "m4", 0.2, "MR_met4.AR.2")
    add("via4.1", "cut", "via4", 0.8, "via4 cuts (met4 to met5) are squares of exactly 0.8 um", ("via4.1", "via4.1_a", "via4.1_b"))
    space("via4.2", "via4", 0.8, "MR_via4.SP.1")
    encl("via4.4", "m4", "via4", 0.19, ("via4.4", "MR_via4.CON.1"))
    width("m5.1", "m5", 1.6, "MR_met5.WID.1")
    space("m5.2", "m5", 1.6, "MR_met5.SP.1")
    encl("m5.3", "m5", "via4", 0.31, ("m5.3", "MR_met5.CON.1"))
    area("m5.4", "m5", 4.0, "MR_met5.AR.1")
    space("pad.2", "pad", 1.27, "pad.2")
    width("rdl.1", "rdl", 10.0, "MR_rdl.WID.1")
    space("rdl.2", "rdl", 10.0, "MR_rdl.SP.1")
    add("rdl.con", "forbidden", "rdl", 0, "the redistribution layer is not for circuits", "MR_rdl.CON.1")
    # grid and angles, on every drawn layer that is manufactured
    straight = {"diff", "tap", "poly", "licon", "mcon", "via", "via2", "via3", "via4", "li", "capm"}
    deck_name = {"mcon": "ct"}
    for layer in LAYERS:
        if layer in ("poly_rs", "li_rs", "rdl", "urpm"):
            continue
        d = deck_name.get(layer, layer)
        in_deck = layer not in ("capm", "cap2m")
        add(f"x.1b.{layer}", "grid", layer, GRID_UM, f"every corner of {_name(layer)} lies on the 5 nm grid", f"{d}_OFFGRID" if in_deck else (), section="x")
        if layer in straight:
            add(f"x.2.{layer}", "angle90", layer, 0, f"edges of {_name(layer)} are horizontal or vertical", f"{d}_angle" if in_deck else (), section="x")
        else:
            add(f"x.3a.{layer}", "angle45", layer, 0, f"edges of {_name(layer)} run at multiples of 45 degrees", f"{d}_angle" if in_deck else (), section="x")
    add("x.8", "forbidden", "areaid", 0, "areaid markers (GDS layer 81) relax rules and need the foundry's approval: a program may not draw them", "moduleCut.1", section="x")
    return rows


RULES: list[Rule] = _table()


def rules() -> list[dict]:
    "The rule table as plain dicts: name, check, layers, value (um, um^2 for areas), description, source, deck."
    return [dict(name=r.name, check=r.check, layers=", ".join(r.layers), value=r.value, description=r.description,
                 source=r.source, url=RULES_URL, deck=", ".join(r.deck)) for r in RULES]


# --- geometry: everything below works in nanometres ---------------------------------------------------------------

class _Shapes:
    "Merged, flattened regions of one cell by layer name, in nm; derived layers are made on first use."

    _DERIVED = {
        "difftap": lambda s: s["diff"] + s["tap"],
        "implant": lambda s: s["nsdm"] + s["psdm"],
        "gate": lambda s: s["poly"] & s["diff"],
        "npdiff": lambda s: s["diff"] & s["nsdm"] & s["psdm"],
        "n_any": lambda s: s["difftap"] & s["nsdm"],
        "p_any": lambda s: s["difftap"] & s["psdm"],
        "ndiff_in": lambda s: s["n_any"].overlapping(s["nwell"]),
        "ndiff_out": lambda s: s["n_any"].not_overlapping(s["nwell"]),
        "pdiff_in": lambda s: s["p_any"].overlapping(s["nwell"]),
        "pdiff_out": lambda s: s["p_any"].not_overlapping(s["nwell"]),
        "resistor": lambda s: (s["rpm"] + s["urpm"]) & s["psdm"] & s["poly"].interacting(s["poly_rs"]) if s.drawn("rpm", "urpm") else kdb.Region(),
        "licon_std": lambda s: s["licon"] - s["resistor"] if s["resistor"].count() else s["licon"],
        "licon_on_diff": lambda s: s["licon"] & s["difftap"],
        "licon_on_poly": lambda s: s["licon"] & s["poly"],
        "licon_diff": lambda s: s["licon_std"].overlapping(s["difftap"]).not_overlapping(s["poly"]),
        "licon_poly": lambda s: s["licon_std"].overlapping(s["poly"]).not_overlapping(s["difftap"]),
        "licon_tap": lambda s: s["licon"] & s["tap"],
    }

    def __init__(self, layout: kdb.Layout, top: kdb.Cell):
        self.layout, self.top, self.scale = layout, top, layout.dbu / 0.001
        self.of: dict[str, kdb.Region] = {}
        self.index: dict[tuple, list[int]] = {}
        for i in layout.layer_indexes():
            info = layout.get_info(i)
            self.index.setdefault((info.layer, info.datatype), []).append(i)

    def drawn(self, *names) -> bool:
        return any(not self[n].is_empty() for n in names)

    def __getitem__(self, name: str) -> kdb.Region:
        if name not in self.of:
            if name in self._DERIVED:
                region = self._DERIVED[name](self)
            elif name == "areaid":
                region = self._read([i for (lay, _), ix in self.index.items() if lay == 81 for i in ix])
            else:
                region = self._read(self.index.get(LAYERS[name], []))
            region.merge()
            self.of[name] = region
        return self.of[name]

    def _read(self, indexes) -> kdb.Region:
        region = kdb.Region()
        for i in indexes:
            it = self.top.begin_shapes_rec(i)
            region += kdb.Region(it) if self.scale == 1 else kdb.Region(it, kdb.ICplxTrans(self.scale))
        return region


def _adjacent(s, r, d):
    "Covered cuts that the metal does not reach beyond by d on one of any two adjacent sides."
    metal, cut = s[r.layers[0]], s[r.layers[1]]
    all_covered = (cut - metal).is_empty()
    # fine where metal reaches d beyond on both of two opposite sides: then every corner has one such side
    bad = (cut if all_covered else cut.inside(metal)).not_inside(metal.sized(-d, 0, 2))
    out = [bad if bad.is_empty() else bad.not_inside(metal.sized(0, -d, 2))]
    if r.check == "adjacent_li" and not all_covered:  # no other rule is about contacts that stick out of local interconnect
        out.append(cut.interacting(metal).not_inside(metal).not_outside(metal))
    return out


def _cut(s, r, d, exact=False):
    cut = s[r.layers[0]]
    out = [cut.non_rectangles()]
    if exact:
        out.append(cut.edges().with_length(d, True))
    else:
        out += [cut.width_check(d), cut.edges().with_length(d + 1, None, False)]
    return out


def _enclose(s, r, d):
    outer, inner = s[r.layers[0]], s[r.layers[1]]
    return [outer.enclosing_check(inner, d), inner - outer]


def _wide(s, layer) -> kdb.Region:
    "The parts of a metal layer that are more than 3 um wide."
    metal, box = s[layer], s[layer].bbox()
    if layer + " wide" not in s.of:
        wide = metal.sized(-1500).sized(1500) & metal if min(box.width(), box.height()) >= 3000 else kdb.Region()
        s.of[layer + " wide"] = wide.merged()
    return s.of[layer + " wide"]


def _metal_space(s, r, d):
    "Gaps beside wide metal have a rule of their own (_huge) and are left out here."
    return [(s[r.layers[0]].edges() - _wide(s, r.layers[0])).space_check(d)]


def _huge(s, r, d):
    wide = _wide(s, r.layers[0])
    if wide.is_empty():
        return []
    edges = s[r.layers[0]].edges()
    wide_edges = wide.edges() & edges
    return [wide_edges.space_check(d), wide_edges.separation_check(edges - wide, d)]


def _bottom_plate(s, r, d):
    cap, metal = s[r.layers[0]], s[r.layers[1]]
    plate = (cap & metal).sized(140).merged()
    gaps = plate.isolated_check(d).polygons() - metal
    return [gaps, metal.not_interacting(plate).separation_check(plate, d)]


def _field_poly(s, r, d):
    poly, diff = s["poly"], s["diff"]
    return [poly.edges().outside_part(diff).separation_check(diff.edges().outside_part(poly), d, False, kdb.Metrics.Projection, None, None, None)]


def _gate_width(s, r, d):
    gate, poly = s["gate"], s["poly"]
    short = (gate.edges() & poly.edges()).with_length(0, d, False)
    return [gate.interacting(short)]


def _licon_lands(s, r, d):
    licon = s["licon"]
    return [licon.not_overlapping(land) for land in (s["difftap"] + s["poly"], s["li"]) if not (licon - land).is_empty()]


_CHECKS = {  # each returns a list of Region / Edges / EdgePairs whose members are the violations
    "width": lambda s, r, d: [s[r.layers[0]].width_check(d)],
    "space": lambda s, r, d: [s[r.layers[0]].space_check(d)],
    "metal_space": _metal_space,
    "separate": lambda s, r, d: [s[r.layers[0]].separation_check(s[r.layers[1]], d)],
    "apart": lambda s, r, d: [s[r.layers[0]].separation_check(s[r.layers[1]], d), s[r.layers[0]] & s[r.layers[1]]],
    "enclose": _enclose,
    "reach": lambda s, r, d: [s[r.layers[0]].enclosing_check(s[r.layers[1]], d)],
    "adjacent": _adjacent,
    "adjacent_li": _adjacent,
    "area": lambda s, r, d: [s[r.layers[0]].with_area(0, round(r.value * 1e6), False)],
    "holes": lambda s, r, d: [s[r.layers[0]].holes().with_area(0, round(r.value * 1e6), False)],
    "cut": _cut,
    "cut_exact": lambda s, r, d: _cut(s, r, d, exact=True),
    "uncovered": lambda s, r, d: [s[r.layers[0]] - s[r.layers[1]]],
    "overlap": lambda s, r, d: [s[r.layers[0]] & s[r.layers[1]]],
    "forbidden": lambda s, r, d: [s[r.layers[0]]],
    "huge": _huge,
    "bottom_plate": _bottom_plate,
    "other_metal": lambda s, r, d: [s[r.layers[1]].not_interacting(s[r.layers[0]]).separation_check(s[r.layers[0]], d)],
    "field_poly": _field_poly,
    "inside_edges": lambda s, r, d: [s[r.layers[0]].enclosing_check(s[r.layers[1]], d, False, kdb.Metrics.Projection, None, None, None)],
    "gate_width": _gate_width,
    "licon_lands": _licon_lands,
    "grid": lambda s, r, d: [s[r.layers[0]].grid_check(d, d)],
    "angle90": lambda s, r, d: [_edges(s[r.layers[0]], kdb.Edges.OrthoEdges)],
    "angle45": lambda s, r, d: [_edges(s[r.layers[0]], kdb.Edges.OrthoDiagonalEdges)],
}


def _edges(region, kind) -> kdb.Edges:
    return region.edges().with_angle(kind, True)


def flat_shapes(layout: kdb.Layout, top: kdb.Cell, limit: int = MAX_SHAPES) -> int:
    "How many shapes `top` has once flattened, without flattening it (a tiny file can hold huge arrays)."
    counts: dict[int, int] = {}
    for ci in layout.each_cell_bottom_up():
        cell = layout.cell(ci)
        n = sum(cell.shapes(i).size() for i in layout.layer_indexes())
        for inst in cell.each_inst():
            n += counts.get(inst.cell_index, 0) * max(1, inst.na) * max(1, inst.nb)
        counts[ci] = n
    return counts.get(top.cell_index(), 0)


def _detail(rule: str, description: str, count: int, boxes: list) -> dict:
    return {"kind": "drc", "rule": rule, "description": description, "count": count, "boxes": boxes}


def check(layout: kdb.Layout,  # a layout as read from GDS; it is not changed
          top: kdb.Cell,  # the cell to check, with all that it contains
          only=None,  # names of rules to check; None checks all
          ) -> list[dict]:
    "Broken rules of `top`, one error_details dict for each rule, in the order of the rule table; empty: clean."
    n = flat_shapes(layout, top)
    if n > MAX_SHAPES:
        b = top.dbbox()
        return [_detail("size", f"the layout has {n} shapes, more than the {MAX_SHAPES} that are judged: simplify it", 1,
                        [[b.left, b.bottom, b.right, b.top]])]
    shapes, found = _Shapes(layout, top), []
    for rule in RULES:
        # what a rule is about: for an enclosure the inner shape, so that a contact without any metal is found too
        subject = rule.layers[1] if rule.check in ("enclose", "adjacent", "adjacent_li") else rule.layers[0]
        if (only is not None and rule.name not in only) or shapes[subject].is_empty():
            continue
        count, boxes = 0, []
        for result in _CHECKS[rule.check](shapes, rule, round(rule.value * 1000)):
            k = result.count()
            count += k
            if k:
                for item in result.each():
                    if len(boxes) == MAX_BOXES:
                        break
                    b = item.bbox()
                    boxes.append([b.left / 1000, b.bottom / 1000, b.right / 1000, b.top / 1000])
        if count:
            found.append(_detail(rule.name, rule.description, count, boxes))
    return found
