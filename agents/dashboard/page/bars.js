// Bars of what each agent sent, and the heat map of how far each agent's layers are from the mean.

import { bytes, colored, known, number, picture, shortened, svg, hint, text, ticks } from "./draw.js";

const EQUAL = 1e-9; // Of a norm: less is rounding.
const LEFT = 46, TOP = 8, BOTTOM = 24;

export function sent(element, note, now) {
  const { root, width, height } = picture(element);
  const most = Math.max(...now.agents.map((agent) => agent.bytes_sent), 1);
  const y = (value) => TOP + (1 - value / (most * 1.05)) * (height - TOP - BOTTOM);
  for (const value of ticks(0, most * 1.05, Math.floor(height / 52)).found) {
    svg("line", { class: "gridline", x1: LEFT, x2: width, y1: y(value), y2: y(value) }, root);
    text(root, LEFT - 7, y(value) + 4, bytes(value).join(" "), { "text-anchor": "end" });
  }
  const each = (width - LEFT) / Math.max(now.agents.length, 1);
  const wide = Math.max(1.5, Math.min(44, each * 0.72));
  const named = each > 52;
  now.agents.forEach((agent, place) => {
    const x = LEFT + each * (place + 0.5);
    const top = y(agent.bytes_sent);
    let below = 0;
    const parts = Object.entries(agent.bytes_by_codec).sort(([, one], [, other]) => other - one);
    const words = parts.map(([codec, count]) => `${bytes(count).join(" ")} in ${codec}`);
    const shape = { class: `mark ${agent.alive || now.ended ? "" : "gone"}`, x: x - wide / 2, y: top, width: wide, height: Math.max(0, height - BOTTOM - top), rx: Math.min(3, wide / 3) };
    hint(colored(svg("rect", shape, root), agent.place, now.agents.length), () => `${agent.name}\n${[`${bytes(agent.bytes_sent).join(" ")}, ${agent.exchanges.toLocaleString("en-US")} exchanges`, ...words].join("\n")}`);
    for (const [, count] of parts.slice(0, -1)) { // Where a codec ends and the next begins; what is above them all isn't of exchanges.
      below += count;
      svg("line", { class: "cut", x1: x - wide / 2, x2: x + wide / 2, y1: y(below), y2: y(below) }, root);
    }
    if (named) text(root, x, height - 7, shortened(agent.name, Math.floor(each / 6.6)), { "text-anchor": "middle" });
  });
  svg("line", { class: "axis", x1: LEFT, x2: width, y1: height - BOTTOM, y2: height - BOTTOM }, root);
  const total = {};
  for (const agent of now.agents) for (const [codec, count] of Object.entries(agent.bytes_by_codec)) total[codec] = (total[codec] ?? 0) + count;
  const codecs = Object.entries(total).sort(([, one], [, other]) => other - one);
  note.textContent = codecs.map(([codec, count]) => `${bytes(count).join(" ")} in ${codec}`).join(", ");
  if (!named) text(root, (LEFT + width) / 2, height - 7, "agents, by name", { "text-anchor": "middle" });
}

// step: of models whose distances to the mean these are, in shares of its norm; null of distances to neighbors.
export function layers(element, { agents, layers: rows, step }) {
  const shown = (value) => (known(step) ? `${number(value * 100)} % of the norm` : number(value));
  const { root, width, height } = picture(element);
  const longest = Math.max(...rows.map(([name]) => shortened(name, 22).length), 4);
  const left = Math.min(longest * 6.4 + 10, width * 0.4);
  const values = rows.flatMap(([, far]) => far).filter(known);
  const most = Math.max(...values, EQUAL);
  const high = Math.min(52, (height - TOP - 32) / Math.max(rows.length, 1));
  const wide = (width - left) / Math.max(agents.length, 1);
  const gap = wide > 8 ? 2 : 0.5;
  rows.forEach(([name, far], row) => {
    const y = TOP + row * high;
    if (high > 10 || row % Math.ceil(12 / high) === 0) {
      text(root, left - 8, y + high / 2 + 4, shortened(name, 22), { "text-anchor": "end" });
    }
    far.forEach((value, column) => {
      const cell = svg("rect", { x: left + column * wide, y, width: Math.max(0.5, wide - gap), height: Math.max(1, high - 2), rx: Math.min(3, wide / 4) }, root);
      cell.style.fill = known(value) ? `rgba(var(--heat), ${(0.08 + 0.92 * Math.sqrt(value / most)).toFixed(3)})` : "var(--grid)";
      hint(cell, () => `${agents[column]}\n${name}: ${known(value) ? shown(value) : "unknown"}`);
    });
  });
  const y = TOP + rows.length * high + 12;
  const scale = 22;
  for (let step = 0; step < scale; step += 1) {
    const bar = svg("rect", { x: left + step * 5, y, width: 5, height: 8 }, root);
    bar.style.fill = `rgba(var(--heat), ${(0.08 + 0.92 * Math.sqrt(step / (scale - 1))).toFixed(3)})`;
  }
  text(root, left - 8, y + 9, "0", { "text-anchor": "end" });
  text(root, left + scale * 5 + 7, y + 9, most > EQUAL ? shown(most) : "all are equal");
}
