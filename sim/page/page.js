"use strict";
// `run` has everything that is drawn, as chart.go has computed it. This code only
// draws it and answers to the mouse and the keys. All times are µs.
(() => {
const run = JSON.parse(document.getElementById("run").textContent);
const $ = id => document.getElementById(id);
const chart = $("chart"), axis = $("axis"), strip = $("strip"), tip = $("tip");
const gutter = 112, headHeight = 30;
const heights = {server: 44, operator: 24, app: 44, node: 38};
const view = {from: 0, to: run.end};
let colours = {}, hover = null, flash = -1;

// The places of the lanes.
let y = headHeight;
run.lanes.forEach((lane, i) => {
  if (lane.sort === "node" && (i === 0 || run.lanes[i - 1].sort !== "node")) y += headHeight;
  lane.y = y; lane.h = heights[lane.sort]; y += lane.h;
});
const chartHeight = y + 8;
const firstNode = run.lanes.find(l => l.sort === "node");

// Colours, from the style sheet.
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ground", "panel", "stripe", "ink", "soft", "line", "hue0", "hue1", "hue2", "hue3", "on", "fault", "pause", "good", "bad", "calm"])
    colours[name] = style.getPropertyValue("--" + name).trim();
}
const hueOf = h => h < 0 ? colours.soft : colours["hue" + h % 4];

// prepare gives a canvas as many pixels as the screen has.
function prepare(canvas, height) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
  canvas.style.height = height + "px";
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.font = "12px system-ui, sans-serif"; c.textBaseline = "middle";
  c.fillStyle = colours.ground; c.fillRect(0, 0, width, height);
  return c;
}
const width = () => chart.clientWidth;
const xOf = t => gutter + (t - view.from) / (view.to - view.from) * (width() - gutter);
const tOf = x => view.from + (x - gutter) / (width() - gutter) * (view.to - view.from);
const seen = (a, b) => b >= view.from && a <= view.to;

function timeText(t, step) {
  const digits = step >= 1e6 ? 0 : Math.min(6, Math.ceil(-Math.log10(step / 1e6)));
  return (t / 1e6).toFixed(digits) + " s";
}
// stepFor returns the smallest round step of at least this many µs.
function stepFor(least) {
  const power = Math.pow(10, Math.floor(Math.log10(least)));
  return [1, 2, 5, 10].map(f => f * power).find(s => s >= least);
}

// hatch fills with slanted lines.
function hatch(c, x, top, w, h, colour, gap, tilt) {
  c.save();
  c.beginPath(); c.rect(x, top, w, h); c.clip();
  c.strokeStyle = colour; c.lineWidth = 1.4; c.beginPath();
  const start = Math.floor((x - h) / gap) * gap;
  for (let at = start; at < x + w + h; at += gap) {
    if (tilt > 0) { c.moveTo(at, top + h); c.lineTo(at + h, top); } else { c.moveTo(at, top); c.lineTo(at + h, top + h); }
  }
  c.stroke(); c.restore();
}

// boxOf returns a bar's top and height in its lane.
function boxOf(lane, bar) {
  const top = lane.y;
  switch (bar.k) {
  case "life": return [top + lane.h - 9, 3];
  case "lead": return [top + lane.h - 16, 5];
  case "pause": return [top + 3, lane.h - 6];
  case "cut": return [top + 3, 5];
  case "slow": return [top + 12, lane.h - 24];
  case "window": return [top + lane.h - 8, 4];
  case "live": case "stale": return [top + 10, lane.h - 22];
  }
  return [top + 5, lane.h - 16];
}

