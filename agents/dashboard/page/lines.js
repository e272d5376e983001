// Line charts over local steps: one thin line an agent, a strong one for all, on a plain or logarithmic scale.

import { colored, fixed, hide, known, number, picture, raised, show, svg, text, ticks } from "./draw.js";

const SHOWN = 360; // Points of a line: more are not seen.
const LEFT = 46, TOP = 8, BOTTOM = 24;
const DECADES = 8; // Of a logarithmic scale, at most: what is smaller stands on its floor.

// series: {values, kind: "each" | "sum", place, gone, name}. guide: {step, value, slope, words}. counts: agents in all.
export function lines(element, { steps, series, log = false, guide = null, count = 1, digits = 3, end = "", most = Infinity }) {
  const { root, width, height } = picture(element);
  const stride = Math.max(1, Math.ceil(steps.length / SHOWN));
  const chosen = steps.map((_, place) => place).filter((place) => (steps.length - 1 - place) % stride === 0);
  const all = series.flatMap((each) => chosen.map((place) => each.values[place])).filter(known);
  if (guide) all.push(guide.value); // Which the stride may have skipped.
  const usable = log ? all.filter((value) => value > 0) : all;
  if (!usable.length) {
    text(root, width / 2, height / 2, "nothing yet", { "text-anchor": "middle" });
    return;
  }
  const scale = log ? decades(usable) : plain(usable, most);
  const right = end ? 62 : 14;
  const first = steps[chosen[0]], last = steps[chosen[chosen.length - 1]];
  const span = Math.max(last - first, 1);
  const x = (step) => LEFT + ((step - first) / span) * (width - LEFT - right);
  const y = (value) => TOP + (1 - scale.place(value)) * (height - TOP - BOTTOM);
  for (const [value, words] of scale.ticks(height)) {
    svg("line", { class: "gridline", x1: LEFT, x2: width - right, y1: y(value), y2: y(value) }, root);
    text(root, LEFT - 7, y(value) + 4, words, { "text-anchor": "end" });
  }
  const along = ticks(first, first + span, Math.max(2, Math.floor((width - LEFT) / 110)));
  for (const step of along.found) {
    if (x(step) > LEFT + 14) text(root, x(step), height - 7, step.toLocaleString("en-US"), { "text-anchor": "middle" });
    svg("line", { class: "axis", x1: x(step), x2: x(step), y1: height - BOTTOM, y2: height - BOTTOM + 4 }, root);
  }
  svg("line", { class: "axis", x1: LEFT, x2: width - right, y1: height - BOTTOM, y2: height - BOTTOM }, root);
  text(root, LEFT - 7, height - 7, "step", { "text-anchor": "end" });
  const faint = Math.max(0.28, Math.min(0.85, 5 / Math.max(count, 1)));
  const ordered = [...series].sort((one, other) => (one.kind === "sum") - (other.kind === "sum"));
  for (const each of ordered) {
    const path = traced(chosen, steps, each.values, x, y, log);
    if (each.kind === "sum") svg("path", { class: "sum halo", d: path }, root);
    const drawn = svg("path", { class: `${each.kind} ${each.style ?? ""} ${each.gone ? "gone" : ""}`, d: path }, root);
    if (each.kind === "each") colored(drawn, each.place, count).style.opacity = faint;
    dots(root, chosen, steps, each, x, y, count);
  }
  if (guide) drawn(root, guide, scale, x, y, width - right);
  const strong = ordered[ordered.length - 1];
  const tail = chosen.findLast((place) => known(strong.values[place]));
  if (end && tail !== undefined) {
    const beside = Math.max(TOP + 8, Math.min(y(strong.values[tail]), height - BOTTOM - 14));
    text(root, x(steps[tail]) + 7, beside - 1, fixed(strong.values[tail], digits), { class: "strong" });
    text(root, x(steps[tail]) + 7, beside + 12, end);
  }
  follow(root, { chosen, steps, series: ordered, x, y, width, height, right, digits });
}

