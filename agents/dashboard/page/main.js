// Follows the events of the dashboard's server, and redraws what they change. Names come from peers: text, never HTML.

import { layers, sent } from "./bars.js";
import { age, bytes, colored, fixed, html, known, number, svg } from "./draw.js";
import { lines } from "./lines.js";
import { Places } from "./places.js";
import { Swarm } from "./swarm.js";

const POINTS = 1440; // Of the history, at most: of a longer one each second, fourth, eighth ... is kept.
const ALARMS = 6;
const LINES = 128; // Agents with a line of their own.
const AGAIN_MS = 2000; // After so long the server is asked again where it refused.
const ORDER = ["joining", "ready", "training", "settling", "stalled", "silent", "dead", "left"];
const WORDS = { settling: "finished", dead: "gone" };

const at = (id) => document.getElementById(id);
const swarm = new Swarm(at("graph"));
const places = new Places(at("map"));
let points = [], count = 0, every = 1, now = null, heard = 0;

let events = null;
follow();

// While nobody sees the page it is closed: a browser has six connections to a server, and the server so many pages.
function follow() {
  if (events) events.close();
  events = null;
  if (document.hidden) return;
  heard = performance.now();
  const opened = events = new EventSource("/events");
  opened.addEventListener("open", () => { [points, count, every] = [[], 0, 1]; });
  opened.addEventListener("error", () => {
    status("lost", "the dashboard has ended");
    if (opened.readyState === EventSource.CLOSED) refused();
  });
  opened.addEventListener("message", received);
}

async function refused() {
  try {
    const answer = await fetch("/events", { method: "HEAD" });
    if (answer.status === 503) status("lost", "too many pages are open");
  } finally {
    setTimeout(follow, AGAIN_MS);
  }
}

function received(event) {
  const news = JSON.parse(event.data);
  for (const point of news.points) add(point);
  if (!news.now) return;
  now = news.now;
  now.agents.forEach((agent, place) => { agent.place = place; });
  heard = performance.now();
  if (!document.hidden) requestAnimationFrame(draw);
}

document.addEventListener("visibilitychange", () => {
  follow();
  if (now && !document.hidden) draw();
});
addEventListener("resize", () => { if (now) draw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (now) draw(); });

function add(point) {
  if (points.length && points[points.length - 1].count % every) points.pop(); // It was kept as the last one alone.
  point.count = count;
  count += 1;
  points.push(point);
  if (points.length <= POINTS) return;
  every *= 2;
  points = points.filter((each, place) => each.count % every === 0 || place === points.length - 1);
}

function draw() {
  const shown = document.querySelector("main");
  const scored = points.some((point) => known(point[4]) || known(point[6]));
  const mapped = now.agents.some((agent) => known(agent.x));
  const layered = Boolean(now.models && now.models.layers.length);
  shown.classList.toggle("scored", scored);
  shown.classList.toggle("ended", now.ended);
  shown.classList.toggle("unmapped", !mapped);
  shown.classList.toggle("unlayered", !layered);
  at("score-card").hidden = !scored;
  at("map-card").hidden = !mapped;
  at("layers-card").hidden = !layered;
  head();
  tiles();
  alarms();
  swarm.draw(now);
  legend();
  distance();
  each("loss", "loss", 2, 3, "mean");
  if (scored) each("score", now.metric, 4, 5, "mean");
  if (mapped) places.draw(now);
  if (layered) {
    const pulled = known(now.models.step);
    at("layers-note").textContent = pulled ? `distance to the mean, step ${number(now.models.step)}` : "distance to neighbors, as exchanges find";
    layers(at("layers"), now.models);
  }
  sent(at("bytes"), at("bytes-note"), now);
  table();
  document.body.dataset.agents = now.agents.length;
  document.body.dataset.step = now.step;
}

function head() {
  at("title").textContent = now.task && now.task !== now.title ? `${now.task} — ${now.title}` : now.title;
  const parts = [now.topology, now.parameters ? `${now.parameters.toLocaleString("en-US")} parameters` : "", now.where];
  at("about").textContent = parts.filter(Boolean).join(" · ");
  document.title = `${now.title} · Gossamer`;
  if (now.ended) status("ended", "finished");
  else if (now.lost) status("lost", "no agent answers");
  else status("live", "live");
}

function status(kind, words) {
  at("status").className = kind;
  at("status").querySelector(".text").textContent = words;
}