const paint = {
  lead(c, x, t, w, h) { c.fillStyle = colours.good; c.fillRect(x, t, w, h); },
  life(c, x, t, w, h) { c.fillStyle = colours.soft; c.fillRect(x, t, w, h); },
  live(c, x, t, w, h, bar) { solid(c, x, t, w, h, bar); },
  held(c, x, t, w, h, bar) { solid(c, x, t, w, h, bar); },
  stale(c, x, t, w, h, bar) { outline(c, x, t, w, h, hueOf(bar.h), [3, 3]); },
  pending(c, x, t, w, h, bar) { outline(c, x, t, w, h, hueOf(bar.h), [2, 2]); },
  rest(c, x, t, w, h, bar) { hatch(c, x, t, w, h, hueOf(bar.h), 7, 1); outline(c, x, t, w, h, hueOf(bar.h), []); },
  idle(c, x, t, w, h, bar) { outline(c, x, t, w, h, hueOf(bar.h), [1, 4]); },
  pause(c, x, t, w, h) {
    c.globalAlpha = .22; c.fillStyle = colours.pause; c.fillRect(x, t, w, h); c.globalAlpha = 1;
    hatch(c, x, t, w, h, colours.pause, 9, -1); outline(c, x, t, w, h, colours.pause, []);
  },
  cut(c, x, t, w, h) { c.fillStyle = colours.fault; for (let at = x; at < x + w; at += 7) c.fillRect(at, t, Math.min(4, x + w - at), h); },
  slow(c, x, t, w, h) { c.globalAlpha = .25; c.fillStyle = colours.fault; c.fillRect(x, t, w, h); c.globalAlpha = 1; outline(c, x, t, w, h, colours.fault, [4, 2]); },
  window(c, x, t, w, h, bar) {
    c.globalAlpha = .45; c.fillStyle = hueOf(bar.h); c.fillRect(x, t, w, h); c.globalAlpha = 1;
    c.fillRect(x, t - 2, 1.5, h + 4); c.fillRect(x + w - 1.5, t - 2, 1.5, h + 4);
  },
};
function outline(c, x, t, w, h, colour, dash) {
  c.strokeStyle = colour; c.lineWidth = 1.2; c.setLineDash(dash); c.strokeRect(x + .5, t + .5, Math.max(w - 1, .5), h - 1); c.setLineDash([]);
}
function solid(c, x, t, w, h, bar) {
  c.fillStyle = hueOf(bar.h); c.fillRect(x, t, Math.max(w, 1), h);
  c.fillStyle = colours.ground; c.fillRect(x + w - 1, t, 1, h);
  if (hover && hover.lease && hover.lease === bar.e) outline(c, x - 1, t - 1, w + 1, h + 2, colours.ink, []);
}
// label writes a bar's name into the part of the bar that is in view, above what
// crosses the bar.
function label(c, lane, bar) {
  if (!bar.l || !seen(bar.a, bar.b)) return;
  const [top, h] = boxOf(lane, bar), left = Math.max(xOf(bar.a), gutter) + 3, room = Math.min(xOf(bar.b), width()) - left - 2;
  let text = bar.l;
  if (c.measureText(text).width + 6 > room) text = text.replace(/\D+(?=\d)/, "");
  const w = c.measureText(text).width + 6;
  if (w > room) return;
  c.fillStyle = hueOf(bar.h); c.fillRect(left - 1, top + 1, w, h - 2);
  c.fillStyle = colours.on; c.fillText(text, left + 2, top + h / 2 + 1);
}

