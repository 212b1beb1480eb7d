// The component: toolbar, pointer and keyboard, hover card, legend. Texts from data only ever become textContent.

const NEAR = 8;                                            // pixels within which a click or hover finds a point
const SLIP = 4;                                            // pixels a press may move and still be a click
const THUMB = 80;
const REST = 40;                                           // ms on a point before its tile is asked for
const AHEAD = 48, AHEAD_BYTES = 2 ** 17;                   // tiles around it that come along, and how large they may be together

const ICONS = {
  lasso: "M8 2.6c3.3 0 5.9 1.7 5.9 3.9S11.300 10.400 8 10.400 2.100 8.700 2.100 6.500 4.700 2.600 8 2.600ZM4.700 9.700c-1 .6-1 2 .2 2.200 1.300.2 1.200 1.500.2 1.900",
  box: "M2.500 5V3.500a1 1 0 0 1 1-1H5M7 2.500h2M11 2.500h1.500a1 1 0 0 1 1 1V5M13.500 7v2M13.500 11v1.500a1 1 0 0 1-1 1H11M9 13.500H7M5 13.500H3.500a1 1 0 0 1-1-1V11M2.500 9V7",
  pan: "M8 1.800v12.400M1.800 8h12.400M6.200 3.600 8 1.800l1.800 1.800M6.200 12.400 8 14.200l1.800-1.800M3.600 6.200 1.800 8l1.800 1.800M12.400 6.200 14.200 8l-1.800 1.800",
  subtract: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM5.300 8h5.400",
  undo: "M5.600 3 2.600 6l3 3M2.900 6h6.600a3.900 3.900 0 0 1 0 7.800H6.800",
  clear: "m4 4 8 8M12 4l-8 8",
  in: "M8 3v10M3 8h10",
  out: "M3 8h10",
  reset: "M2.500 6V3.500a1 1 0 0 1 1-1H6M10 2.500h2.500a1 1 0 0 1 1 1V6M13.500 10v2.500a1 1 0 0 1-1 1H10M6 13.500H3.500a1 1 0 0 1-1-1V10",
};
const TOOLS = [["lasso", "Lasso", "L"], ["box", "Box", "B"], ["pan", "Pan", "P"]];
const HELP = "L lasso, B box, P pan, S subtract, U undo, plus and minus zoom, 0 shows all, arrows move the map, "
  + "Enter adds or removes the point nearest the middle, Escape cancels a drag.";

