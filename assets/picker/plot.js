// The picture: where points lie, which one is under the cursor, which are inside a shape, and how they are drawn.
// All coordinates taken and given here are CSS pixels of the plot; only drawing knows about device pixels.

const BINS = 64;                                           // colour steps of a continuous scale
const PAD = 22;
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

/** SVG path of a mark of roughly equal area around the origin; `r` is the radius of the circle. */
function markPath(shape, r) {
  const poly = (points) => "M" + points.map(([x, y]) => `${(x * r).toFixed(2)} ${(y * r).toFixed(2)}`).join("L") + "Z";
  const turn = ([x, y]) => [(x - y) * Math.SQRT1_2, (x + y) * Math.SQRT1_2];
  const a = 0.36, b = 1.16;
  const plus = [[-a, -b], [a, -b], [a, -a], [b, -a], [b, a], [a, a], [a, b], [-a, b], [-a, a], [-b, a], [-b, -a], [-a, -a]];
  switch (shape) {
    case 1: return poly([[-0.89, -0.89], [0.89, -0.89], [0.89, 0.89], [-0.89, 0.89]]);
    case 2: return poly([[0, -1.3], [1.2, 0.82], [-1.2, 0.82]]);
    case 3: return poly([[0, -1.28], [1.28, 0], [0, 1.28], [-1.28, 0]]);
    case 4: return poly(plus.map(turn));
    case 5: return poly(plus);
    case 6: return poly([[0, 1.3], [1.2, -0.82], [-1.2, -0.82]]);
    case 7: return poly(Array.from({ length: 10 }, (_, i) => {
      const far = i % 2 ? 0.62 : 1.42, at = (i * Math.PI) / 5 - Math.PI / 2;
      return [far * Math.cos(at), far * Math.sin(at)];
    }));
    default: return `M${-r} 0A${r} ${r} 0 1 0 ${r} 0A${r} ${r} 0 1 0 ${-r} 0Z`;
  }
}

/** `BINS` colours along the stops of a scale, as CSS colours. */
function ramp(stops) {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  pen.canvas.width = BINS;
  pen.canvas.height = 1;
  const fill = pen.createLinearGradient(0.5, 0, BINS - 0.5, 0);
  stops.forEach((stop, i) => fill.addColorStop(stops.length > 1 ? i / (stops.length - 1) : 0, stop));
  pen.fillStyle = fill;
  pen.fillRect(0, 0, BINS, 1);
  const data = pen.getImageData(0, 0, BINS, 1).data;
  return Array.from({ length: BINS }, (_, i) => `rgb(${data[4 * i]},${data[4 * i + 1]},${data[4 * i + 2]})`);
}

