// Asks the kernel for a new look every few seconds, as long as the page is open and visible. No thread, no cell that runs for ever.
function render({ model, el }) {
  const box = document.createElement("label"), tick = document.createElement("input"), text = document.createElement("span");
  tick.type = "checkbox"; tick.checked = model.get("on"); text.textContent = ` refresh every ${model.get("seconds")} s`;
  box.style.cssText = "font-size:12.5px;color:var(--jp-ui-font-color2,#656D76);cursor:pointer"; box.append(tick, text); el.replaceChildren(box);
  tick.onchange = () => { model.set("on", tick.checked); model.save_changes(); };
  const follow = () => { tick.checked = model.get("on"); };
  model.on("change:on", follow);
  const timer = setInterval(() => { if (model.get("on") && !document.hidden) { model.set("beat", model.get("beat") + 1); model.save_changes(); } }, 1000 * Math.max(1, model.get("seconds")));
  return () => { clearInterval(timer); model.off("change:on", follow); };
}
export default { render };
