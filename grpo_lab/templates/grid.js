// A table whose cells can be clicked: pages of completions, the prompt-by-sample heat map. Text is only ever set as
// textContent, so nothing that a model wrote can become markup here.
const STYLE = `
.glab-grid{overflow:auto;font-size:12.5px;color:var(--jp-ui-font-color1,#1F2328)}
.glab-grid table{border-collapse:collapse;width:auto}
.glab-grid caption{caption-side:bottom;text-align:left;color:var(--jp-ui-font-color2,#656D76);padding:3px 0}
.glab-grid th{position:sticky;top:0;text-align:left;font-weight:600;color:var(--jp-ui-font-color2,#656D76);background:var(--jp-layout-color0,#fff);padding:3px 8px;max-width:17ch;vertical-align:bottom}
.glab-grid th button{all:unset;cursor:pointer} .glab-grid th button:hover{text-decoration:underline}
.glab-grid td{padding:2px 8px;border-bottom:1px solid var(--jp-border-color2,#D8DEE4);white-space:nowrap;max-width:38ch;overflow:hidden;text-overflow:ellipsis}
.glab-grid td.n,.glab-grid th.n{text-align:right;font-variant-numeric:tabular-nums}
.glab-grid td.t{color:#141414;border:1.5px solid var(--jp-layout-color0,#fff);min-width:2.8em;padding:2px 3px;text-align:center}
.glab-grid .pick{cursor:pointer} .glab-grid .pick:hover{outline:2px solid #2A7FC9;outline-offset:-2px}
.glab-grid .on{outline:2.5px solid var(--jp-ui-font-color1,#1F2328);outline-offset:-2px}
.glab-grid :focus-visible{outline:3px solid #2A7FC9;outline-offset:-2px}`;

function render({ model, el }) {
  const make = (tag, text, cls) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (cls) e.className = cls; return e; };
  const send = (name, value) => { model.set(name, value); model.save_changes(); };
  const choose = (r, c) => send("picked", [r, c]);
  const press = (e, f) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); f(); } };
  const style = make("style", STYLE), box = make("div", undefined, "glab-grid");
  el.replaceChildren(style, box);
  const draw = () => {
    const head = model.get("head"), rows = model.get("rows"), tones = model.get("tones"), numeric = model.get("numeric"), cells = model.get("cells"), picked = model.get("picked");
    const sortable = model.get("sortable"), table = make("table"), top = make("tr");
    head.forEach((name, c) => {
      const th = make("th", undefined, numeric[c] ? "n" : "");
      if (sortable[c]) {
        const b = make("button", name + (model.get("sorted")[0] === c ? (model.get("sorted")[1] ? " ▼" : " ▲") : ""));
        b.tabIndex = 0; b.title = "sort by " + name;
        const go = () => { const s = model.get("sorted"); send("sorted", [c, s[0] === c ? 1 - s[1] : 1]); };
        b.onclick = go; b.onkeydown = (e) => press(e, go); th.append(b);
      } else th.textContent = name;
      top.append(th);
    });
    table.append(top);
    rows.forEach((row, r) => {
      const tr = make("tr");
      if (!cells) {
        tr.className = "pick" + (picked[0] === r ? " on" : ""); tr.tabIndex = 0; tr.setAttribute("role", "button");
        tr.onclick = () => choose(r, 0); tr.onkeydown = (e) => press(e, () => choose(r, 0));
      }
      row.forEach((text, c) => {
        const colour = (tones[r] || [])[c] || "", td = make("td", text, (numeric[c] ? "n " : "") + (colour && cells ? "t " : ""));
        td.title = text;
        if (/^#[0-9a-fA-F]{6}$/.test(colour)) { if (cells) td.style.background = colour; else td.style.boxShadow = "inset 4px 0 " + colour; }
        if (cells && colour) {
          td.classList.add("pick"); if (picked[0] === r && picked[1] === c) td.classList.add("on");
          td.tabIndex = 0; td.setAttribute("role", "button"); td.onclick = () => choose(r, c); td.onkeydown = (e) => press(e, () => choose(r, c));
        }
        tr.append(td);
      });
      table.append(tr);
    });
    if (model.get("caption")) table.append(make("caption", model.get("caption")));
    box.style.maxHeight = model.get("height"); box.replaceChildren(table);
  };
  const names = ["head", "rows", "tones", "numeric", "cells", "picked", "sorted", "sortable", "caption", "height"];
  let due = 0;
  const later = () => { if (!due) due = requestAnimationFrame(() => { due = 0; draw(); }); };
  names.forEach((n) => model.on("change:" + n, later));
  draw();
  return () => names.forEach((n) => model.off("change:" + n, later));
}
export default { render };
