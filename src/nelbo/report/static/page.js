"use strict";
// Two things only: the choice of light or dark, and the map of the latent space. Without this file
// the page shows all else.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const wishes = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : wishes.matches);
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  try {
    const kept = localStorage.getItem("nelbo-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* a browser may keep nothing for a file */ }
  button.hidden = false;
  name();
  wishes.addEventListener("change", name);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
    try { localStorage.setItem("nelbo-theme", root.dataset.theme); } catch { /* likewise */ }
  });
})();

(() => {
  const source = document.getElementById("map-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const map = document.getElementById("map");
  const here = document.getElementById("here");
  const item = document.getElementById("item");
  const legend = document.getElementById("legend");
  const colour = document.getElementById("colour");
  const points = [...map.querySelectorAll("circle:not(#here)")];
  let chosen = -1;

  const line = (text, kind) => {
    const p = document.createElement("p");
    p.textContent = text; // never HTML: it comes from data
    if (kind) p.className = kind;
    return p;
  };

  function thumbnail(i) {
    const [width, height] = data.tile;
    const { across, of } = data.sprite;
    const scale = Math.max(1, Math.floor(150 / Math.max(width, height)));
    const box = document.createElement("div");
    box.className = "thumb";
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", `Row ${data.numbers[i]} as an image`);
    box.style.width = `${width * scale}px`;
    box.style.height = `${height * scale}px`;
    box.style.backgroundSize = `${across * width * scale}px ${Math.ceil(of / across) * height * scale}px`;
    box.style.backgroundPosition =
      `${-(i % across) * width * scale}px ${-Math.floor(i / across) * height * scale}px`;
    return box;
  }

  function choose(i) {
    if (i === chosen || i < 0) return;
    chosen = i;
    here.setAttribute("cx", data.x[i]);
    here.setAttribute("cy", data.y[i]);
    const parts = [line(`Row ${data.numbers[i]}`)];
    parts[0].style.fontWeight = "650";
    if (data.sprite) parts.push(thumbnail(i));
    const named = new Set(data.columns || []);
    for (const part of data.colourings) {
      if (!named.has(part.name)) parts.push(line(`${part.name}: ${part.told[i]}`));
    }
    (data.columns || []).forEach((column, j) => parts.push(line(`${column}: ${data.cells[i][j]}`, "told")));
    item.replaceChildren(...parts);
  }

  function nearest(x, y) {
    let best = -1, least = Infinity;
    for (let i = 0; i < data.x.length; i++) {
      const d = (data.x[i] - x) ** 2 + (data.y[i] - y) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  map.addEventListener("pointermove", (event) => {
    const box = map.getBoundingClientRect();
    const { width, height } = map.viewBox.baseVal;
    choose(nearest((event.clientX - box.left) * width / box.width,
                   (event.clientY - box.top) * height / box.height));
  });
  map.addEventListener("pointerdown", (event) => map.dispatchEvent(
    new PointerEvent("pointermove", { clientX: event.clientX, clientY: event.clientY })));

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  map.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    if (chosen < 0) { choose(nearest(map.viewBox.baseVal.width / 2, map.viewBox.baseVal.height / 2)); return; }
    let best = -1, least = Infinity;
    for (let i = 0; i < data.x.length; i++) {
      const dx = data.x[i] - data.x[chosen], dy = data.y[i] - data.y[chosen];
      const along = dx * step[0] + dy * step[1], aside = Math.abs(dx * step[1]) + Math.abs(dy * step[0]);
      const cost = along + 2.5 * aside;
      if (along > 0.01 && cost < least) { least = cost; best = i; }
    }
    choose(best);
  });

  function paint(k) {
    const part = data.colourings[k];
    document.getElementById("by").textContent = part.name;
    points.forEach((point, i) => point.setAttribute("class", part.codes[i]));
    legend.replaceChildren(...part.legend.map((entry) => {
      const li = document.createElement("li"), key = document.createElement("span");
      key.className = `key ${entry.code}`;
      li.append(key, entry.text);
      return li;
    }));
  }
  colour.parentElement.hidden = data.colourings.length < 2;
  colour.addEventListener("change", () => paint(colour.selectedIndex));
})();
