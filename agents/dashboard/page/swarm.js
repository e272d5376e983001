// The graph of the swarm: agents on a circle, edges as the topology has them, and exchanges that light up.

import { age, colored, number, picture, shortened, svg, hint, text } from "./draw.js";

const NAMED = 24; // Agents up to which their names stand beside them.
const GLOW_S = 0.8; // How long an exchange is seen.
const PULSES = 40; // That run at a time.
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Swarm {
  constructor(element) {
    this.element = element;
    this.shape = "";
  }

  draw(now) {
    const { width, height } = this.element.getBoundingClientRect();
    const shape = JSON.stringify([now.agents.map((agent) => agent.name), now.edges, Math.round(width), Math.round(height)]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.lay(now);
    }
    const far = new Set(now.alarms.filter(([kind]) => kind === "far").map(([, name]) => name));
    now.agents.forEach((agent, place) => {
      const node = this.nodes[place];
      node.setAttribute("class", `node ${agent.state} ${far.has(agent.name) ? "far" : ""}`);
      node.dataset.state = agent.state;
    });
    this.now = now;
    this.light(now);
  }

  lay(now) {
    const { root, width, height } = picture(this.element);
    const count = now.agents.length;
    const named = count <= NAMED;
    const longest = Math.max(...now.agents.map((agent) => shortened(agent.name, 16).length), 1);
    const side = named ? Math.min(longest * 6.6 + 16, width * 0.24) : 14;
    this.size = count <= 8 ? 13 : count <= 16 ? 10 : count <= 32 ? 7.5 : count <= 96 ? 5.5 : 3.5;
    const round = { x: width / 2, y: height / 2, wide: width / 2 - side - this.size, high: height / 2 - (named ? 30 : 14) - this.size };
    const radius = Math.max(20, Math.min(round.wide, round.high));
    const wide = Math.min(round.wide, radius * 1.12);
    this.at = now.agents.map((_, place) => {
      const angle = (2 * Math.PI * place) / count - Math.PI / 2;
      return [round.x + wide * Math.cos(angle), round.y + radius * Math.sin(angle), angle];
    });
    this.center = [round.x, round.y];
    const edges = svg("g", {}, root);
    const dense = now.edges.length > 4 * count;
    for (const [first, second] of now.edges) {
      const edge = svg("path", { class: "edge", d: this.curve(first, second) }, edges);
      if (dense) edge.style.opacity = 0.35;
    }
    this.sparks = svg("g", {}, root);
    this.lit = new Map();
    this.pulses = svg("g", {}, root);
    const nodes = svg("g", {}, root);
    this.nodes = now.agents.map((agent, place) => this.node(nodes, agent, place, count, named));
  }

  node(parent, agent, place, count, named) {
    const [x, y, angle] = this.at[place];
    const size = this.size;
    const node = svg("g", { class: "node", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, parent);
    node.dataset.agent = agent.name;
    colored(node, place, count);
    svg("circle", { class: "ring", r: size + 3 }, node);
    svg("circle", { r: size }, node);
    const arm = size * 0.42;
    svg("path", { d: `M${-arm} ${-arm}L${arm} ${arm}M${-arm} ${arm}L${arm} ${-arm}` }, node);
    if (named) {
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      const anchor = Math.abs(cos) < 0.3 ? "middle" : cos > 0 ? "start" : "end";
      text(node, cos * (size + 9), sin * (size + 11) + 4 + (anchor === "middle" ? Math.sign(sin) * 6 : 0), shortened(agent.name, 16),
        { class: "name", "text-anchor": anchor });
    }
    return hint(node, () => described(this.now.agents[place]));
  }

  // Neighbors on the circle are joined straight, others by an arc that bends to the middle.
  curve(first, second) {
    const [x1, y1] = this.at[first], [x2, y2] = this.at[second];
    const count = this.at.length;
    const apart = Math.abs(first - second);
    if (Math.min(apart, count - apart) <= 1 || count < 4) return `M${x1} ${y1}L${x2} ${y2}`;
    const pull = 0.4 * Math.sin((Math.PI * Math.min(apart, count - apart)) / count);
    const [mx, my] = [(x1 + x2) / 2, (y1 + y2) / 2];
    return `M${x1} ${y1}Q${mx + (this.center[0] - mx) * pull} ${my + (this.center[1] - my) * pull} ${x2} ${y2}`;
  }

  light(now) {
    for (const [first, second, since, rate] of now.links) {
      const key = `${first}-${second}`;
      const glow = since < GLOW_S * 2 ? Math.exp(-since / GLOW_S) : 0;
      let spark = this.lit.get(key);
      if (!spark && glow > 0.05) {
        spark = svg("path", { class: "spark", d: this.curve(first, second) }, this.sparks);
        spark.style.strokeWidth = Math.max(1.6, this.size / 3.4);
        this.lit.set(key, spark);
      }
      if (spark) spark.style.opacity = glow.toFixed(3);
      if (since < 0.7 && rate > 0) this.pulse(first, second);
    }
  }

  // A dot from each side: an exchange moves both.
  pulse(first, second) {
    if (still.matches || document.hidden || this.pulses.childElementCount > PULSES) return;
    const along = svg("path", { d: this.curve(first, second) });
    const length = along.getTotalLength();
    for (const back of [false, true]) {
      const dot = svg("circle", { class: "pulse", r: Math.max(2.2, this.size / 3.5) }, this.pulses);
      const moves = [0, 0.25, 0.5, 0.75, 1].map((share) => {
        const { x, y } = along.getPointAtLength(length * (back ? 1 - share : share));
        return { transform: `translate(${x}px, ${y}px)`, opacity: share === 1 ? 0 : 1 };
      });
      dot.animate(moves, { duration: 480, easing: "ease-in-out" }).finished.then(() => dot.remove(), () => dot.remove());
    }
  }
}

function described(agent) {
  const parts = [agent.name, `${agent.state}, step ${agent.step.toLocaleString("en-US")}`];
  if (agent.loss !== null) parts.push(`loss ${number(agent.loss)}`);
  if (agent.to_mean !== null) parts.push(`${number(agent.to_mean)} from the mean`);
  parts.push(`${agent.exchanges.toLocaleString("en-US")} exchanges`, `last seen ${age(agent.age_s)} ago`);
  return parts.join("\n");
}
