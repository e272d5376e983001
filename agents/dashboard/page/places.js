// The map: distances between models as a plane shows them, with the consensus distance as a circle around the mean.

import { colored, known, number, picture, svg, hint, text } from "./draw.js";

const CAPTION = 22;
const TRAIL = 14, TRAILED = 16; // Positions that a trail has, and agents up to which there are trails.

export class Places {
  constructor(element) {
    this.element = element;
    this.before = new Map();
    this.trails = new Map();
    this.reach = 0;
  }

  draw(now) {
    const there = now.agents.filter((agent) => known(agent.x) && known(agent.y));
    const points = turned(there.map((agent) => [agent.number, agent.x, agent.y]), this.before);
    this.before = new Map(points.map(([number, x, y]) => [number, [x, y]]));
    const { root, width, height } = picture(this.element);
    const farthest = Math.max(...points.map(([, x, y]) => Math.hypot(x, y)), now.distance ?? 0, 1e-12) * 1.2;
    this.reach = farthest > this.reach ? farthest : this.reach + 0.35 * (farthest - this.reach);
    const half = Math.min(width, height - CAPTION) / 2;
    const [cx, cy] = [width / 2, half];
    const wide = half * Math.min(1.6, width / height);
    svg("line", { class: "gridline", x1: cx - wide, x2: cx + wide, y1: cy, y2: cy }, root);
    svg("line", { class: "gridline", x1: cx, x2: cx, y1: cy - half, y2: cy + half }, root);
    this.circle(root, now, cx, cy, half);
    const even = (x, y) => [cx + (x / this.reach) * half, cy - (y / this.reach) * half];
    const trailed = points.length <= TRAILED;
    const within = svg("clipPath", { id: "within-map" }, root);
    svg("rect", { width, height: height - CAPTION }, within);
    const trails = svg("g", { "clip-path": "url(#within-map)" }, root);
    points.forEach(([which, x, y], index) => {
      const agent = there[index];
      const trail = [...(this.trails.get(which) ?? []), [x, y]].slice(-TRAIL);
      this.trails.set(which, trail);
      if (trailed && trail.length > 1) {
        const path = trail.map(([a, b], step) => `${step ? "L" : "M"}${even(a, b).map((v) => v.toFixed(1)).join(" ")}`).join("");
        colored(svg("path", { class: "each", d: path }, trails), agent.place, now.agents.length).style.opacity = 0.4;
      }
      const [px, py] = even(x, y);
      const dot = svg("circle", { class: "mark", cx: px, cy: py, r: points.length > 24 ? 4 : 6 }, root);
      dot.style.stroke = "var(--card)";
      dot.style.strokeWidth = 1.5;
      hint(colored(dot, agent.place, now.agents.length), () => `${agent.name}\n${number(agent.to_mean)} from the mean`);
    });
    svg("path", { d: `M${cx - 5} ${cy}h10M${cx} ${cy - 5}v10`, stroke: "var(--ink)", "stroke-width": 1.5 }, root);
    const words = known(now.distance) ? `circle around the mean: consensus distance ${number(now.distance)}` : "the mean is at the cross";
    text(root, 0, height - 3, words);
  }

  circle(root, now, cx, cy, half) {
    if (!known(now.distance) || now.distance <= 0) return;
    const r = (now.distance / this.reach) * half;
    svg("circle", { class: "guide", cx, cy, r }, root).style.stroke = "var(--accent)";
  }
}

// Classical scaling gives a plane up to a turn and a mirror: take those that move the points least.
function turned(points, before) {
  const pairs = points.filter(([number]) => before.has(number)).map(([number, x, y]) => [x, y, ...before.get(number)]);
  if (pairs.length < 2) return points;
  const best = [1, -1].map((mirror) => {
    let [cos, sin] = [0, 0];
    for (const [x, y, u, v] of pairs) {
      cos += x * u + mirror * y * v;
      sin += x * v - mirror * y * u;
    }
    return { mirror, size: Math.hypot(cos, sin), angle: Math.atan2(sin, cos) };
  }).reduce((one, other) => (other.size > one.size ? other : one));
  const [cos, sin] = [Math.cos(best.angle), Math.sin(best.angle)];
  return points.map(([number, x, y]) => [number, cos * x - sin * best.mirror * y, sin * x + cos * best.mirror * y]);
}