const SVG = "http://www.w3.org/2000/svg";

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function glyph(path, box, className) {
  const svg = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", box);
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", className);
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function button(icon, label, hint, act) {
  const b = make("button", "tool");
  b.type = "button";
  b.title = hint;
  b.setAttribute("aria-label", label);
  b.append(glyph(ICONS[icon], "0 0 16 16", "icon"));
  b.addEventListener("click", act);
  return b;
}

const brief = (v) => String(Number(v.toPrecision(3)));

class Picker {
  constructor(root, key) {
    this.key = key;
    this.desk = desk(key);
    this.tool = "lasso";
    this.subtract = false;
    this.drag = null;
    this.space = false;
    this.hovered = -1;
    this.build(root);
    this.plot = new Plot(this.map);
    this.listen();
  }

  build(root) {
    const wrap = make("div", "picker"), bar = make("div", "bar");
    bar.setAttribute("role", "toolbar");
    bar.setAttribute("aria-label", "Selection tools");
    const tools = make("div", "group");
    this.toolButtons = TOOLS.map(([name, label, letter]) => {
      const b = button(name, label, `${label} (${letter})`, () => this.use(name));
      b.append(make("span", "word", label));
      tools.append(b);
      return [name, b];
    });
    this.subtractButton = button("subtract", "Subtract", "Lasso and box remove points (S, or hold Alt)", () => this.flip());
    this.subtractButton.append(make("span", "word", "Subtract"));
    const minus = make("div", "group");
    minus.append(this.subtractButton);
    const history = make("div", "group");
    this.clearButton = button("clear", "Clear selection", "Clear", () => this.act("clear", "button"));
    this.clearButton.append(make("span", "word", "Clear"));
    const undo = button("undo", "Undo", "Undo (U)", () => this.act("undo", "button"));
    undo.append(make("span", "word", "Undo"));
    history.append(undo, this.clearButton);
    this.count = make("div", "count");
    this.count.setAttribute("role", "status");
    this.count.setAttribute("aria-live", "polite");
    bar.append(tools, minus, history, this.count);

    const stage = make("div", "stage");
    this.map = make("canvas", "layer");
    this.over = make("canvas", "layer");
    this.map.setAttribute("aria-hidden", "true");
    this.over.setAttribute("aria-hidden", "true");
    this.card = make("div", "card");
    this.card.hidden = true;
    this.thumb = make("canvas", "thumb");
    this.rowsText = make("div", "rows");
    this.caption = make("div", "caption");
    this.card.append(this.thumb, this.rowsText, this.caption);
    this.cross = make("div", "cross");
    this.field = make("div", "field");
    this.field.tabIndex = 0;
    this.field.setAttribute("role", "application");
    this.field.setAttribute("aria-roledescription", "scatter plot");
    this.help = make("div", "hidden", HELP);
    this.help.id = "picker-help";
    this.field.setAttribute("aria-describedby", this.help.id);
    this.field.append(this.map, this.over, this.cross);
    const zoom = make("div", "group zoom");
    zoom.append(
      button("in", "Zoom in", "Zoom in (+)", () => this.zoom(1.6)),
      button("out", "Zoom out", "Zoom out (−)", () => this.zoom(1 / 1.6)),
      button("reset", "Reset zoom", "Show all (0)", () => this.reset()),
    );
    stage.append(this.field, zoom, this.card);
    this.stage = stage;
    this.legend = make("div", "legend");
    wrap.append(bar, stage, this.legend, this.help);
    wrap.picker = { pixel: (id) => this.pixel(id), row: (id) => this.plot.row.get(id), state: () => this.inspect() };
    this.wrap = wrap;
    root.append(wrap);
  }

  // ---- what arrives from Python

  points(bytes, header) {
    const arrays = readArrays(bytes, header);
    this.digest = header.digest;
    this.texts = {};
    this.arrays = arrays;
    const same = this.plot.points(header, arrays);
    if (!same) this.recall();
    this.plot.choose(this.desk.chosen);
    this.drawLegend();
    this.leave();
    this.pictures();
    this.tally();
    this.paint();
  }

  pictures() {
    const part = this.desk.parts.pictures;
    if (!part || part.digest === this.sheetDigest) return;
    this.sheetDigest = part.digest;
    this.sheet = null;
    const blob = part.blob ? Promise.resolve(part.blob) : part.url ? fetch(part.url).then((r) => r.blob()) : null;
    blob?.then(createImageBitmap).then((sheet) => {
      if (this.sheetDigest !== part.digest) return sheet.close();
      this.sheet = sheet;
      this.wrap.dataset.pictures = "ready";
    }).catch(() => {});                                     // a broken picture leaves the caption
  }

  /** Tiles came: show the one that is waited for. */
  looked() {
    this.wrap.dataset.pictures = "asked";
    if (this.hovered >= 0 && this.thumb.dataset.tile === "") this.fill(this.hovered);
  }

  state() {
    const { height, alt } = this.desk.parts.state;
    this.stage.style.height = `${height}px`;
    this.field.setAttribute("aria-label", alt);
    this.chosenChanged();
  }

  theme() {
    const style = getComputedStyle(this.wrap), read = (name, other) => style.getPropertyValue(name).trim() || other;
    const ink = {
      text: read("--st-text-color", "#31333f"),
      back: read("--st-background-color", "#ffffff"),
      grey: read("--st-gray-color", "#8a8d98"),
    };
    this.accent = read("--st-primary-color", "#4269d0");
    if (JSON.stringify(ink) === JSON.stringify(this.plot.ink)) return;
    this.plot.ink = ink;
    this.plot.stale();
    this.paint();
  }

  // ---- the chosen set

  act(op, how, rows = []) {
    const ids = [], { ids: all } = this.arrays ?? {}, chosen = this.desk.chosen;
    for (const i of rows) if (chosen.has(all[i]) === (op === "remove")) ids.push(all[i]);
    if ((op === "add" || op === "remove") && !ids.length) return;
    if (op === "clear" && !chosen.size) return;
    this.desk.push(op, how, ids);
    this.chosenChanged();
  }

  toggle(i, how) {
    if (i >= 0) this.act(this.plot.mark[i] ? "remove" : "add", how, [i]);
  }

  chosenChanged() {
    this.plot.choose(this.desk.chosen);
    this.tally();
    this.paint();
  }

  tally() {
    const all = this.desk.chosen.size, hidden = all - (this.plot.shown ?? 0);
    const say = (n) => n.toLocaleString("en");
    const text = `${say(all)} selected` + (hidden > 0 && this.plot.n ? ` · ${say(hidden)} not on this map` : "");
    if (this.count.textContent !== text) this.count.textContent = text;
    this.count.classList.toggle("some", all > 0);
    this.clearButton.disabled = all === 0;
  }

  // ---- tools and view

  use(name) {
    this.cancel();
    this.tool = name;
    for (const [other, b] of this.toolButtons) b.setAttribute("aria-pressed", String(other === name));
    this.cursor();
    this.remember();
  }

  flip(on = !this.subtract) {
    this.subtract = on;
    this.subtractButton.setAttribute("aria-pressed", String(on));
    this.cursor();
  }

  cursor() {
    const panning = this.drag?.kind === "pan";
    this.field.style.cursor = panning ? "grabbing" : this.space || this.tool === "pan" ? "grab" : this.hovered >= 0 ? "pointer" : "crosshair";
  }

  zoom(factor, x, y) {
    this.plot.zoom(factor, x, y);
    this.moved();
  }

  reset() {
    this.plot.fit();
    this.moved();
  }

  moved() {
    this.leave();
    this.paint(true);
    clearTimeout(this.settle);
    this.settle = setTimeout(() => { this.paint(); this.remember(); }, 110);
  }

  /** Zoom and tool live in the tab's storage: they survive reruns, recolouring, page changes and a reload. */
  remember() {
    const { view, layout } = this.plot;
    if (!layout) return;
    try {
      sessionStorage.setItem(`picker:${this.key}`, JSON.stringify({ view, layout, tool: this.tool }));
    } catch { /* storage may be full or forbidden: the view is then forgotten, nothing else */ }
  }

  recall() {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(`picker:${this.key}`));
    } catch { /* as above */ }
    if (kept?.layout === this.plot.layout && Object.values(kept.view).every(Number.isFinite)) this.plot.view = kept.view;
    if (kept && TOOLS.some(([name]) => name === kept.tool)) this.use(kept.tool);
  }

  // ---- pointer

  listen() {
    const { field } = this;
    const place = (e) => {
      const box = field.getBoundingClientRect();
      return [e.clientX - box.left, e.clientY - box.top];
    };
    field.addEventListener("pointerdown", (e) => {
      if (this.drag || (e.button !== 0 && e.button !== 1)) return;
      e.preventDefault();
      field.focus({ preventScroll: true });
      field.classList.remove("keys");
      field.classList.add("pointed");
      field.setPointerCapture(e.pointerId);
      const at = place(e);
      const kind = e.button === 1 || this.space || this.tool === "pan" ? "pan" : this.tool;
      this.drag = { kind, at, last: at, path: [at], far: 0, click: e.button === 0 && !this.space, reach: e.pointerType === "touch" ? 16 : NEAR };
      this.cursor();
    });
    field.addEventListener("pointermove", (e) => {
      const at = place(e);
      this.here = at;
      if (!this.drag) return this.hover(at);
      this.dragTo(at, e.altKey);
    });
    field.addEventListener("pointerup", (e) => this.drop(place(e), e.altKey));
    field.addEventListener("pointercancel", () => this.cancel());
    field.addEventListener("pointerleave", () => { this.here = null; this.leave(); });
    field.addEventListener("contextmenu", (e) => this.drag && e.preventDefault());
    field.addEventListener("wheel", (e) => {
      e.preventDefault();
      const step = e.deltaMode ? 30 : 1;
      this.zoom(Math.exp(-clamp(e.deltaY * step, -240, 240) * (e.ctrlKey ? 0.01 : 0.0022)), ...place(e));
    }, { passive: false });
    field.addEventListener("keydown", (e) => this.press(e));
    field.addEventListener("keyup", (e) => {
      if (e.key === " ") { this.space = false; this.cursor(); }
      if (e.key === "Alt") e.preventDefault();
    });
    field.addEventListener("blur", () => { this.space = false; field.classList.remove("keys", "pointed"); });
    this.sizes = new ResizeObserver(() => this.fitBox());
    this.sizes.observe(field);
    this.watchDensity();
  }

  dragTo(at, alt) {
    const d = this.drag, [x, y] = at;
    d.far = Math.max(d.far, Math.hypot(x - d.at[0], y - d.at[1]));
    if (d.far < SLIP) return;
    this.leave();
    d.minus = alt || this.subtract;
    if (d.kind === "pan") {
      this.plot.pan(x - d.last[0], y - d.last[1]);
      this.moved();
    } else {
      const tail = d.path.at(-1);
      if (Math.hypot(x - tail[0], y - tail[1]) > 2.5) d.path.push(at);
      this.sketch();
    }
    d.last = at;
  }

  drop(at, alt) {
    const d = this.drag;
    if (!d) return;
    this.drag = null;
    this.sketch();
    this.cursor();
    if (d.far < SLIP) {
      if (d.click) this.toggle(this.plot.nearest(...d.at, d.reach), "click");
      this.hover(at);
      return;
    }
    if (d.kind === "pan" || !this.arrays) return;
    const [[left, top], [right, bottom]] = [d.at, at];
    const shape = d.kind === "box" ? [[left, top], [right, top], [right, bottom], [left, bottom]] : [...d.path, at];
    this.act(alt || this.subtract ? "remove" : "add", d.kind, this.plot.within(shape));
  }

  cancel() {
    if (!this.drag) return;
    this.drag = null;
    this.sketch();
    this.cursor();
  }

  press(e) {
    const step = 60, moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const letter = e.key.length === 1 ? e.key.toLowerCase() : e.key;
    if (e.ctrlKey || e.metaKey) return;
    const acts = {
      l: () => this.use("lasso"), b: () => this.use("box"), p: () => this.use("pan"), s: () => this.flip(),
      u: () => this.act("undo", "keyboard"), "+": () => this.zoom(1.4), "=": () => this.zoom(1.4),
      "-": () => this.zoom(1 / 1.4), 0: () => this.reset(), Escape: () => { this.cancel(); this.leave(); },
      Enter: () => this.toggle(this.plot.nearest(this.plot.width / 2, this.plot.height / 2, 40), "keyboard"),
      " ": () => { this.space = true; this.cursor(); },
      Alt: () => {},
    };
    if (moves[e.key]) acts[letter] = () => { this.plot.pan(...moves[e.key]); this.moved(); };
    if (!acts[letter]) return;
    e.preventDefault();
    e.stopPropagation();
    if (e.key !== "Alt" && e.key !== " ") this.field.classList.remove("pointed");
    if (moves[e.key] || letter === "Enter") this.field.classList.add("keys");
    acts[letter]();
  }

  // ---- hover

  hover(at) {
    cancelAnimationFrame(this.frameHover);
    this.frameHover = requestAnimationFrame(() => {
      if (this.drag || !this.here) return;
      const i = this.plot.nearest(...at, NEAR);
      if (i !== this.hovered) {
        this.hovered = i;
        this.cursor();
        this.sketch();
        if (i >= 0) this.fill(i);
      }
      this.card.hidden = i < 0;
      if (i >= 0) this.place(at);
    });
  }

  leave() {
    cancelAnimationFrame(this.frameHover);
    if (this.hovered < 0) return;
    this.hovered = -1;
    this.card.hidden = true;
    this.cursor();
    this.sketch();
  }

  /** Texts are decoded on the first hover, not when points arrive. */
  text(kind, i) {
    if (!this.arrays[kind]) return "";
    this.texts[kind] ??= JSON.parse(new TextDecoder().decode(this.arrays[kind]));
    return this.texts[kind][i] ?? "";
  }

  fill(i) {
    const { tile: [tw, th], columns, asks } = this.plot.header, id = this.arrays.ids[i];
    this.thumb.hidden = !this.sheet && !asks;
    if (!this.thumb.hidden) {
      const big = Math.max(tw, th), scale = big > 96 ? 96 / big : Math.max(1, Math.floor(THUMB / big));
      Object.assign(this.thumb, { width: tw, height: th });   // empty, and as large as what comes: the card does not jump
      Object.assign(this.thumb.style, { width: `${tw * scale}px`, height: `${th * scale}px` });
    }
    if (asks) this.tile(i, tw, th);
    else if (this.sheet) {
      const column = i % columns, row = Math.floor(i / columns);
      this.thumb.getContext("2d").drawImage(this.sheet, column * tw, row * th, tw, th, 0, 0, tw, th);
      this.thumb.dataset.tile = `${column},${row}`;
    }
    const rows = this.text("rows", i), caption = this.text("captions", i);
    this.rowsText.textContent = rows;
    this.rowsText.hidden = !rows;
    this.caption.textContent = caption || (rows ? "" : `id ${id}`);
    this.caption.hidden = !this.caption.textContent;
    this.card.dataset.id = id;
  }

  /** Draw a tile that is here; one that is not is asked for together with those around it, once the pointer rests. */
  tile(i, tw, th) {
    const { tiles } = this.desk, found = tiles.find(i);
    this.thumb.dataset.tile = found ? i : "";
    clearTimeout(this.resting);
    if (!found) {
      this.resting = setTimeout(() => {
        const channels = this.plot.header.asks, many = clamp(Math.floor(AHEAD_BYTES / (tw * th * channels)), 1, AHEAD);
        tiles.want(this.plot.around(i, many).filter((j) => j === i || !tiles.kept.has(j)));
      }, REST);
      return;
    }
    const image = new ImageData(tw, th), { data } = image, channels = found.length / (tw * th);
    for (let p = 0; p < tw * th; p++) {
      for (let c = 0; c < 3; c++) data[4 * p + c] = found[channels * p + (channels > 2 ? c : 0)];
      data[4 * p + 3] = 255;
    }
    this.thumb.getContext("2d").putImageData(image, 0, 0);
  }

  place([x, y]) {
    this.card.style.transform = "none";
    const { offsetWidth: w, offsetHeight: h } = this.card, gap = 14;
    const left = x + gap + w > this.plot.width ? x - gap - w : x + gap;
    const top = y + gap + h > this.plot.height ? y - gap - h : y + gap;
    const fit = (v, size, room) => clamp(v, 4, Math.max(4, room - size - 4));
    this.card.style.transform = `translate(${fit(left, w, this.plot.width)}px, ${fit(top, h, this.plot.height)}px)`;
  }

  // ---- drawing

  paint(moving = false) {
    this.moving = moving;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.plot.draw(this.moving);
      this.sketch();
    });
  }

  /** The light layer above the points: the drag in progress and the ring of the hovered point. */
  sketch() {
    const pen = this.over.getContext("2d"), d = this.drag, { dpr, width, height, ink } = this.plot;
    pen.setTransform(dpr, 0, 0, dpr, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (this.hovered >= 0) {
      const [x, y] = this.plot.at(this.hovered), r = this.plot.radius * 1.3 + 3.5;
      for (const [colour, line] of [[ink.back, 4], [this.accent, 2]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = line;
        pen.beginPath();
        pen.arc(x, y, r, 0, 7);
        pen.stroke();
      }
    }
    if (!d || d.kind === "pan" || d.far < SLIP) return;
    const colour = d.minus ? ink.text : this.accent;
    pen.beginPath();
    if (d.kind === "box") pen.rect(d.at[0], d.at[1], d.last[0] - d.at[0], d.last[1] - d.at[1]);
    else for (const [x, y] of [...d.path, d.last]) pen.lineTo(x, y);
    pen.globalAlpha = 0.1;
    pen.fillStyle = colour;
    pen.fill("evenodd");
    pen.globalAlpha = 1;
    pen.lineJoin = "round";
    pen.setLineDash(d.minus ? [5, 4] : []);
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    pen.stroke();
    if (d.kind === "lasso") {                              // how the loop will close
      pen.setLineDash([2, 4]);
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(...d.last);
      pen.lineTo(...d.at);
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  fitBox() {
    const { clientWidth: w, clientHeight: h } = this.field;
    if (!w || !h) return;
    const dpr = Math.min(3, globalThis.devicePixelRatio || 1);
    this.plot.resize(w, h, dpr);
    this.over.width = Math.round(w * dpr);
    this.over.height = Math.round(h * dpr);
    this.plot.draw();
    this.sketch();
  }

  watchDensity() {
    this.density?.removeEventListener("change", this.onDensity);
    this.onDensity = () => { this.watchDensity(); this.fitBox(); };
    this.density = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    this.density.addEventListener("change", this.onDensity);
  }

  drawLegend() {
    const { header, arrays, looks } = this.plot;
    this.legend.replaceChildren();
    this.legend.append(make("span", "title", header.title));
    if (!arrays.category) {
      const [low, high] = header.limits, scale = make("span", "scale"), bar = make("span", "ramp");
      bar.style.background = `linear-gradient(to right, ${header.colours.join(",")})`;
      scale.append(make("span", "", brief(low)), bar, make("span", "", brief(high)));
      this.legend.append(scale);
      if (arrays.value.some(Number.isNaN)) {
        const none = make("span", "entry still");
        none.append(glyph(markPath(0, 4), "-7 -7 14 14", "mark hollow"), make("span", "", "no value"));
        this.legend.append(none);
      }
      return;
    }
    header.names.forEach((name, c) => {
      const entry = make("button", "entry");
      entry.type = "button";
      entry.title = "Show these, dim the others";
      entry.setAttribute("aria-pressed", "false");
      const mark = glyph(markPath(looks[c].shape, 4.2), "-7 -7 14 14", "mark");
      mark.style.fill = looks[c].colour;
      entry.append(mark, make("span", "", name));
      entry.addEventListener("click", () => this.highlight(c));
      this.legend.append(entry);
    });
  }

  highlight(c) {
    const { focus } = this.plot;
    if (!focus.delete(c)) focus.add(c);
    [...this.legend.querySelectorAll(".entry")].forEach((entry, i) => {
      entry.setAttribute("aria-pressed", String(focus.has(i)));
      entry.classList.toggle("dim", focus.size > 0 && !focus.has(i));
    });
    this.plot.stale();
    this.paint();
  }

  // ---- for tests and for pages that point at an instance

  pixel(id) {
    const i = this.plot.row?.get(id);
    if (i === undefined) return null;
    const box = this.field.getBoundingClientRect(), [x, y] = this.plot.at(i);
    return { x: box.left + x, y: box.top + y };
  }

  inspect() {
    const { chosen, pending } = this.desk, { view, cost, n } = this.plot;
    const { kept, got } = this.desk.tiles;
    return {
      selected: [...chosen].sort((a, b) => a - b), pending: pending.length, view: { ...view }, tool: this.tool, cost, n,
      tiles: kept.size, got,
    };
  }

  close() {
    clearTimeout(this.settle);
    clearTimeout(this.resting);
    this.remember();
    cancelAnimationFrame(this.frame);
    cancelAnimationFrame(this.frameHover);
    this.sizes.disconnect();
    this.density.removeEventListener("change", this.onDensity);
    if (this.desk.view === this) this.desk.view = this.desk.send = null;
    this.wrap.remove();
  }
}

const pickers = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  const header = readHeader(data);
  let picker = pickers.get(parentElement);
  if (picker?.key !== header.key) {
    picker?.close();
    picker = new Picker(parentElement, header.key);
    pickers.set(parentElement, picker);
    picker.use("lasso");
    picker.flip(false);
  }
  const { desk } = picker;
  desk.view = picker;
  desk.send = setStateValue;
  if (picker.digest !== header.digest) picker.points(data, header);   // a plain rerun brings the same block again
  picker.theme();
  if (desk.parts.state) picker.state();
  return () => {
    pickers.delete(parentElement);
    picker.close();
  };
}
