"use strict";
// The latent explorer: state is a point z, and whatever moves it decodes it anew. Nothing that comes
// from data is ever made HTML.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const floats = (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  };
  const size = data.latent, map = data.map;
  const points = floats(map.points), codes = floats(map.z), draws = floats(data.prior);
  const count = points.length / 2;
  const begin = codes.slice(0, size); // the first row of the map
  // the condition of a row of the map, where it is among those that can be chosen
  const own = (i) => (map.given && map.given[i] >= 0 ? map.given[i] : state.given);
  const state = { z: begin.slice(), noise: false, seed: 1, given: 0, picked: 0, a: null, b: null };
  state.given = own(0);
  const past = [];
  let session = null, ort = null, busy = false, wanted = false, last = null, drawn = 0;

  // -- numbers

  function generator(seed) { // mulberry32
    let a = seed >>> 0;
    return () => {
      a = (a + 0x6d2b79f5) | 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }
  function normals(n, seed) {
    const next = generator(seed * 7919 + 13), found = new Float32Array(n);
    for (let i = 0; i < n; i += 2) {
      const r = Math.sqrt(-2 * Math.log(1 - next())), angle = 2 * Math.PI * next();
      found[i] = r * Math.cos(angle);
      if (i + 1 < n) found[i + 1] = r * Math.sin(angle);
    }
    return found;
  }
  const written = (value) => {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
    return String(Number(value.toPrecision(4)));
  };

  // A value as the table writes it: a level, a date, or a number in its range with its decimals.
  const levelAt = (list, index) => list[Math.min(list.length - 1, Math.max(0, Math.round(index)))];
  function inWords(column, value) {
    if (column.levels.length) return levelAt(column.levels, value);
    let kept = value;
    if (Number.isFinite(column.least)) kept = Math.max(column.least, kept);
    if (Number.isFinite(column.most)) kept = Math.min(column.most, kept);
    if (column.form === "date" && Number.isFinite(kept)) {
      const day = column.decimals === 0 ? Math.round(kept) : kept;
      const text = new Date(Math.round(day * 86400) * 1000).toISOString();
      return column.decimals === 0 ? text.slice(0, 10) : text.slice(0, 16).replace("T", " ");
    }
    if (column.form === "duration") return `${written(kept)} s`;
    if (!Number.isFinite(column.decimals)) return written(kept);
    return (Math.round(kept * 10 ** column.decimals) / 10 ** column.decimals + 0).toFixed(column.decimals);
  }
  // A value that the map is coloured by, which may be a column.
  function colourInWords(part, value) {
    const column = data.columns.find((one) => one.name === part.name);
    return column && column.form ? inWords(column, value) : written(value);
  }
  function spreadInWords(column, deviation, share) {
    if (column.levels.length) return share === undefined ? "" : `${Math.round(100 * share)} %`;
    return column.form === "date" ? `${written(deviation)} days` : written(deviation);
  }

  // -- the decoder

  async function bytes(id, zipped) {
    const text = $(id).textContent.trim();
    const answer = await fetch(`data:application/octet-stream;base64,${text}`);
    if (!zipped) return answer.arrayBuffer();
    return new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }
  async function start() {
    if (data.served) return;
    const code = await bytes("runtime", true);
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    const [module, wasm, model] = await Promise.all([import(url), bytes("wasm", true), bytes("model", true)]);
    URL.revokeObjectURL(url);
    ort = module;
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = wasm;
    ort.env.logLevel = "error";
    session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
    for (const id of ["runtime", "wasm", "model"]) $(id).textContent = "";
  }
  // x_hat, deviation and, where noise can be drawn, x_tilde, each flat; for one z.
  async function decode(z, seed) {
    const inputs = { z: Float32Array.from(z) };
    if (data.noise) inputs.u = normals(data.noise, seed);
    if (data.conditions) inputs.c = Float32Array.from(data.conditions[state.given].c);
    if (data.served) {
      const sent = Object.fromEntries(Object.entries(inputs).map(([k, v]) => [k, [...v]]));
      const answer = await fetch("decode", { method: "POST", body: JSON.stringify(sent) });
      if (!answer.ok) throw new Error(await answer.text());
      return answer.json();
    }
    const feed = Object.fromEntries(Object.entries(inputs).map(
      ([name, value]) => [name, new ort.Tensor("float32", value, [1, value.length])]));
    const out = await session.run(feed);
    return Object.fromEntries(Object.entries(out).map(([name, tensor]) => [name, tensor.data]));
  }
  // Only the newest z is decoded: what came in between is left out.
  async function refresh() {
    wanted = true;
    if (busy) return;
    busy = true;
    try {
      while (wanted) {
        wanted = false;
        last = await decode(state.z, state.seed);
        drawn += 1;
        show();
      }
    } catch (error) {
      $("status").textContent = `The decoder stopped: ${error.message}`;
    } finally {
      busy = false;
    }
  }

  // -- what is shown

  const shown = () => (state.noise && last.x_tilde ? last.x_tilde : last.x_hat);

  function paintImage(values) {
    const { height, width, channels, layout, low, high } = data.image;
    const canvas = $("picture"), context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const plane = height * width;
    for (let i = 0; i < plane; i++) {
      for (let k = 0; k < 3; k++) {
        const c = channels >= 3 ? k : 0;
        const at = layout === "chw" ? c * plane + i : i * channels + c;
        image.data[4 * i + k] = 255 * Math.min(1, Math.max(0, (values[at] - low) / (high - low)));
      }
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }
  function paintRow(values) {
    data.columns.forEach((column, j) => {
      const cells = rows[j], value = values[j], spread = last.deviation[j];
      const named = column.levels.length > 0;
      cells.value.textContent = inWords(column, value);
      cells.spread.textContent = spreadInWords(column, spread, last.share && last.share[j]);
      const reach = column.high - column.low || 1;
      const place = (v) => 100 * Math.min(1.02, Math.max(-0.02, (v - column.low) / reach));
      cells.dot.style.left = `${place(value)}%`;
      const from = place(last.x_hat[j] - spread), to = place(last.x_hat[j] + spread);
      cells.bar.style.left = `${from}%`;
      cells.bar.style.width = named ? "0" : `${Math.max(0, to - from)}%`;
    });
  }
  const rows = [];
  if (!data.image) {
    const body = $("row").tBodies[0];
    for (const column of data.columns) {
      const tr = body.insertRow(), name = document.createElement("th");
      name.scope = "row";
      name.textContent = column.name;
      tr.append(name);
      const value = tr.insertCell(), spread = tr.insertCell(), place = tr.insertCell();
      value.className = spread.className = "number";
      const range = document.createElement("span"), bar = document.createElement("span");
      const dot = document.createElement("span");
      range.className = "range"; bar.className = "bar"; dot.className = "dot";
      range.setAttribute("aria-hidden", "true");
      range.append(bar, dot);
      place.append(range);
      rows.push({ value, spread, bar, dot });
    }
  }
  const shownHead = $("shown-head");
  function show() {
    const noisy = state.noise && Boolean(last.x_tilde);
    shownHead.textContent = noisy ? "x̃ ~ p(x|z)" : "x̂ = f(z)";
    $("caption").textContent = noisy
      ? "A draw at this z, noise and all: what the model takes data to be."
      : data.image ? "The mean of p(x|z), without noise." : `The mean of p(x|z), ± one standard deviation; of levels the most probable, and how probable it is.${data.hidden}`;
    if (data.image) paintImage(shown()); else paintRow(shown());
  }

  // -- the map

  const canvas = $("map");
  let box = { left: 0, right: 1, bottom: 0, top: 1 };
  {
    let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < count; i++) {
      left = Math.min(left, points[2 * i]); right = Math.max(right, points[2 * i]);
      bottom = Math.min(bottom, points[2 * i + 1]); top = Math.max(top, points[2 * i + 1]);
    }
    if (!count) [left, right, bottom, top] = [-3, 3, -3, 3];
    const wide = (right - left || 1) * 0.08, high = (top - bottom || 1) * 0.08;
    box = { left: left - wide, right: right + wide, bottom: bottom - high, top: top + high };
  }
  const across = () => canvas.clientWidth, down = () => canvas.clientHeight;
  const toPixel = ([u, v]) => [
    (u - box.left) / (box.right - box.left) * across(),
    (box.top - v) / (box.top - box.bottom) * down()];
  const toPlane = (px, py) => [
    box.left + px / across() * (box.right - box.left),
    box.top - py / down() * (box.top - box.bottom)];
  const project = (z) => map.plane.map((axis) => {
    let sum = 0;
    for (let k = 0; k < size; k++) sum += axis[k] * (z[k] - map.centre[k]);
    return sum;
  });
  // Where z is on the plane; with one dimension the height of the picked row, or the middle.
  function place(z) {
    const found = project(z);
    if (found.length === 1) found.push(state.picked >= 0 ? points[2 * state.picked + 1] : (box.top + box.bottom) / 2);
    return found;
  }
  // Moves z along the plane alone: what it is across the plane stays.
  function moveTo(target) {
    const now = project(state.z), z = state.z.slice();
    map.plane.forEach((axis, i) => {
      for (let k = 0; k < size; k++) z[k] += axis[k] * (target[i] - now[i]);
    });
    return z;
  }
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const scale = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#f2dc25"];
  function colours() {
    const part = map.colourings[$("colour").selectedIndex] || null;
    if (!part) return { of: () => style("--muted"), legend: [] };
    if (part.levels.length) {
      const kinds = Array.from({ length: 10 }, (_, k) => style(`--k${k}`));
      const legend = part.levels.slice(0, 20).map((name, k) => [kinds[k % 10], name]);
      return { of: (i) => kinds[Math.round(part.values[i]) % 10], legend };
    }
    const known = part.values.filter((v) => v !== null).sort((a, b) => a - b);
    const low = known[Math.floor(0.02 * known.length)], high = known[Math.floor(0.98 * (known.length - 1))];
    const code = (v) => scale[Math.min(8, Math.max(0, Math.floor(9 * (v - low) / (high - low || 1))))];
    return {
      of: (i) => (part.values[i] === null ? style("--muted") : code(part.values[i])),
      legend: [[scale[0], `${colourInWords(part, low)} and less`], [scale[4], colourInWords(part, (low + high) / 2)],
        [scale[8], `${colourInWords(part, high)} and more`]],
    };
  }
  let background = null;
  function paintPoints() {
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(across() * ratio);
    canvas.height = Math.round(down() * ratio);
    background = document.createElement("canvas");
    background.width = canvas.width; background.height = canvas.height;
    const context = background.getContext("2d");
    context.scale(ratio, ratio);
    const { of, legend } = colours();
    const radius = count > 1500 ? 2 : 3;
    context.globalAlpha = 0.75;
    for (let i = 0; i < count; i++) {
      const [px, py] = toPixel([points[2 * i], points[2 * i + 1]]);
      context.fillStyle = of(i);
      context.beginPath();
      context.arc(px, py, radius, 0, 2 * Math.PI);
      context.fill();
    }
    $("legend").replaceChildren(...legend.map(([colour, text]) => {
      const li = document.createElement("li"), key = document.createElement("span");
      key.className = "key";
      key.style.background = colour;
      li.append(key, text);
      return li;
    }));
    paintMap();
  }
  function paintMap() {
    if (!background) return;
    const ratio = devicePixelRatio || 1, context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(background, 0, 0);
    context.scale(ratio, ratio);
    const ink = style("--ink");
    const ring = (at, text) => {
      const [px, py] = toPixel(at);
      context.strokeStyle = style("--paper"); context.lineWidth = 5;
      context.beginPath(); context.arc(px, py, 7, 0, 2 * Math.PI); context.stroke();
      context.strokeStyle = ink; context.lineWidth = 2.5;
      context.beginPath(); context.arc(px, py, 7, 0, 2 * Math.PI); context.stroke();
      if (text) { context.fillStyle = ink; context.font = "600 14px system-ui, sans-serif"; context.fillText(text, px + 10, py - 8); }
    };
    if (state.a && state.b) {
      context.strokeStyle = ink; context.setLineDash([4, 4]); context.lineWidth = 1.5;
      context.beginPath(); context.moveTo(...toPixel(place(state.a))); context.lineTo(...toPixel(place(state.b)));
      context.stroke(); context.setLineDash([]);
    }
    if (state.a) ring(place(state.a), "A");
    if (state.b) ring(place(state.b), "B");
    ring(place(state.z), "");
  }
  function nearest(px, py, within) {
    let best = -1, least = within * within;
    for (let i = 0; i < count; i++) {
      const [x, y] = toPixel([points[2 * i], points[2 * i + 1]]);
      const d = (x - px) ** 2 + (y - py) ** 2;
      if (d <= least) { least = d; best = i; }
    }
    return best;
  }

  // -- moving z

  const remember = () => {
    past.push({ z: state.z.slice(), picked: state.picked, noise: state.noise, seed: state.seed, given: state.given });
    if (past.length > 200) past.shift();
    $("undo").disabled = false;
  };
  let timer = 0;
  function tell() {
    const i = state.picked;
    const told = i < 0 ? "No row is picked." : `${data.called} ${map.numbers[i]} is picked: ${said(i)}`;
    if ($("picked").textContent !== told) $("picked").textContent = told;
  }
  function moved(z, picked = -1) {
    state.z = Float32Array.from(z);
    state.picked = picked;
    tell();
    sliders.forEach((slider) => slider());
    paintMap();
    refresh();
    clearTimeout(timer);
    timer = setTimeout(keep, 150);
  }
  function pick(i) { // with the row's own condition: what is shown is its reconstruction
    state.given = own(i);
    settings();
    moved(codes.slice(i * size, (i + 1) * size), i);
  }
  function said(i) {
    return map.colourings.slice(0, 6).map((part) => {
      const value = part.values[i];
      const text = value === null ? "missing" : part.levels.length ? part.levels[Math.round(value)] : colourInWords(part, value);
      return `${part.name} ${text}`;
    }).join(", ");
  }

  const sliders = [];
  const dimension = (entry) => {
    const box = document.createElement("label"), name = document.createElement("span");
    const told = document.createElement("span"), value = document.createElement("output");
    const input = document.createElement("input");
    box.className = "dimension";
    name.textContent = `z${[...String(entry.u + 1)].map((digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]).join("")}`;
    told.className = "told";
    told.textContent = Number.isFinite(entry.kl) && entry.kl !== null ? `${entry.kl.toFixed(2)} nats` : "";
    name.append(told);
    Object.assign(input, { type: "range", min: entry.low, max: entry.high, step: (entry.high - entry.low) / 400 });
    input.dataset.dimension = entry.u;
    box.append(name, value, input);
    let held = false;
    input.addEventListener("input", () => {
      if (!held) { remember(); held = true; }
      const z = state.z.slice();
      z[entry.u] = Number(input.value);
      moved(z);
    });
    input.addEventListener("change", () => { held = false; });
    sliders.push(() => {
      value.textContent = state.z[entry.u].toFixed(2);
      if (Number(input.value) !== state.z[entry.u]) input.value = state.z[entry.u];
    });
    return box;
  };
  const few = 12;
  $("sliders").append(...data.dimensions.slice(0, few).map(dimension));
  if (data.dimensions.length > few) {
    $("more").hidden = false;
    $("more").querySelector("summary").textContent = `${data.dimensions.length - few} more dimensions`;
    $("others").append(...data.dimensions.slice(few).map(dimension));
  }

  let dragging = false;
  const at = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left - canvas.clientLeft, event.clientY - frame.top - canvas.clientTop];
  };
  canvas.addEventListener("pointerdown", (event) => {
    dragging = true;
    canvas.setPointerCapture(event.pointerId);
    remember();
    const [px, py] = at(event), hit = nearest(px, py, 8);
    if (hit >= 0) pick(hit);
    else moved(moveTo(toPlane(px, py)));
  });
  canvas.addEventListener("pointermove", (event) => { if (dragging) moved(moveTo(toPlane(...at(event)))); });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { dragging = false; });
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  canvas.addEventListener("keydown", (event) => {
    const step = arrows[event.key];
    if (!step) return;
    event.preventDefault();
    if (!event.repeat) remember();
    const [u, v] = place(state.z);
    moved(moveTo([u + step[0] * (box.right - box.left) / 60, v + step[1] * (box.top - box.bottom) / 60]));
  });

  // -- buttons

  function undo() {
    const before = past.pop();
    if (!before) return;
    $("undo").disabled = past.length === 0;
    Object.assign(state, { noise: before.noise, seed: before.seed, given: before.given });
    settings();
    moved(before.z, before.picked);
  }
  function settings() {
    $("noise").setAttribute("aria-pressed", String(state.noise));
    $("again").disabled = !state.noise;
    if ($("condition")) $("condition").selectedIndex = state.given;
  }
  $("noise").addEventListener("click", () => { remember(); state.noise = !state.noise; settings(); keep(); refresh(); });
  $("again").addEventListener("click", () => { remember(); state.seed += 1; keep(); refresh(); });
  $("undo").addEventListener("click", undo);
  $("reset").addEventListener("click", () => { remember(); state.noise = false; state.a = state.b = null; ends(); pick(0); });
  let draw = Math.floor(Math.random() * (draws.length / size));
  $("prior").addEventListener("click", () => {
    remember();
    draw = (draw + 1) % (draws.length / size);
    moved(draws.slice(draw * size, (draw + 1) * size));
  });
  if ($("condition")) $("condition").addEventListener("change", () => {
    remember(); state.given = $("condition").selectedIndex; keep(); refresh();
  });
  $("copy").addEventListener("click", async () => {
    const text = JSON.stringify([...state.z].map((v) => Number(v.toPrecision(7))));
    try {
      await navigator.clipboard.writeText(text);
      $("status").textContent = "z is on the clipboard.";
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      $("copy").focus();
      $("status").textContent = done ? "z is on the clipboard." : `z = ${text}`;
    }
  });
  $("colour").addEventListener("change", paintPoints);
  const named = (end) => (end.picked >= 0 ? `${data.called.toLowerCase()} ${map.numbers[end.picked]}` : "a place");
  function ends() {
    $("between").disabled = !(state.a && state.b);
    if (state.a && state.b) $("ends").textContent = `A is ${named(state.a)}, B is ${named(state.b)}. The slider goes straight from one to the other.`;
    else if (state.a || state.b) $("ends").textContent = `${state.a ? "A" : "B"} is ${named(state.a || state.b)}. Pick another row or place for ${state.a ? "B" : "A"}.`;
    else $("ends").textContent = "Pick a row or a place, and press “A is here”; then another one for B.";
    paintMap();
  }
  for (const [id, end, value] of [["set-a", "a", 0], ["set-b", "b", 1]]) {
    $(id).addEventListener("click", () => {
      state[end] = Object.assign(state.z.slice(), { picked: state.picked });
      $("between").value = value;
      ends();
    });
  }
  let sliding = false;
  $("between").addEventListener("input", () => {
    if (!sliding) { remember(); sliding = true; }
    const t = Number($("between").value);
    moved(state.a.map((value, k) => (1 - t) * value + t * state.b[k]));
  });
  $("between").addEventListener("change", () => { sliding = false; });
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); undo(); }
  });

  // -- the address keeps the state

  function keep() {
    const z = [...state.z].map((v) => Number(v.toPrecision(6))).join(",");
    const parts = new URLSearchParams({ z });
    if (state.noise) { parts.set("noise", "1"); parts.set("seed", String(state.seed)); }
    if (state.given) parts.set("given", String(state.given));
    try { history.replaceState(null, "", `#${parts}`); } catch { /* some browsers keep nothing for a file */ }
  }
  function restore() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const z = (parts.get("z") || "").split(",").map(Number);
    if (z.length !== size || !z.every(Number.isFinite) || !parts.has("z")) return false;
    state.noise = parts.get("noise") === "1" && data.noise > 0;
    state.seed = Math.abs(parseInt(parts.get("seed"), 10)) || 1;
    const given = parseInt(parts.get("given"), 10) || 0;
    state.given = data.conditions && data.conditions[given] ? given : 0;
    state.z = Float32Array.from(z);
    state.picked = -1;
    return true;
  }
  addEventListener("hashchange", () => { if (restore()) { settings(); moved(state.z); } });

  // -- light and dark

  const root = document.documentElement, wishes = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : wishes.matches);
  const themed = () => { $("theme").textContent = isDark() ? "Light" : "Dark"; paintPoints(); };
  try {
    const kept = localStorage.getItem("nelbo-theme");
    if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  } catch { /* a browser may keep nothing for a file */ }
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    themed();
    try { localStorage.setItem("nelbo-theme", root.dataset.theme); } catch { /* likewise */ }
  });
  wishes.addEventListener("change", themed);
  new ResizeObserver(paintPoints).observe(canvas);

  restore();
  settings();
  tell();
  themed();
  sliders.forEach((slider) => slider());
  const ready = start().then(refresh).then(() => {
    $("status").textContent = "Ready.";
    document.body.dataset.ready = "true";
  }).catch((error) => { $("status").textContent = `The decoder could not be started: ${error.message}`; });
  // for those who want to look at it from the console
  globalThis.nelbo = { ready, state, decode, last: () => last, drawn: () => drawn };
})();