function traced(chosen, steps, values, x, y, log) {
  let path = "", pen = "M";
  for (const place of chosen) {
    const value = values[place];
    if (!known(value) || (log && value <= 0)) continue; // A line goes on over what is not known.
    path += `${pen}${x(steps[place]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  }
  return path;
}

// Where only a few moments are known, each is a dot: a line of one point isn't seen.
function dots(root, chosen, steps, each, x, y, count) {
  const there = chosen.filter((place) => known(each.values[place]));
  if (there.length > 3) return;
  for (const place of there) {
    const dot = svg("circle", { class: `mark ${each.gone ? "gone" : ""}`, cx: x(steps[place]), cy: y(each.values[place]), r: 3 }, root);
    if (each.kind === "each") colored(dot, each.place, count);
    else dot.setAttribute("class", `mark sum ${each.style ?? ""}`);
  }
}

// A straight line on a logarithmic scale: by what share of itself something shrinks in a step.
function drawn(root, { step, value, slope, words }, scale, x, y, right) {
  const floor = scale.low;
  const until = step + Math.log(floor / value) / Math.log1p(Math.max(slope, -0.999999));
  const end = Math.min(Math.max(x(until), x(step) + 1), right); // However steep, it is seen.
  if (!known(end) || end <= x(step)) return;
  const lowest = y(Math.max(floor, value * (1 + slope) ** ((end - x(step)) / (x(step + 1) - x(step)))));
  svg("path", { class: "guide", d: `M${x(step)} ${y(value)}L${end} ${lowest}` }, root);
  const fall = lowest - y(value), run = end - x(step);
  if (fall > run) text(root, end + 7, lowest - 7, words, { class: "guide-text" });
  else text(root, x(step) + 0.7 * run, y(value) + 0.7 * fall - 9, words, { class: "guide-text" });
}

// most: what no value exceeds.
function plain(values, most) {
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  if (low >= 0 && low < high * 0.35) low = 0;
  else low -= room;
  high = Math.min(high + room, Math.max(most, high));
  return {
    low,
    place: (value) => (value - low) / (high - low),
    ticks: (height) => ticks(low, high, Math.floor(height / 48)).found.map((value) => [value, number(value)]),
  };
}

function decades(values) {
  const top = Math.max(...values);
  const high = Math.log10(top) + 0.08;
  const low = Math.max(Math.log10(Math.min(...values)) - 0.08, high - DECADES);
  const span = Math.max(high - low, 0.3);
  const floor = high - span;
  const place = (value) => Math.max(0, (Math.log10(Math.max(value, 1e-300)) - floor) / span);
  const marked = (height) => {
    const most = Math.max(2, height / 30);
    const between = [[1], [1, 3], [1, 2, 5]].findLast((times) => times.length * span <= most) ?? [1];
    const every = Math.max(1, Math.ceil(span / most));
    const found = [];
    for (let whole = Math.floor(floor); whole <= high; whole += 1) {
      if (whole % every) continue;
      for (const times of between) {
        const value = times * 10 ** whole;
        const plain = whole >= -2 && whole <= 3 ? number(value) : `${times > 1 ? `${times}·` : ""}10${raised(whole)}`;
        if (Math.log10(value) >= floor && Math.log10(value) <= high) found.push([value, plain]);
      }
    }
    if (found.length >= 2) return found;
    return ticks(10 ** floor, 10 ** high, 4).found.filter((value) => value > 0).map((value) => [value, number(value)]);
  };
  return { low: 10 ** floor, place, ticks: marked };
}

// What stands under the pointer: the strong line's value, and the nearest thin one's.
function follow(root, { chosen, steps, series, x, y, width, height, right, digits }) {
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden" }, root);
  const field = svg("rect", { x: LEFT, y: 0, width: Math.max(0, width - LEFT - right), height, fill: "transparent" }, root);
  field.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); hide(); });
  field.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    const [atX, atY] = [event.clientX - box.left, event.clientY - box.top];
    const near = (place) => Math.abs(x(steps[place]) - atX);
    const place = chosen.reduce((best, each) => (near(each) < near(best) ? each : best), chosen[0]);
    const there = series.filter((each) => known(each.values[place]));
    if (!there.length) return;
    const strong = there.filter((each) => each.kind === "sum");
    const thin = there.filter((each) => each.kind === "each");
    const nearest = thin.reduce((best, each) =>
      !best || Math.abs(y(each.values[place]) - atY) < Math.abs(y(best.values[place]) - atY) ? each : best, null);
    const shown = [...strong, ...(nearest ? [nearest] : [])].map((each) => `${each.name}: ${fixed(each.values[place], digits)}`);
    cursor.setAttribute("visibility", "visible");
    cursor.setAttribute("x1", x(steps[place]));
    cursor.setAttribute("x2", x(steps[place]));
    show(event, [`step ${Math.round(steps[place]).toLocaleString("en-US")}`, ...shown].join("\n"));
  });
}