// Signs, each with a shape of its own, around (x, y).
const signs = {
  start(c, x, y) { poly(c, colours.good, [[x - 4, y - 5], [x + 5, y], [x - 4, y + 5]]); },
  term(c, x, y) { poly(c, colours.good, [[x - 6, y + 4], [x - 6, y - 4], [x - 3, y], [x, y - 5], [x + 3, y], [x + 6, y - 4], [x + 6, y + 4]]); },
  deposed(c, x, y) { c.strokeStyle = colours.good; c.lineWidth = 1.6; c.beginPath(); c.moveTo(x - 5, y); c.lineTo(x + 5, y); c.stroke(); },
  exit(c, x, y) { c.fillStyle = colours.soft; c.fillRect(x - 4, y - 4, 8, 8); },
  crash(c, x, y) { cross(c, x, y, 5, colours.fault, 2.6); },
  grant(c, x, y, m) { poly(c, hueOf(m.h), [[x, y - 5], [x + 5, y], [x, y + 5], [x - 5, y]]); },
  end(c, x, y, m) { c.strokeStyle = hueOf(m.h); c.lineWidth = 1.6; c.strokeRect(x - 3.5, y - 3.5, 7, 7); },
  clock(c, x, y) { ring(c, x, y, colours.pause); c.beginPath(); c.moveTo(x, y - 4); c.lineTo(x, y); c.lineTo(x + 3, y); c.stroke(); },
  disk(c, x, y) { poly(c, colours.fault, [[x, y - 6], [x + 6, y + 5], [x - 6, y + 5]]); },
  log(c, x, y) { c.fillStyle = colours.fault; c.fillRect(x - 1.5, y - 6, 3, 7); c.fillRect(x - 1.5, y + 3, 3, 3); },
  operate(c, x, y) { ring(c, x, y, colours.ink); c.fillStyle = colours.ink; c.beginPath(); c.arc(x, y, 2, 0, 7); c.fill(); },
  revoked(c, x, y) { ring(c, x, y, colours.fault); c.beginPath(); c.moveTo(x - 4, y + 4); c.lineTo(x + 4, y - 4); c.stroke(); },
  ended(c, x, y, m) { c.strokeStyle = hueOf(m.h); c.lineWidth = 2; c.beginPath(); c.moveTo(x, y - 8); c.lineTo(x, y + 8); c.stroke(); },
};
function ring(c, x, y, colour) { c.strokeStyle = colour; c.lineWidth = 1.6; c.beginPath(); c.arc(x, y, 5.5, 0, 7); c.stroke(); }
function poly(c, colour, points) { c.fillStyle = colour; c.beginPath(); points.forEach(p => c.lineTo(...p)); c.closePath(); c.fill(); }
function cross(c, x, y, r, colour, w) {
  c.lineWidth = w; c.strokeStyle = colour; c.beginPath();
  c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.moveTo(x + r, y - r); c.lineTo(x - r, y + r); c.stroke();
}
function signY(lane, m) {
  if (lane.sort === "operator") return lane.y + lane.h / 2;
  if (lane.sort === "node") return lane.y + 5 + (lane.h - 16) / 2;
  if (m.k === "grant" || m.k === "end") return lane.y + 13;
  if (lane.sort === "server") return m.k === "log" ? lane.y + 24 : lane.y + lane.h - 8;
  return lane.y + lane.h - 8;
}
const ticks = {mint: true, used: true};
const silent = {hold: true, lapse: true, extend: true, deadline: true, settings: true};

function drawMark(c, lane, m) {
  const x = xOf(m.a);
  if (ticks[m.k]) {
    c.fillStyle = hueOf(m.h);
    if (m.k === "mint") c.fillRect(x - .5, lane.y + lane.h - 15, 1, 5); else c.fillRect(x - .5, lane.y + lane.h - 11, 1, 9);
  } else if (signs[m.k]) signs[m.k](c, x, signY(lane, m), m);
}

// messageY returns where in a lane messages start and end.
const messageY = i => { const l = run.lanes[i]; return l.y + l.h / 2; };
function ends(m) {
  const x1 = xOf(m.a), y1 = messageY(m.f);
  if (m.b >= 0) return [x1, y1, xOf(m.b), messageY(m.t)];
  const dx = Math.min(14, Math.max(3, (width() - gutter) * 2000 / (view.to - view.from)));
  return [x1, y1, x1 + dx, y1 + (messageY(m.t) - y1) * .4];
}

// shown returns the messages that are drawn.
function shown() {
  const mode = $("messages").value;
  $("note").textContent = "";
  if (mode === "none") return [];
  const near = run.messages.filter(m => seen(m.a, Math.max(m.a, m.b)));
  if (mode === "all") return near;
  const lost = near.filter(m => m.b < 0);
  if (mode === "lost" || near.length > width() / 4) {
    if (mode === "auto") $("note").textContent = `${near.length - lost.length} messages that arrived are not drawn: zoom in to see them`;
    return lost;
  }
  return near;
}
function drawMessage(c, m, strong) {
  const [x1, y1, x2, y2] = ends(m);
  c.strokeStyle = m.b < 0 ? colours.fault : strong ? colours.ink : colours.soft;
  c.globalAlpha = strong ? 1 : m.b < 0 ? .9 : drawn.length > 80 ? .4 : .7;
  c.lineWidth = strong ? 2 : 1; c.setLineDash(m.w ? [5, 3] : []);
  c.beginPath(); c.moveTo(x1, y1); c.lineTo(x2, y2); c.stroke(); c.setLineDash([]);
  if (m.b < 0) cross(c, x2, y2, 3.5, colours.fault, 1.6);
  else {
    const angle = Math.atan2(y2 - y1, x2 - x1), a = 7;
    c.fillStyle = c.strokeStyle; c.beginPath(); c.moveTo(x2, y2);
    c.lineTo(x2 - a * Math.cos(angle - .35), y2 - a * Math.sin(angle - .35));
    c.lineTo(x2 - a * Math.cos(angle + .35), y2 - a * Math.sin(angle + .35)); c.fill();
  }
  c.globalAlpha = 1;
}