function tile(name, value, unit, note, share = null) {
  const inside = html("dd", {}, html("div", { class: "value" }, value, html("span", { class: "unit" }, unit)));
  if (share !== null) {
    const bar = html("i");
    bar.style.width = `${Math.min(100, 100 * share).toFixed(1)}%`;
    inside.append(html("div", { class: "bar" }, bar));
  }
  inside.append(html("div", { class: "note" }, note));
  return html("dl", { class: "tile" }, html("dt", {}, name), inside);
}

function tiles() {
  const living = now.agents.filter((agent) => agent.alive || now.ended);
  const steps = Math.max(...now.agents.map((agent) => agent.steps), 0);
  const losses = living.map((agent) => agent.loss).filter(known);
  const mean = losses.length ? losses.reduce((one, other) => one + other, 0) / losses.length : null;
  const paces = living.map((agent) => agent.steps_s).filter(known);
  const pace = paces.length ? paces.reduce((one, other) => one + other, 0) / paces.length : null;
  const total = now.agents.reduce((sum, agent) => sum + agent.bytes_sent, 0);
  const [rate, unit] = bytes(now.bytes_s ?? 0);
  const done = now.agents.reduce((sum, agent) => sum + agent.exchanges, 0) / 2;
  const gone = now.agents.length - living.length;
  const doubling = known(now.slope) && now.slope !== 0 ? Math.abs(Math.LN2 / Math.log1p(Math.max(now.slope, -0.999999))) : Infinity;
  const trend = doubling > 10 * Math.max(now.step, 100) ? "steady" : `${now.slope > 0 ? "doubles" : "halves"} in ${number(Number(doubling.toPrecision(2)))} steps`;
  const seen = now.distance ?? points.findLast((point) => known(point[1]))?.[1] ?? null; // Those that have left aren't compared.
  at("tiles").replaceChildren(
    tile("Agents", String(living.length), `of ${now.agents.length}`, gone ? `${gone} gone or left` : now.ended ? "all have ended" : "all are here"),
    tile("Step", number(now.step), known(pace) ? `${number(pace)}/s` : "", steps ? `of ${steps.toLocaleString("en-US")}` : "no end set", steps ? now.step / steps : null),
    tile("Loss", fixed(mean, 3), "", losses.length ? `${fixed(Math.min(...losses), 3)} to ${fixed(Math.max(...losses), 3)}` : "none published"),
    tile("Consensus distance", number(seen), "", known(now.distance) ? trend : known(seen) ? "when last known" : "not known yet"),
    tile("Exchanges", now.exchanges_s >= 0.05 ? number(now.exchanges_s) : "0", "/s", `${number(done)} in all`),
    tile("Sent", rate, `${unit}/s`, `${bytes(total).join(" ")} in all`),
  );
}

function alarms() {
  at("alarms").hidden = !now.alarms.length;
  const shown = now.alarms.slice(0, ALARMS).map(([kind, agent, words]) =>
    html("p", {}, html("span", { class: "kind" }, WORDS[kind] ?? kind), html("b", {}, agent), `: ${words}`));
  const more = now.alarms.length - ALARMS;
  if (more > 0) shown.push(html("p", { class: "more" }, `and ${more} more`));
  at("alarms").replaceChildren(...shown);
}

function legend() {
  const counts = new Map();
  for (const agent of now.agents) counts.set(agent.state, (counts.get(agent.state) ?? 0) + 1);
  const items = ORDER.filter((state) => counts.has(state)).map((state) => {
    const mark = svg("svg", { viewBox: "-8 -8 16 16", class: "swatch" });
    const node = svg("g", { class: `node ${state}` }, mark);
    svg("circle", { class: "ring", r: 7 }, node);
    svg("circle", { r: 5 }, node);
    svg("path", { d: "M-2 -2L2 2M-2 2L2 -2" }, node);
    return html("li", {}, mark, `${counts.get(state)} ${WORDS[state] ?? state}`);
  });
  at("legend").replaceChildren(...items);
  at("graph-note").textContent = now.links.length ? "edges light up with each exchange" : "";
}

// What is measured seldom is the same in many points: a line goes from one change to the next.
function changes(values) {
  const last = values.findLastIndex(known);
  return values.map((value, place) => (place === last || value !== values[place - 1] ? value : null));
}

