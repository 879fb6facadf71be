"""Pictures of layouts by KLayout's own renderer, without a screen. Runs in the judge.

    png(layout, top, boxes=[[x1, y1, x2, y2]], width=480, height=360) -> bytes

KLayout draws the shapes with the small style table below; violations are red outlines, drawn last and never smaller than a
few pixels. The colours are Okabe and Ito's, which people with colour-blindness can tell apart, and each wiring layer has a
hatch of its own besides; red is used for violations only. A legend and a scale bar are added underneath.
"""
from __future__ import annotations

import io

# name, (layer, datatype), fill, frame, dither pattern of KLayout (0 solid, 1 hollow, others hatches), in order of height
STYLE = (
    ("nwell", (64, 20), 0xFBF3D0, 0xB9A24C, 0),
    ("diff", (65, 20), 0x9BDCC8, 0x009E73, 0),
    ("tap", (65, 44), 0x9BDCC8, 0x009E73, 0),
    ("poly", (66, 20), 0xCC79A7, 0xA3527F, 0),
    ("li1", (67, 20), 0x56B4E9, 0x56B4E9, 5),
    ("met1", (68, 20), 0x0072B2, 0x0072B2, 9),
    ("met2", (69, 20), 0xE69F00, 0xC98A00, 8),
    ("met3", (70, 20), 0x7B5FB5, 0x5E4397, 12),
    ("capm", (89, 44), 0x8C6D31, 0x6B5222, 11),
    ("met4", (71, 20), 0xC7B800, 0x9C9000, 7),
    ("met5", (72, 20), 0x777777, 0x444444, 6),
    ("contacts", (66, 44), 0x333333, 0x333333, 0),
    ("contacts", (67, 44), 0x333333, 0x333333, 0),
    ("contacts", (68, 44), 0x111111, 0x111111, 0),
    ("contacts", (69, 44), 0x111111, 0x111111, 0),
    ("contacts", (70, 44), 0x111111, 0x111111, 0),
)
ERROR = 0xE00000
STRIP = 18  # pixels of legend underneath
MOST = 1600  # pixels a side


def png(layout, top,
        boxes=(),  # violations in um: [x1, y1, x2, y2]
        width: int = 480,
        height: int = 360,  # of the whole picture, pixels
        legend: bool = True) -> bytes:
    "PNG of the flattened top cell, with the boxes outlined in red."
    import klayout.db as db
    import klayout.lay as lay
    from PIL import Image
    width, height = max(64, min(MOST, int(width))), max(64, min(MOST, int(height)))
    strip = STRIP if legend else 0
    view = lay.LayoutView()
    for key, value in (("background-color", "#ffffff"), ("grid-visible", "false"), ("text-visible", "false"),
                       ("show-properties", "false"), ("cell-box-visible", "false")):
        view.set_config(key, value)
    cell_view = view.show_layout(layout, False)
    view.active_cellview().cell = top
    view.clear_layers()
    used = []
    for name, pair, fill, frame, dither in STYLE:
        index = layout.find_layer(*pair)
        if index is None or top.shapes(index).is_empty():
            continue
        node = lay.LayerProperties()
        node.source = f"{pair[0]}/{pair[1]}"
        node.fill_color, node.frame_color, node.dither_pattern, node.width = fill, frame, dither, 1
        view.insert_layer(view.end_layers(), node)
        if name not in [u[0] for u in used]:
            used.append((name, fill, frame))
    frame_box = db.DBox()
    for _, pair, *_ in STYLE:
        index = layout.find_layer(*pair)
        if index is not None:
            frame_box += top.dbbox_per_layer(index) if hasattr(top, "dbbox_per_layer") else top.dbbox(index)
    if frame_box.empty():
        frame_box = db.DBox(-1, -1, 1, 1)
    margin = 0.03 * max(frame_box.width(), frame_box.height(), 0.5)
    frame_box = frame_box.enlarged(margin, margin)
    um_per_pixel = max(frame_box.width() / width, frame_box.height() / (height - strip))
    if boxes:
        marks, least = layout.layer(9999, 1), 4 * um_per_pixel
        for x1, y1, x2, y2 in boxes:
            box = db.DBox(x1, y1, x2, y2)
            box = box.enlarged(max(least - box.width() / 2, um_per_pixel), max(least - box.height() / 2, um_per_pixel))
            top.shapes(marks).insert(box)
        node = lay.LayerProperties()
        node.source, node.frame_color, node.fill_color, node.dither_pattern, node.width = "9999/1", ERROR, ERROR, 1, 4
        view.insert_layer(view.end_layers(), node)
    view.max_hier()
    view.zoom_box(frame_box)
    data = view.get_pixels_with_options(width, height - strip, 2, 2, 0.5, db.DBox()).to_png_data()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    if legend:
        shown = view.box()
        sheet = Image.new("RGB", (width, height), "white")
        sheet.paste(picture, (0, 0))
        _legend(sheet, used, bool(boxes), width / shown.width() if shown.width() else 1.0)
        picture = sheet
    out = io.BytesIO()
    picture.quantize(96, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    del cell_view
    return out.getvalue()


def _legend(sheet, used, errors: bool, pixels_per_um: float) -> None:
    "Layer names with their colours from the left, a scale bar at the right."
    from PIL import ImageDraw, ImageFont
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    width, y = sheet.width, sheet.height - STRIP
    length = 0.1
    for candidate in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if candidate * pixels_per_um < width / 6:
            length = candidate
    right, text = width - 6, f"{length:g} um"
    room = right - max(length * pixels_per_um, draw.textlength(text, font)) - 10
    draw.line([(right - length * pixels_per_um, y + 15), (right, y + 15)], fill="black", width=2)
    draw.text((right - draw.textlength(text, font), y + 2), text, fill="black", font=font)
    x = 4
    entries = [(name, fill, frame) for name, fill, frame in used]
    if errors:
        entries.insert(0, ("errors", None, ERROR))
    for name, fill, frame in entries:
        step = 14 + draw.textlength(name, font) + 7
        if x + step > room:
            break
        colour = None if fill is None else f"#{fill:06x}"
        draw.rectangle([x, y + 5, x + 9, y + 13], fill=colour, outline=f"#{frame:06x}")
        draw.text((x + 13, y + 3), name, fill="black", font=font)
        x += step