let drawn = [];
function draw() {
  const c = prepare(chart, chartHeight), w = width();
  drawGround(c, w);
  c.save(); c.beginPath(); c.rect(gutter, 0, w - gutter, chartHeight); c.clip();
  for (const lane of run.lanes) for (const bar of lane.bars) if (bar.k !== "pause") drawBar(c, lane, bar);
  for (const lane of run.lanes) for (const m of lane.marks) if (ticks[m.k] && seen(m.a, m.a)) drawMark(c, lane, m);
  for (const lane of run.lanes) for (const bar of lane.bars) if (bar.k === "pause") drawBar(c, lane, bar);
  drawn = shown();
  for (const m of drawn) drawMessage(c, m, false);
  for (const lane of run.lanes) for (const bar of lane.bars) label(c, lane, bar);
  for (const lane of run.lanes) for (const m of lane.marks) if (!ticks[m.k] && seen(m.a, m.a)) drawMark(c, lane, m);
  if (hover && hover.message) drawMessage(c, hover.message, true);
  drawLines(c);
  c.restore();
  drawGutter(c);
  drawAxis(); drawStrip();
}
function drawBar(c, lane, bar) {
  if (!seen(bar.a, bar.b)) return;
  const x = Math.max(xOf(bar.a), gutter - 40), end = Math.min(xOf(bar.b), width() + 40);
  const [top, h] = boxOf(lane, bar);
  paint[bar.k](c, x, top, Math.max(end - x, 1.5), h, bar);
}
function drawGround(c, w) {
  run.lanes.forEach((lane, i) => {
    c.fillStyle = i % 2 ? colours.ground : colours.stripe; c.fillRect(0, lane.y, w, lane.h);
    c.fillStyle = colours.line; c.fillRect(0, lane.y + lane.h - .5, w, .5);
  });
  c.strokeStyle = colours.line; c.lineWidth = .6; c.beginPath();
  for (const t of gridTimes()) { c.moveTo(xOf(t), headHeight); c.lineTo(xOf(t), chartHeight); }
  c.stroke();
}
function gridTimes() {
  const step = stepFor((view.to - view.from) / Math.max(4, width() / 110)), times = [];
  for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) times.push(t);
  times.step = step;
  return times;
}
function drawGutter(c) {
  c.fillStyle = colours.panel; c.fillRect(0, 0, gutter, chartHeight);
  c.fillStyle = colours.soft; c.font = "600 12px system-ui, sans-serif";
  c.fillText("MACHINES", 10, headHeight / 2);
  if (firstNode) c.fillText("NODE IDS", 10, firstNode.y - headHeight / 2);
  c.font = "13px system-ui, sans-serif";
  for (const lane of run.lanes) {
    if (lane.sort === "node") { c.fillStyle = hueOf(lane.hue); c.fillRect(0, lane.y, 4, lane.h); }
    c.fillStyle = hover && hover.lane === lane ? colours.hue0 : colours.ink;
    c.fillText(lane.name, 10, lane.y + lane.h / 2, gutter - 14);
  }
}
// drawLines draws the lines that cross all lanes.
function drawLines(c) {
  if (run.faultsEnd >= 0) line(c, run.faultsEnd, colours.calm, "faults stop", [6, 4]);
  for (const b of run.broken) {
    line(c, b.a, colours.bad, "✖ " + b.x.split(":")[0], []);
    for (const i of b.l) if (seen(b.a, b.a)) star(c, xOf(b.a), run.lanes[i]);
  }
  if (flash >= 0) line(c, flash, colours.ink, "", [2, 2]);
}
// star shows which lanes a violation is about.
function star(c, x, lane) {
  const at = lane.y + lane.h / 2 - 1;
  c.fillStyle = colours.ground; c.beginPath(); c.arc(x, at, 9, 0, 7); c.fill();
  c.strokeStyle = colours.bad; c.lineWidth = 2; c.stroke(); cross(c, x, at, 4, colours.bad, 2.4);
}
function line(c, t, colour, text, dash) {
  const x = xOf(t);
  if (x < gutter - 1 || x > width()) return;
  c.strokeStyle = colour; c.lineWidth = 2; c.setLineDash(dash);
  c.beginPath(); c.moveTo(x, 4); c.lineTo(x, chartHeight); c.stroke(); c.setLineDash([]);
  if (!text) return;
  c.font = "600 12px system-ui, sans-serif";
  const w = c.measureText(text).width + 12, left = Math.min(Math.max(x, gutter), width() - w);
  c.fillStyle = colour; c.fillRect(left, 5, w, 20); c.fillStyle = colours.on; c.fillText(text, left + 6, 15.5);
  c.font = "12px system-ui, sans-serif";
}
function drawAxis() {
  const c = prepare(axis, 26), times = gridTimes();
  c.fillStyle = colours.panel; c.fillRect(0, 0, width(), 26);
  c.fillStyle = colours.soft; c.fillText("true time", 10, 13);
  for (const t of times) {
    const x = xOf(t), text = timeText(t, times.step);
    if (x >= gutter && x + c.measureText(text).width + 4 < width()) { c.fillRect(x, 18, 1, 8); c.fillStyle = colours.ink; c.fillText(text, x + 4, 12); c.fillStyle = colours.soft; }
  }
}