function distance() {
  const steps = points.map((point) => point[0]);
  const values = changes(points.map((point) => point[1]));
  const peak = values.reduce((best, value, place) => (known(value) && (best < 0 || value > values[best]) ? place : best), -1);
  const half = known(now.predicted) && now.predicted < 0 ? Math.log(0.5) / Math.log1p(Math.max(now.predicted, -0.999999)) : null;
  const words = known(half) ? `exchanges alone halve it in ${half < 1 ? "a step" : `${number(half, 2)} steps`}` : "";
  const guide = peak >= 0 && known(half) ? { step: steps[peak], value: values[peak], slope: now.predicted, words: "predicted" } : null;
  at("distance-note").textContent = words;
  lines(at("distance"), { steps, series: [{ values, kind: "sum", style: "accent", name: "distance" }], log: true, guide, end: "now" });
}

function each(id, name, mean, own, end) {
  const steps = points.map((point) => point[0]);
  const count = now.agents.length;
  const series = [];
  const kept = id === "score" ? changes : (values) => values;
  for (const agent of now.agents) {
    if (agent.number >= LINES) continue; // The first stand for the others.
    series.push({ values: kept(points.map((point) => point[own][agent.number] ?? null)), kind: "each", place: agent.place, gone: !agent.alive && !now.ended, name: agent.name });
  }
  const means = kept(points.map((point) => point[mean]));
  const merged = kept(points.map((point) => point[6]));
  series.push({ values: means, kind: "sum", name: "mean of agents" });
  const judged = id === "score" && merged.some(known);
  if (judged) series.push({ values: merged, kind: "sum", style: "accent", name: "merged" });
  const seen = series.flatMap((one) => one.values).filter((value) => known(value) && value > 0);
  const log = id === "loss" && seen.length > 0 && Math.max(...means.filter(known)) / Math.max(1e-12, Math.min(...means.filter(known))) > 20;
  if (id === "score") at("score-name").textContent = name.charAt(0).toUpperCase() + name.slice(1);
  at(`${id}-note`).textContent = judged ? "agents, mean and merged" : "agents and their mean";
  lines(at(id), { steps, series, log, count, end: judged ? "merged" : end, most: name === "accuracy" ? 1 : Infinity });
}

function table() {
  const scored = now.agents.some((agent) => known(agent.score));
  const coded = now.agents.some((agent) => agent.codec && agent.codec !== "float32");
  const paced = now.agents.some((agent) => known(agent.steps_s));
  const apart = now.agents.some((agent) => known(agent.to_mean));
  const columns = [
    ["step", (agent) => stepped(agent)],
    ...(paced ? [["steps/s", (agent) => number(agent.steps_s)], ["waits", (agent) => (known(agent.waited) ? `${Math.round(agent.waited * 100)} %` : "–")]] : []),
    ["loss", (agent) => fixed(agent.loss, 4)],
    ...(scored ? [[now.metric, (agent) => fixed(agent.score, 4)]] : []),
    ...(apart ? [["to mean", (agent) => number(agent.to_mean)]] : []),
    ["exchanges", (agent) => agent.exchanges.toLocaleString("en-US")],
    ["sent", (agent) => bytes(agent.bytes_sent).join(" ")],
    ...(coded ? [["codec", (agent) => agent.codec]] : []),
    ["shard", (agent) => agent.shard || "–"],
    ["last seen", (agent) => `${age(agent.age_s)} ago`],
  ];
  const top = html("thead", {}, html("tr", {}, ...["agent", "state", ...columns.map(([name]) => name)].map((name) => html("th", { scope: "col" }, name))));
  const rows = now.agents.map((agent) => {
    const chip = colored(html("span", { class: "chip" }), agent.place, now.agents.length);
    const cells = columns.map(([, value]) => html("td", {}, value(agent)));
    const name = html("td", {}, chip, html("span", { class: "text", title: agent.name }, agent.name));
    const state = html("td", { class: `state-${ORDER.includes(agent.state) ? agent.state : "other"}` }, WORDS[agent.state] ?? agent.state);
    return html("tr", { class: agent.alive || now.ended ? "" : "gone" }, name, state, ...cells);
  });
  at("table").replaceChildren(top, html("tbody", {}, ...rows));
  at("table-note").textContent = now.agents.length > 12 ? `${now.agents.length}, by name` : "";
}

function stepped(agent) {
  const words = agent.step.toLocaleString("en-US");
  if (!agent.steps) return words;
  const bar = html("i");
  bar.style.width = `${Math.min(100, (100 * agent.step) / agent.steps).toFixed(1)}%`;
  const cell = document.createDocumentFragment();
  cell.append(html("span", { class: "bar" }, bar), html("span", { class: "count" }, words));
  return cell;
}

setInterval(() => {
  if (now && !now.ended && performance.now() - heard > 5000) status("lost", `silent for ${age((performance.now() - heard) / 1000)}`);
}, 1000);
