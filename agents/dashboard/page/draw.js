// What all pictures share: SVG elements, scales, numbers as people read them, and the tooltip.

const SVG = "http://www.w3.org/2000/svg";
const tip = document.getElementById("tip");

export function svg(name, attributes = {}, parent = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
}

export function html(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
}

export function text(parent, x, y, what, attributes = {}) {
  const made = svg("text", { x, y, ...attributes }, parent);
  made.textContent = what;
  return made;
}

// A fresh picture in this element, as large as it is.
export function picture(element) {
  const { width, height } = element.getBoundingClientRect();
  const made = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  element.replaceChildren(made);
  return { root: made, width, height };
}

// An agent's color: hues go round as agents do, so neighbors on a ring look alike.
export function hue(place, count) {
  return (235 + (360 * place) / Math.max(count, 1)) % 360;
}

export function colored(element, place, count) {
  element.style.setProperty("--hue", hue(place, count).toFixed(1));
  return element;
}

export function hint(element, words) {
  element.addEventListener("pointerenter", (event) => show(event, words()));
  element.addEventListener("pointermove", (event) => show(event, words()));
  element.addEventListener("pointerleave", hide);
  return element;
}

export function show(event, words) {
  tip.textContent = words;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = event.clientX + 14 + width > innerWidth ? event.clientX - width - 14 : event.clientX + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - height - 4))}px`;
}

export function hide() {
  tip.hidden = true;
}

export const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export function number(value, digits = 3) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return power(value, digits);
  const rounded = size >= 1000 ? Math.round(value) : Number(value.toPrecision(digits));
  return Math.abs(rounded) >= 1000 ? rounded.toLocaleString("en-US") : String(rounded);
}

function trimmed(words) {
  return words.includes(".") ? words.replace(/0+$/, "").replace(/\.$/, "") : words;
}

export function fixed(value, digits) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 10 ** (1 - digits) || size >= 1e5)) return power(value, 3);
  return value.toFixed(digits);
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
export function raised(whole) {
  return (whole < 0 ? "⁻" : "") + [...String(Math.abs(whole))].map((digit) => RAISED[digit]).join("");
}

function power(value, digits) {
  const [size, exponent] = value.toExponential(Math.min(digits, 3) - 1).split("e");
  const times = trimmed(size);
  return `${times === "1" ? "" : `${times}·`}10${raised(Number(exponent))}`;
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let place = 0;
  while (value >= 999.5 && place < units.length - 1) [value, place] = [value / 1000, place + 1];
  return [place ? number(value) : String(Math.round(value)), units[place]];
}

export function age(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

export function shortened(name, most) {
  return name.length <= most ? name : `${name.slice(0, most - 1)}…`;
}

// Round numbers between two values, some `count` of them.
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * ([1, 2, 5, 10].find((times) => times * size >= rough) ?? 10);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
  return { found, step };
}