// The strip shows the whole run, with its faults.
const stripX = t => gutter + t / run.end * (strip.clientWidth - gutter);
const stripT = x => Math.min(Math.max((x - gutter) / (strip.clientWidth - gutter), 0), 1) * run.end;
function drawStrip() {
  const c = prepare(strip, 44);
  c.fillStyle = colours.panel; c.fillRect(0, 0, strip.clientWidth, 44);
  c.fillStyle = colours.soft; c.fillText("whole run", 10, 14); c.fillText("faults", 10, 31);
  const machines = run.lanes.filter(l => l.sort !== "node");
  const live = machines.flatMap(l => l.bars.filter(b => b.k === "live"));
  c.globalAlpha = Math.max(.12, .6 / Math.max(1, machines.length - 1)); c.fillStyle = colours.hue0;
  for (const b of live) c.fillRect(stripX(b.a), 4, Math.max(1, stripX(b.b) - stripX(b.a)), 18);
  c.globalAlpha = 1;
  for (const l of machines) {
    for (const b of l.bars) if (b.k === "pause" || b.k === "cut" || b.k === "slow") { c.fillStyle = b.k === "pause" ? colours.pause : colours.fault; c.fillRect(stripX(b.a), b.k === "pause" ? 25 : 30, Math.max(1, stripX(b.b) - stripX(b.a)), 4); }
    for (const m of l.marks) if (m.k === "crash" || m.k === "disk") { c.fillStyle = colours.fault; c.fillRect(stripX(m.a) - 1, 35, 2, 8); }
  }
  for (const m of run.messages) if (m.b < 0) { c.fillStyle = colours.fault; c.fillRect(stripX(m.a), 37, 1, 4); }
  if (run.faultsEnd >= 0) { c.fillStyle = colours.calm; c.fillRect(stripX(run.faultsEnd), 0, 2, 44); }
  for (const b of run.broken) { c.fillStyle = colours.bad; c.fillRect(stripX(b.a) - 1.5, 0, 3, 44); }
  const a = stripX(view.from), b = stripX(view.to);
  c.globalAlpha = .6; c.fillStyle = colours.ground; c.fillRect(gutter, 0, a - gutter, 44); c.fillRect(b, 0, strip.clientWidth - b, 44); c.globalAlpha = 1;
  c.strokeStyle = colours.ink; c.lineWidth = 1.5; c.strokeRect(a, 1, Math.max(b - a, 2), 42);
}