class Plot {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.shot = document.createElement("canvas");          // the finished picture of the view named in `drawn`
    this.view = { k: 1, cx: 0, cy: 0 };                    // zoom over the fit, and the data point in the middle
    this.width = this.height = 0;
    this.dpr = 1;
    this.n = 0;
    this.cost = 0;
    this.focus = new Set();
    this.ink = { text: "#222", back: "#fff", grey: "#999" };
  }

  /** Take new points; the view stays when the layout (ids and places) is the same. Returns whether it is. */
  points(header, arrays) {
    const { ids, x, y } = arrays;
    this.header = header;
    this.arrays = arrays;
    this.n = ids.length;
    let left = Infinity, right = -Infinity, low = Infinity, high = -Infinity, sum = this.n;
    for (let i = 0; i < this.n; i++) {
      if (x[i] < left) left = x[i];
      if (x[i] > right) right = x[i];
      if (y[i] < low) low = y[i];
      if (y[i] > high) high = y[i];
      sum = (Math.imul(sum, 31) + ids[i]) | 0;
    }
    if (!this.n) left = right = low = high = 0;
    this.middle = [(left + right) / 2, (low + high) / 2];
    this.extent = [right - left || 1, high - low || 1];
    const layout = [this.n, sum, left, right, low, high].join();
    const same = layout === this.layout;
    this.layout = layout;
    if (!same) {
      this.row = new Map();
      for (let i = 0; i < this.n; i++) this.row.set(ids[i], i);
      this.mark = new Uint8Array(this.n);
      this.shuffle();
      this.index(left, low);
      this.fit();
    }
    this.style();
    return same;
  }

  /** A fixed random drawing order: no category systematically covers another. */
  shuffle() {
    const order = Uint32Array.from({ length: this.n }, (_, i) => i);
    let seed = 12345;
    for (let i = this.n - 1; i > 0; i--) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const j = Math.floor((seed / 4294967296) * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    this.order = order;
  }

  /** A uniform grid over the data for hit tests: rows of cell c are members[start[c] .. start[c + 1]]. */
  index(left, low) {
    const side = clamp(Math.round(Math.sqrt(this.n / 3)), 1, 256), { x, y } = this.arrays;
    const cell = Math.max(...this.extent) / side || 1;
    const start = new Uint32Array(side * side + 1), at = new Uint32Array(this.n);
    for (let i = 0; i < this.n; i++) {
      const c = Math.min(side - 1, Math.floor((x[i] - left) / cell));
      const r = Math.min(side - 1, Math.floor((y[i] - low) / cell));
      start[(at[i] = r * side + c) + 1]++;
    }
    for (let c = 0; c < side * side; c++) start[c + 1] += start[c];
    const next = start.slice(), members = new Uint32Array(this.n);
    for (let i = 0; i < this.n; i++) members[next[at[i]]++] = i;
    this.grid = { side, cell, start, members, left, low };
  }

  /** How each row looks: `stamp` is its index into `looks`. */
  style() {
    const { header, arrays, n } = this;
    if (arrays.category) {
      this.stamp = arrays.category;
      this.looks = header.colours.map((colour, c) => ({ colour, shape: header.shapes[c] }));
    } else {
      const [low, high] = header.limits, scale = high > low ? (BINS - 1) / (high - low) : 0;
      this.looks = ramp(header.colours).map((colour) => ({ colour, shape: 0 }));
      this.looks.push({ colour: null, shape: 0 });
      this.stamp = new Int16Array(n);
      for (let i = 0; i < n; i++) {
        const v = arrays.value[i];
        this.stamp[i] = Number.isNaN(v) ? BINS : clamp(Math.round((v - low) * scale), 0, BINS - 1);
      }
    }
    this.focus = new Set();
    this.stale();
  }

  stale() {
    this.drawn = this.sheet = this.marked = null;
  }

  resize(width, height, dpr) {
    if (width === this.width && height === this.height && dpr === this.dpr) return;
    Object.assign(this, { width, height, dpr });
    for (const layer of [this.canvas, this.shot]) {
      layer.width = Math.round(width * dpr);
      layer.height = Math.round(height * dpr);
    }
    this.stale();
  }

  fit() {
    this.view = { k: 1, cx: this.middle[0], cy: this.middle[1] };
  }

  /** CSS pixels for one data unit (the same in x and y: distances are not distorted). */
  get unit() {
    const [w, h] = this.extent;
    return Math.max(1e-9, Math.min((this.width - 2 * PAD) / w, (this.height - 2 * PAD) / h)) * this.view.k;
  }

  toScreen(x, y) {
    return [this.width / 2 + (x - this.view.cx) * this.unit, this.height / 2 - (y - this.view.cy) * this.unit];
  }

  toData(px, py) {
    return [this.view.cx + (px - this.width / 2) / this.unit, this.view.cy - (py - this.height / 2) / this.unit];
  }

  at(i) {
    return this.toScreen(this.arrays.x[i], this.arrays.y[i]);
  }

  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toData(px, py);
    this.view.k = clamp(this.view.k * factor, 0.4, 500);
    const [nx, ny] = this.toData(px, py);
    this.view.cx += x - nx;
    this.view.cy += y - ny;
    this.hold();
  }

  pan(dx, dy) {
    this.view.cx -= dx / this.unit;
    this.view.cy += dy / this.unit;
    this.hold();
  }

  /** Never lose the cloud: its box and the window keep overlapping. */
  hold() {
    const [mx, my] = this.middle, [w, h] = this.extent;
    const reach = (size, span) => span / 2 + Math.max(0, size / 2 - 40) / this.unit;
    this.view.cx = clamp(this.view.cx, mx - reach(this.width, w), mx + reach(this.width, w));
    this.view.cy = clamp(this.view.cy, my - reach(this.height, h), my + reach(this.height, h));
  }

  /** Radius of a mark: about a quarter of the plot is covered when all is in view; it grows slowly with zoom. */
  get radius() {
    const cover = Math.sqrt((Math.min(this.width, 1.6 * this.height) * this.height * 0.2) / (Math.max(1, this.n) * Math.PI));
    const r = clamp(clamp(cover, 1.9, 4.6) * Math.max(1, this.view.k) ** 0.32, 1.9, 8);
    return Math.round(4 * r) / 4;                          // in steps: new stamps are not needed for every wheel tick
  }

  get crowded() {
    return this.shown > 80;
  }

  /** Row nearest to a place within `reach` pixels, or -1. */
  nearest(px, py, reach) {
    if (!this.n) return -1;
    const { side, cell, start, members, left, low } = this.grid, { x, y } = this.arrays;
    const [dx, dy] = this.toData(px, py), r = reach / this.unit;
    const into = (v) => clamp(Math.floor(v / cell), 0, side - 1);
    let best = -1, least = r * r;
    for (let row = into(dy - r - low); row <= into(dy + r - low); row++) {
      for (let col = into(dx - r - left); col <= into(dx + r - left); col++) {
        for (let m = start[row * side + col]; m < start[row * side + col + 1]; m++) {
          const i = members[m], d = (x[i] - dx) ** 2 + (y[i] - dy) ** 2;
          if (d <= least) { least = d; best = i; }
        }
      }
    }
    return best;
  }

  /** About `many` rows around row i, nearest first, itself among them. */
  around(i, many) {
    const { side, cell, start, members, left, low } = this.grid, { x, y } = this.arrays;
    const into = (v) => clamp(Math.floor(v / cell), 0, side - 1), c = into(x[i] - left), r = into(y[i] - low);
    let found = [];
    for (let reach = 1; found.length < Math.min(many, this.n) && reach < 2 * side; reach *= 2) {
      found = [];
      for (let row = Math.max(0, r - reach); row <= Math.min(side - 1, r + reach); row++) {
        const first = row * side + Math.max(0, c - reach), last = row * side + Math.min(side - 1, c + reach);
        for (let m = start[first]; m < start[last + 1]; m++) found.push(members[m]);
      }
    }
    const away = (j) => (x[j] - x[i]) ** 2 + (y[j] - y[i]) ** 2;
    return found.map((j) => [away(j), j]).sort((a, b) => a[0] - b[0]).slice(0, many).map(([, j]) => j);
  }

  /** Rows inside a closed polygon [[px, py], …] (even-odd rule). */
  within(polygon) {
    const { x, y } = this.arrays, xs = [], ys = [], rows = [];
    for (const [px, py] of polygon) {
      const [dx, dy] = this.toData(px, py);
      xs.push(dx);
      ys.push(dy);
    }
    const left = Math.min(...xs), right = Math.max(...xs), low = Math.min(...ys), high = Math.max(...ys), n = xs.length;
    for (let i = 0; i < this.n; i++) {
      const px = x[i], py = y[i];
      if (px < left || px > right || py < low || py > high) continue;
      let inside = false;
      for (let a = 0, b = n - 1; a < n; b = a++) {
        if ((ys[a] > py) !== (ys[b] > py) && px < ((xs[b] - xs[a]) * (py - ys[a])) / (ys[b] - ys[a]) + xs[a]) inside = !inside;
      }
      if (inside) rows.push(i);
    }
    return rows;
  }

  /** Mark the rows of the chosen ids; returns how many of them are shown here. */
  choose(ids) {
    let shown = 0;
    if (!this.mark) return 0;
    const before = this.mark.slice();
    this.mark.fill(0);
    for (const id of ids) {
      const i = this.row.get(id);
      if (i !== undefined) { this.mark[i] = 1; shown++; }
    }
    this.shown = shown;
    if (before.some((was, i) => was !== this.mark[i])) this.marked = null;
    return shown;
  }

  /**
   * One stamp per state (normal, dimmed, chosen) and look, as lists of its covered pixels. Points are painted from
   * these straight into memory: at tens of thousands of marks that is many times faster than as many canvas calls
   * where there is no graphics card, and as fast where there is one.
   */
  stamps() {
    const { crowded, radius: r, dpr, looks } = this, half = Math.ceil((r * 1.8 + 4) * dpr), size = 2 * half + 1;
    const sheet = document.createElement("canvas");
    sheet.width = size * looks.length;
    sheet.height = size * 3;
    const pen = sheet.getContext("2d", { willReadFrequently: true });
    looks.forEach((look, c) => {
      for (let state = 0; state < 3; state++) {
        pen.setTransform(dpr, 0, 0, dpr, c * size + half + 0.5, state * size + half + 0.5);
        this.inkStamp(pen, look, state, r, crowded);
      }
    });
    const image = pen.getImageData(0, 0, sheet.width, sheet.height), words = new Uint32Array(image.data.buffer);
    const cut = (state, c) => {
      const dx = [], dy = [], word = [], alpha = [];
      for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
          const p = (state * size + y) * sheet.width + c * size + x, a = image.data[4 * p + 3];
          if (a < 4) continue;
          image.data[4 * p + 3] = 255;
          dx.push(x - half);
          dy.push(y - half);
          word.push(words[p]);
          alpha.push(a);
        }
      }
      const jump = Int32Array.from(dx, (x, k) => dy[k] * this.shot.width + x);
      return { dx, dy, jump, word: Uint32Array.from(word), alpha: Uint8Array.from(alpha) };
    };
    this.sheet = { half, r, crowded, states: [0, 1, 2].map((state) => looks.map((_, c) => cut(state, c))) };
  }

  inkStamp(pen, look, state, r, crowded) {
    const fill = (path, hollow) => {
      if (look.colour === null) {
        pen.strokeStyle = this.ink.grey;
        pen.lineWidth = hollow;
        pen.stroke(path);
      } else {
        pen.fillStyle = look.colour;
        pen.fill(path);
      }
    };
    const path = new Path2D(markPath(look.shape, r));
    pen.globalAlpha = state === 1 ? 0.1 : state === 2 ? 1 : r < 2.6 ? 0.8 : 0.92;
    if (state < 2) {
      if (r >= 3 && !state && look.colour) {               // a hairline of background parts neighbours
        pen.strokeStyle = this.ink.back;
        pen.lineWidth = 1.1;
        pen.stroke(path);
      }
      return fill(path, 1);
    }
    // A few chosen points get a ring of their own; many only a firm edge, or rings would hide the marks.
    const big = Math.max(crowded ? 2.2 : 3, r * 1.1);
    const edge = crowded ? [look.shape, big] : [0, big * (look.shape ? 1.28 : 1.08) + 1.7];
    const ring = new Path2D(markPath(...edge));
    pen.lineJoin = "round";
    pen.fillStyle = pen.strokeStyle = this.ink.back;
    pen.lineWidth = crowded ? 3 : 4;
    pen.stroke(ring);
    pen.fill(ring);
    pen.strokeStyle = this.ink.text;
    pen.lineWidth = crowded ? 1.8 : 1.6;
    pen.stroke(ring);
    fill(new Path2D(markPath(look.shape, big)), 1.3);
  }

  /** Paint rows for which `wanted` holds with their stamps of a state into an opaque picture. */
  strew(words, wanted, state) {
    const { half, states } = this.sheet, cut = states[state], bytes = new Uint8Array(words.buffer);
    const { x, y } = this.arrays, { order, stamp, dpr } = this, { width, height } = this.shot;
    const unit = this.unit * dpr;
    const ox = (this.width / 2) * dpr - this.view.cx * unit, oy = (this.height / 2) * dpr + this.view.cy * unit;
    for (let o = 0; o < order.length; o++) {
      const i = order[o];
      if (!wanted(i)) continue;
      const px = Math.round(ox + x[i] * unit - 0.5), py = Math.round(oy - y[i] * unit - 0.5);
      if (px < -half || py < -half || px >= width + half || py >= height + half) continue;
      const { dx, dy, jump, word, alpha } = cut[stamp[i]], here = py * width + px;
      const whole = px >= half && py >= half && px < width - half && py < height - half;
      for (let k = 0; k < jump.length; k++) {
        if (!whole) {
          const ax = px + dx[k], ay = py + dy[k];
          if (ax < 0 || ay < 0 || ax >= width || ay >= height) continue;
        }
        const at = here + jump[k], a = alpha[k];
        if (a > 250) { words[at] = word[k]; continue; }
        const b = 4 * at, c = word[k];                     // the low byte is red, as in image data
        bytes[b] += ((c & 255) - bytes[b]) * a / 255;
        bytes[b + 1] += ((c >> 8 & 255) - bytes[b + 1]) * a / 255;
        bytes[b + 2] += ((c >> 16 & 255) - bytes[b + 2]) * a / 255;
      }
    }
  }

  /** Show the current view. While `moving`, the last picture is shifted and scaled when a fresh one would cost too much. */
  draw(moving = false) {
    if (!this.width || !this.arrays) return;
    const now = performance.now(), key = JSON.stringify(this.view), { pen, canvas } = this;
    const late = moving && this.drawn && this.drawn !== key && this.cost > 24 && now - this.when < 4 * this.cost;
    if (!late) this.refresh(key, now);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (late) {
      const was = this.was, zoom = this.unit / was.unit, d = this.dpr;
      pen.setTransform(zoom, 0, 0, zoom,
        (this.width / 2 + (was.cx - this.view.cx) * this.unit - zoom * this.width / 2) * d,
        (this.height / 2 - (was.cy - this.view.cy) * this.unit - zoom * this.height / 2) * d);
    }
    pen.drawImage(this.shot, 0, 0);
  }

  /** Bring `shot` up to date: every point into `base`, then that (fainter when something is chosen) and the chosen ones. */
  refresh(key, now) {
    const { shot } = this;
    if (this.sheet?.r !== this.radius) this.drawn = null;
    if (!this.drawn || this.sheet?.crowded !== this.crowded) { this.stamps(); this.marked = null; }
    if (this.base?.length !== shot.width * shot.height) {
      this.base = new Uint32Array(shot.width * shot.height);
      this.image = new ImageData(shot.width, shot.height);
    }
    if (this.drawn === key && this.marked === key) return;
    if (this.drawn !== key) {
      this.base.fill(this.backWord());
      const { focus, stamp } = this;
      if (focus.size) {
        this.strew(this.base, (i) => !focus.has(stamp[i]), 1);
        this.strew(this.base, (i) => focus.has(stamp[i]), 0);
      } else this.strew(this.base, () => true, 0);
    }
    const words = new Uint32Array(this.image.data.buffer);
    if (this.shown) {
      this.fade(words);
      this.strew(words, (i) => this.mark[i], 2);
    } else words.set(this.base);
    shot.getContext("2d").putImageData(this.image, 0, 0);
    if (this.drawn !== key) this.cost = performance.now() - now;
    this.when = performance.now();
    this.was = { unit: this.unit, cx: this.view.cx, cy: this.view.cy };
    this.drawn = this.marked = key;
  }

  /** The base at 45 % over the background. */
  fade(words) {
    const { base } = this, back = this.backWord(), share = 0.45;
    const table = [0, 8, 16].map((shift) => Uint8Array.from({ length: 256 }, (_, v) => share * v + (1 - share) * (back >> shift & 255)));
    const [red, green, blue] = table, top = back & 0xff000000;
    for (let i = 0; i < base.length; i++) {
      const w = base[i];
      words[i] = w === back ? w : top | blue[w >> 16 & 255] << 16 | green[w >> 8 & 255] << 8 | red[w & 255];
    }
  }

  backWord() {
    if (this.backOf !== this.ink.back) {
      const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
      pen.fillStyle = this.backOf = this.ink.back;
      pen.fillRect(0, 0, 1, 1);
      this.backPixel = new Uint32Array(pen.getImageData(0, 0, 1, 1).data.buffer)[0];
    }
    return this.backPixel;
  }
}
