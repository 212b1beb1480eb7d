// What travels between Python and the browser: blocks of arrays, compact id lists, and the queue of gestures.

const HUB = Symbol.for("unlearning-studio.picker");

/** The header of a block (u32 length, JSON, then 8-byte aligned sections). */
function readHeader(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
}

/** The sections of a block by name, as typed arrays of their own. */
function readArrays(bytes, header) {
  const buffer = bytes.slice().buffer;                     // typed arrays need an aligned start
  const kinds = { i4: Int32Array, i2: Int16Array, f4: Float32Array, u1: Uint8Array };
  const arrays = {};
  for (const [name, kind, offset, count] of header.sections) arrays[name] = new kinds[kind](buffer, offset, count);
  return arrays;
}

const toText = (bytes) => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
};
const toBytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** Ids (whole numbers >= 0) as text: gaps as varints ("d…") or a bitmap from the smallest id ("b<id>,…"), whichever is shorter. */
function encodeIds(ids) {
  if (!ids.length) return "";
  const sorted = Int32Array.from(ids).sort();
  const low = sorted[0], span = sorted[sorted.length - 1] - low + 1;
  const gaps = [];
  let last = 0;
  for (const id of sorted) {
    let gap = id - last;
    last = id;
    while (gap > 127) { gaps.push((gap & 127) | 128); gap >>>= 7; }
    gaps.push(gap);
  }
  if (gaps.length <= Math.ceil(span / 8)) return "d" + toText(Uint8Array.from(gaps));
  const bits = new Uint8Array(Math.ceil(span / 8));
  for (const id of sorted) bits[(id - low) >> 3] |= 1 << ((id - low) & 7);
  return `b${low},${toText(bits)}`;
}

/** The inverse of encodeIds, ascending. */
function decodeIds(text) {
  const ids = [];
  if (!text) return ids;
  if (text[0] === "d") {
    let id = 0, gap = 0, shift = 0;
    for (const byte of toBytes(text.slice(1))) {
      gap |= (byte & 127) << shift;
      if (byte & 128) { shift += 7; continue; }
      ids.push(id += gap);
      gap = shift = 0;
    }
    return ids;
  }
  const comma = text.indexOf(","), low = Number(text.slice(1, comma));
  toBytes(text.slice(comma + 1)).forEach((byte, i) => {
    for (let bit = 0; byte >> bit; bit++) if ((byte >> bit) & 1) ids.push(low + 8 * i + bit);
  });
  return ids;
}

/** The chosen ids as the person expects them: what Python last said, then every gesture it has not confirmed. */
function replay(base, pending) {
  const steps = [base];
  for (const { op, list } of pending) {
    if (op === "undo") { if (steps.length > 1) steps.pop(); continue; }
    const next = op === "clear" ? new Set() : new Set(steps.at(-1));
    for (const id of list) op === "add" ? next.add(id) : next.delete(id);
    steps.push(next);
  }
  return steps.at(-1);
}

const TILES_KEPT = 8 * 2 ** 20;                            // bytes
const ASK_AGAIN = 1500;                                    // ms after which an unanswered question is put once more

/** Thumbnails of sets too large to send whole: the tiles looked at last, and one question at a time for more. */
class Tiles {
  kept = new Map();                                        // row → pixels, the one used last at the end
  of = null;
  send = null;
  next = null;
  timer = 0;
  asked = 0;
  got = 0;                                                 // bytes so far

  find(row) {
    const tile = this.kept.get(row);
    if (tile) {
      this.kept.delete(row);
      this.kept.set(row, tile);
    }
    return tile;
  }

  /** Ask for tiles; while an answer is on its way the newest question waits for it. */
  want(rows, tries = 0) {
    this.next = rows;
    if (!this.send || this.timer) return;
    this.next = null;
    this.send("rows", { of: this.of, rows, asked: ++this.asked });
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (tries < 3) this.want(this.next ?? rows, tries + 1);
    }, ASK_AGAIN);
  }

  /** What Python says: which set its tiles are of, and those that were asked for. */
  hear({ of, rows, size, asked }, pixels) {
    if (of !== this.of) {
      this.kept.clear();
      this.next = null;
    }
    clearTimeout(this.timer);
    Object.assign(this, { of, timer: 0, asked: Math.max(this.asked, asked) });
    this.got += pixels?.length ?? 0;
    rows.forEach((row, k) => this.kept.set(row, pixels.slice(k * size, (k + 1) * size)));
    for (const row of this.kept.keys()) {
      if (this.kept.size * size <= TILES_KEPT) break;
      this.kept.delete(row);
    }
    if (this.next) this.want(this.next);
  }
}

/**
 * The gestures of one picker. It outlives the component (a page change unmounts that) but not the page load:
 * a reload starts a new client with an empty queue, so nothing old can be applied again.
 */
class Desk {
  client = Math.random().toString(36).slice(2, 12);
  seq = 0;
  pending = [];
  session = null;
  base = new Set();
  chosen = new Set();
  send = null;
  view = null;
  parts = {};
  tiles = new Tiles();
  tries = 0;
  timer = 0;

  /** Queue a gesture, show its effect at once, and send everything unconfirmed. */
  push(op, how, list = []) {
    this.pending.push({ seq: ++this.seq, op, how, list, ids: encodeIds(list) });
    this.chosen = replay(this.base, this.pending);
    this.tries = 0;
    this.post();
  }

  post() {
    clearTimeout(this.timer);
    if (!this.send || !this.session) return;
    const ops = this.pending.map((p) => [p.seq, p.op, p.how, p.ids]);
    this.send("ops", { client: this.client, session: this.session, ops, sync: this.tries });
  }

  /** What Python says: its session, the last gesture counted in `selected`, and the last one it has handed out. */
  hear(state) {
    if (this.session !== state.session) this.pending = [];   // gestures of another session are not this one's
    this.session = state.session;
    const [client, applied, seen] = state.ack;
    if (client === this.client) this.pending = this.pending.filter((p) => p.seq > applied);
    this.base = new Set(decodeIds(state.selected));
    this.chosen = replay(this.base, this.pending);
    clearTimeout(this.timer);
    if (!this.pending.length || this.tries >= 6) return;
    // Handed out but not yet in `selected`, or lost with an interrupted run: ask once more.
    const handed = client === this.client && seen >= this.pending.at(-1).seq;
    this.timer = setTimeout(() => { this.tries++; this.post(); }, handed ? 120 : 600);
  }
}

const desks = new Map();
function desk(key) {
  if (!desks.has(key)) desks.set(key, new Desk());
  return desks.get(key);
}

/** Parts that small sibling mounts bring in: the sprite or some tiles (bytes) and the state (an object). */
function deliver(data, send) {
  if (data instanceof Uint8Array) {
    const header = readHeader(data), at = desk(header.key);
    if (header.rows) {
      at.tiles.send = send;
      if (at.parts.tiles !== header.digest) at.tiles.hear(header, readArrays(data, header).pixels);
      at.parts.tiles = header.digest;
      at.view?.looked();
      return;
    }
    if (at.parts.pictures?.digest === header.digest) return;   // a rerun brings the same block again
    const arrays = readArrays(data, header);
    at.parts.pictures = { digest: header.digest, blob: arrays.image ? new Blob([arrays.image]) : null, url: header.url };
    at.view?.pictures();
  } else if (data) {
    const at = desk(data.key);
    at.parts.state = data;
    at.hear(data);
    at.view?.state();
  }
}

const hub = (globalThis[HUB] ??= { waiting: [] });
hub.deliver = deliver;
for (const [data, send] of hub.waiting.splice(0)) deliver(data, send);