// Moving about.
function look(from, to) {
  const span = Math.min(Math.max(to - from, 200), run.end);
  const start = Math.min(Math.max(from, 0), run.end - span);
  view.from = start; view.to = start + span;
  refresh();
}
let waiting = false;
function refresh() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
  clearTimeout(refresh.later);
  refresh.later = setTimeout(() => { list(); remember(); }, 120);
}
function remember() {
  const whole = view.from <= 0 && view.to >= run.end;
  try { history.replaceState(null, "", whole ? "#" : `#${(view.from / 1e6).toFixed(6)}-${(view.to / 1e6).toFixed(6)}`); } catch { /* a page without an address has none to change */ }
}
function zoom(factor, at) {
  const span = (view.to - view.from) * factor, share = (at - view.from) / (view.to - view.from);
  look(at - span * share, at - span * share + span);
}
const middle = () => (view.from + view.to) / 2;
function fromAddress() {
  const m = /^#([\d.]+)-([\d.]+)$/.exec(location.hash);
  if (m && +m[2] > +m[1]) look(m[1] * 1e6, m[2] * 1e6); else look(0, run.end);
}

// pointAt returns what the mouse points at.
function pointAt(e) {
  const box = chart.getBoundingClientRect(), x = e.clientX - box.left, py = e.clientY - box.top;
  if (x < gutter) return null;
  const lane = run.lanes.find(l => py >= l.y && py < l.y + l.h);
  const hit = {lane, lines: [], lease: null, message: null};
  if (lane) { marksAt(hit, lane, x, py); barsAt(hit, lane, x, py); }
  messageAt(hit, x, py);
  for (const b of run.broken) if (Math.abs(xOf(b.a) - x) < 4) hit.lines.unshift([b.a, "BROKEN: " + b.x]);
  return hit;
}
function marksAt(hit, lane, x, py) {
  let best = null, near = 7;
  for (const m of lane.marks) {
    if (silent[m.k] || !seen(m.a, m.a)) continue;
    const dy = ticks[m.k] ? (py > lane.y + lane.h - 17 ? 0 : 99) : Math.abs(signY(lane, m) - py);
    const d = Math.max(Math.abs(xOf(m.a) - x), dy > 8 ? 99 : dy / 2) + (ticks[m.k] ? 3 : 0);
    if (d < near) { near = d; best = m; }
  }
  if (best) { hit.lines.push([best.a, best.x]); hit.lease = best.e || null; }
}
function barsAt(hit, lane, x, py) {
  for (const bar of lane.bars) {
    const [top, h] = boxOf(lane, bar), a = xOf(bar.a), b = Math.max(xOf(bar.b), a + 3);
    if (x < a || x > b || py < top - 2 || py > top + h + 2) continue;
    hit.lines.push([bar.a, bar.x, bar.b]);
    if (bar.e && !hit.lease) hit.lease = bar.e;
  }
}
function messageAt(hit, x, py) {
  let near = 5;
  for (const m of drawn) {
    const [x1, y1, x2, y2] = ends(m), dx = x2 - x1, dy = y2 - y1;
    const s = Math.min(1, Math.max(0, ((x - x1) * dx + (py - y1) * dy) / (dx * dx + dy * dy || 1)));
    const d = Math.hypot(x1 + s * dx - x, y1 + s * dy - py);
    if (d < near) { near = d; hit.message = m; }
  }
  if (!hit.message) return;
  const m = hit.message;
  hit.lines.push(m.b < 0 ? [m.a, `${m.x}: it never arrives (${m.z})`] : [m.a, m.x, m.b]);
}
const exact = t => (t / 1e6).toFixed(6) + " s";
function showTip(e) {
  tip.replaceChildren();
  if (!hover || !hover.lines.length) { tip.hidden = true; return; }
  for (const [from, text, to] of hover.lines.slice(0, 5)) {
    const box = document.createElement("div"), when = document.createElement("b");
    when.textContent = to === undefined ? exact(from) : `${exact(from)} to ${exact(to)} (${((to - from) / 1e6).toPrecision(4)} s)`;
    box.append(when, text); tip.append(box);
  }
  tip.hidden = false;
  const w = tip.offsetWidth, h = tip.offsetHeight;
  tip.style.left = Math.max(4, Math.min(e.clientX + 14, innerWidth - w - 8)) + "px";
  tip.style.top = (e.clientY + 18 + h > innerHeight ? Math.max(4, e.clientY - h - 12) : e.clientY + 18) + "px";
}

let drag = null;
chart.addEventListener("pointerdown", e => { drag = {x: e.clientX, from: view.from, to: view.to, moved: false}; chart.setPointerCapture(e.pointerId); });
chart.addEventListener("pointermove", e => {
  if (drag) {
    const dx = e.clientX - drag.x;
    if (Math.abs(dx) > 3) drag.moved = true;
    if (drag.moved) {
      const dt = dx / (width() - gutter) * (drag.to - drag.from);
      chart.classList.add("moving"); tip.hidden = true; look(drag.from - dt, drag.to - dt);
    }
    return;
  }
  const before = hover && [hover.lease, hover.message, hover.lane];
  hover = pointAt(e); showTip(e);
  const after = hover && [hover.lease, hover.message, hover.lane];
  if (String(before) !== String(after) || (before && after && before.some((v, i) => v !== after[i]))) { waiting || requestAnimationFrame(draw); }
});
chart.addEventListener("pointerup", e => {
  if (drag && !drag.moved) { flash = tOf(e.clientX - chart.getBoundingClientRect().left); showNear(flash); }
  drag = null; chart.classList.remove("moving");
});
chart.addEventListener("pointerleave", () => { tip.hidden = true; hover = null; refresh(); });
chart.addEventListener("dblclick", e => zoom(.25, tOf(e.clientX - chart.getBoundingClientRect().left)));
chart.addEventListener("wheel", e => {
  if (e.ctrlKey || e.metaKey) { e.preventDefault(); zoom(Math.exp(e.deltaY * .003), tOf(e.clientX - chart.getBoundingClientRect().left)); }
  else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
    e.preventDefault();
    const dt = (e.deltaX || e.deltaY) / (width() - gutter) * (view.to - view.from);
    look(view.from + dt, view.to + dt);
  }
}, {passive: false});
let mark = null;
strip.addEventListener("pointerdown", e => { mark = {x: e.offsetX}; strip.setPointerCapture(e.pointerId); });
strip.addEventListener("pointermove", e => {
  if (mark && Math.abs(e.offsetX - mark.x) > 4) look(Math.min(stripT(mark.x), stripT(e.offsetX)), Math.max(stripT(mark.x), stripT(e.offsetX)));
});
strip.addEventListener("pointerup", e => {
  const span = view.to - view.from;
  if (mark && Math.abs(e.offsetX - mark.x) <= 4) look(stripT(e.offsetX) - span / 2, stripT(e.offsetX) + span / 2);
  mark = null;
});
addEventListener("keydown", e => {
  if (/^(INPUT|SELECT)$/.test(e.target.tagName) || e.ctrlKey || e.metaKey || e.altKey) return;
  const step = (view.to - view.from) / 5;
  const act = {"+": () => zoom(.6, middle()), "=": () => zoom(.6, middle()), "-": () => zoom(1 / .6, middle()), "0": () => look(0, run.end),
    ArrowLeft: () => look(view.from - step, view.to - step), ArrowRight: () => look(view.from + step, view.to + step)}[e.key];
  if (act) { e.preventDefault(); act(); }
});
$("in").onclick = () => zoom(.5, middle());
$("out").onclick = () => zoom(2, middle());
$("all").onclick = () => look(0, run.end);
$("messages").onchange = refresh;
$("find").oninput = () => list();
for (const b of document.querySelectorAll(".show")) b.onclick = () => { show(+b.dataset.at); chart.scrollIntoView({block: "nearest"}); };
function show(at) {
  const half = Math.min(view.to - view.from, run.end / 20) / 2;
  flash = at; look(at - half, at + half);
}

// The list has the events that are in view, as sentences.
const most = 400;
let order = [];
function list() {
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const all = run.events.filter(e => seen(e.a, e.a) && words.every(w => (laneName(e) + " " + e.k + " " + e.x).toLowerCase().includes(w)));
  order = all.slice(0, most);
  $("rows").replaceChildren(...order.map(row));
  $("range").textContent = `${exact(view.from)} to ${exact(view.to)}`;
  $("more").textContent = all.length > most ? `${all.length - most} more events are in view: zoom in, or search.` : all.length ? "" : "No events.";
}
const laneName = e => e.l < 0 ? "all" : run.lanes[e.l].name;
function row(e) {
  const tr = document.createElement("tr");
  tr.className = e.k;
  for (const text of [e.n, (e.a / 1e6).toFixed(6), laneName(e), e.x]) { const td = document.createElement("td"); td.textContent = text; tr.append(td); }
  tr.onclick = () => { flash = e.a; refresh(); chart.scrollIntoView({block: "nearest", behavior: "smooth"}); };
  return tr;
}
// showNear moves the list to a time.
function showNear(t) {
  refresh();
  const i = order.findIndex(e => e.a >= t);
  for (const tr of $("rows").children) tr.style.outline = "";
  if (i >= 0) $("rows").children[i].style.outline = "2px solid " + colours.hue0;
}

// The legend uses the functions that draw the lanes.
const legend = [
  ["|", "a promise is broken"],
  ["live", "an app holds a node ID and may use it"], ["stale", "its deadline has passed: it must not use it"],
  ["held", "the server keeps a node ID for an app"], ["pending", "a grant is being written"], ["rest", "quarantine"], ["idle", "quarantine ended, not written yet"],
  ["window", "window: timestamps that may be used"], ["life", "a process runs"], ["lead", "a replica leads"], ["pause", "the machine is paused"], ["cut", "cut off from the network"], ["slow", "a slow write"],
  [">", "message"], [">>", "answer"], [">x", "lost message"], ["mint", "IDs minted"],
  ["start", "start"], ["term", "a replica takes over"], ["deposed", "its term ends"], ["exit", "orderly end"], ["crash", "crash"], ["grant", "grant decided on"], ["end", "end decided on"], ["revoked", "revoked"],
  ["clock", "clock is set or drifts"], ["disk", "disk fault"], ["log", "server logs a warning"], ["operate", "operator acts"],
];
function drawLegend() {
  $("legend").replaceChildren(...legend.map(([kind, text]) => {
    const item = document.createElement("span"), canvas = document.createElement("canvas");
    item.append(canvas, text);
    requestAnimationFrame(() => sample(prepare(canvas, 18), kind));
    return item;
  }));
}
function sample(c, kind) {
  const bar = {h: kind === "held" ? 1 : 0, l: "", k: kind};
  if (paint[kind]) {
    const [top, h] = {life: [8, 3], lead: [7, 4], cut: [6, 5], window: [7, 4]}[kind] || [3, 12];
    paint[kind](c, 2, top, 26, h, bar);
  } else if (kind[0] === ">") {
    c.strokeStyle = kind === ">x" ? colours.fault : colours.soft; c.setLineDash(kind === ">>" ? [5, 3] : []);
    c.beginPath(); c.moveTo(2, 9); c.lineTo(22, 9); c.stroke(); c.setLineDash([]);
    if (kind === ">x") cross(c, 24, 9, 3.5, colours.fault, 1.6); else poly(c, colours.soft, [[28, 9], [21, 6], [21, 12]]);
  } else if (kind === "mint") { c.fillStyle = colours.hue0; for (const x of [5, 8, 11, 17, 20, 25]) c.fillRect(x, 6, 1, 6); }
  else if (kind === "|") { c.fillStyle = colours.bad; c.fillRect(14, 0, 2.5, 18); }
  else signs[kind](c, 15, 9, bar);
}

function dress(theme) {
  document.documentElement.dataset.theme = theme;
  readColours(); drawLegend(); refresh();
}
const dark = matchMedia("(prefers-color-scheme: dark)");
$("theme").onclick = () => dress(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
dark.addEventListener("change", () => dress(dark.matches ? "dark" : "light"));
addEventListener("resize", refresh);
addEventListener("hashchange", fromAddress);
fromAddress();
dress(dark.matches ? "dark" : "light");
draw(); list();
})();
