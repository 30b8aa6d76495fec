// Charts: functions of their width that return an SVG, and their place in the page.

/** Shows a chart in a figure, redrawn for its width, with its data as a table. */
function showChart(id, caption, label, draw, dataTable) {
  const figure = byId(id);
  const place = el("div", { class: "chart" });
  figure.replaceChildren(
    el("figcaption", {}, caption),
    place,
    el("details", {}, el("summary", {}, "As a table"), dataTable));
  let width = 0;
  const redraw = () => {
    width = place.clientWidth;
    if (!width) return;
    const picture = draw(width);
    fill(picture, { role: "img", "aria-label": label, width: "100%" }, []);
    place.replaceChildren(picture);
  };
  redraw();
  figure.observer?.disconnect();
  figure.observer = new ResizeObserver(() => {
    if (place.clientWidth !== width) requestAnimationFrame(redraw);
  });
  figure.observer.observe(place);
}

/** Where the pointer is, across a chart that is drawn in pixels. */
const pointerAt = (event, picture) => event.clientX - picture.getBoundingClientRect().left;

const canvas = (width, height, ...children) =>
  svg("svg", { viewBox: `0 0 ${width} ${height}` }, ...children);
const text = (x, y, content, attributes) => svg("text", { x, y, ...attributes }, content);
const line = (x1, y1, x2, y2, name) => svg("line", { x1, y1, x2, y2, class: name });

const linear = ([a, b], [from, to]) => (value) => from + ((value - a) / (b - a || 1)) * (to - from);
const logarithmic = ([a, b], places) => {
  const scale = linear([Math.log(a), Math.log(b)], places);
  return (value) => scale(Math.log(value));
};

/** Round numbers within a range, about `count` of them. */
function ticks([low, high], count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const found = [];
  for (let n = Math.ceil(low / size - 1e-9); n * size <= high + size * 1e-9; n++) found.push(n * size);
  return found;
}

function logTicks([low, high], most) {
  const all = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const factor of [1, 2, 5]) all.push(factor * 10 ** power);
  const inside = all.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  return inside.length > most ? inside.filter((value) => /^[1]|^0\.0*1/.test(String(value))) : inside;
}

/** Percentages on the left. */
const shareAxis = (domain, y, left, right) =>
  ticks(domain, 5).map((value) => [
    line(left, y(value), right, y(value), "grid"),
    text(left - 8, y(value) + 4, percent(value, domain[1] - domain[0] < 0.04 ? 1 : 0), { class: "tick end" }),
  ]);

/** A range around values, with some room. */
function around(values, room = 0.15) {
  const low = Math.min(...values), high = Math.max(...values);
  const pad = Math.max((high - low) * room, 0.01);
  return [Math.max(low - pad, 0), Math.min(high + pad, 1)];
}

/** First and last stage of the chain as bars from 0, the change of each stage, and the branches below. */
function waterfall(measure, zoomed) {
  const value = (stage) => pick(stage, measure);
  const whole = (stage, name) =>
    ({ name, from: 0, to: value(stage), span: intervalOf(stage, measure), total: true });
  const changed = (stage) => {
    const change = changeIn(stage.change, measure), from = value(stages[stage.before]);
    return { name: stage.name, from, to: value(stage), change, span: change.interval.map((bound) => from + bound) };
  };
  const bars = [whole(chain[0], chain[0].name), ...chain.slice(1).map((stage) => ({ ...changed(stage), joint: true }))];
  if (chain.length > 1) bars.push({ ...whole(chain.at(-1), "left at the end"), joint: true });
  bars.push(...branches.map((stage) => ({ ...changed(stage), name: `${stage.name}, of the ${stages[stage.before].name}` })));
  const domain = zoomed ? around(bars.flatMap((bar) => [bar.to, ...bar.span]), 0.2) : [0, 1];
  const longest = Math.max(...bars.map((bar) => textWidth(bar.name, true)));
  return (width) => {
    // Long names stand above their bars.
    const above = width < 620 || longest > 138;
    const left = above ? 2 : 150, rowHeight = above ? 62 : 48, thick = 26, top = 4;
    const height = top + bars.length * rowHeight + 26;
    const x = linear(domain, [left, width - 14]);
    const clamp = (at) => Math.min(Math.max(x(at), left), width - 2);
    return canvas(width, height,
      svg("defs", {}, svg("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
        svg("rect", { width: 6, height: 6, class: "loss" }), line(0, 0, 0, 6, "hatch"))),
      ticks(domain, width < 620 ? 4 : 8).map((at) => [
        line(x(at), top, x(at), height - 22, "grid"),
        text(x(at), height - 6, percent(at, domain[1] - domain[0] < 0.08 ? 1 : 0), { class: "tick middle" }),
      ]),
      bars.map((bar, number) => {
        const y = top + number * rowHeight + (above ? 24 : (rowHeight - thick) / 2), middle = y + thick / 2;
        const start = clamp(bar.total ? domain[0] : Math.min(bar.from, bar.to));
        const end = clamp(bar.total ? bar.to : Math.max(bar.from, bar.to));
        const [low, high] = bar.span.map(clamp);
        const kind = bar.total ? "whole" : bar.change.value < 0 ? "lost" : bar.change.value > 0 ? "gain" : "even";
        return svg("g", { class: "bar" },
          svg("title", {}, bar.name),
          above ? text(left, y - 7, fitted(bar.name, width - left), { class: "name" })
            : text(left - 12, middle + 5, bar.name, { class: "name end" }),
          bar.joint
            ? line(x(bars[number - 1].to), y - rowHeight + thick, x(bars[number - 1].to), y, "joint") : null,
          svg("rect", { x: start, y, width: Math.max(end - start, 2), height: thick, rx: 2, class: kind }),
          ["halo", "whisker"].map((name) => [line(low, middle, high, middle, name),
            [low, high].map((at) => line(at, middle - 5, at, middle + 5, name))]),
          barLabel(bar, { start, end, low, high, left, width, middle }));
      }));
  };
}

/** The label of a bar, as far as it has room: everything, or at least the value. */
function barLabel(bar, { start, end, low, high, left, width, middle }) {
  const parts = bar.total ? [percent(bar.to), `[${range(bar.span)}]`]
    : [points(bar.change.value), pointRange(bar.change.interval), verdictOf(bar.change)];
  const roomLeft = Math.min(start, low) - left - 8, roomRight = width - Math.max(end, high) - 8;
  const candidates = parts.map((_, dropped) => parts.slice(0, parts.length - dropped).join("  "));
  for (const said of candidates) {
    const wide = textWidth(said, true) + 2;
    if (bar.total && end - start > wide + 20) return text(start + 10, middle + 5, said, { class: "on-bar" });
    if (!bar.total && roomLeft > wide) return text(Math.min(start, low) - 8, middle + 5, said, { class: "value end" });
    if (roomRight > wide) return text(Math.max(end, high) + 8, middle + 5, said, { class: "value" });
  }
  return null;
}

/** Recall against K, one line for each stage. */
function recallCurve(width) {
  const height = Math.min(360, Math.max(240, width * 0.42)), left = 48, right = width - 16, bottom = height - 40, top = 12;
  const ks = stages[0].recall_curve.k;
  const domain = around(stages.flatMap((stage) => stage.recall_curve.recall), 0.04);
  const kRange = [1, Math.max(ks.at(-1), 2)];
  const x = logarithmic(kRange, [left, right]), y = linear(domain, [bottom, top]);
  const guide = line(0, top, 0, bottom, "guide");
  guide.style.visibility = "hidden";
  const picture = canvas(width, height,
    shareAxis(domain, y, left, right),
    logTicks(kRange, 8).map((k) => text(x(k), bottom + 18, String(k), { class: "tick middle" })),
    text((left + right) / 2, height - 4, "K: number of neighbours", { class: "tick middle" }),
    stages.map((stage, number) => svg("path", {
      class: `curve ${stageClass(number)}`, "stroke-dasharray": dash(number),
      d: stage.recall_curve.recall.map((recall, place) => `${place ? "L" : "M"}${x(ks[place]).toFixed(1)},${y(recall).toFixed(1)}`).join(""),
    })),
    stages.map((stage, number) => report.ks.filter((k) => k <= ks.at(-1)).map((k) =>
      mark(number, { transform: `translate(${x(k)},${y(stage.recall[k])}) scale(.8)` }))),
    guide);
  picture.addEventListener("pointermove", (event) => {
    const at = pointerAt(event, picture);
    const nearest = ks.reduce((best, k, place) => Math.abs(x(k) - at) < Math.abs(x(ks[best]) - at) ? place : best, 0);
    for (const end of ["x1", "x2"]) guide.setAttribute(end, x(ks[nearest]));
    guide.style.visibility = "visible";
    showTip(event.clientX, event.clientY, el("b", {}, `Recall@${ks[nearest]}`),
      ...stages.map((stage, number) => el("div", { class: "line" }, stageKey(number), percent(stage.recall_curve.recall[nearest]))));
  });
  picture.addEventListener("pointerleave", () => { guide.style.visibility = "hidden"; hideTip(); });
  return picture;
}

/**
 * Recall against the cost of models with a known cost. Lines join `groups` of comparable models.
 */
function tradeOff(measure, cost, unit, groups) {
  const shown = groups.flat();
  return (width) => {
    const height = 280, left = 48, right = width - 20, bottom = height - 42, top = 18;
    const domain = around(shown.flatMap((stage) => intervalOf(stage, measure)));
    const costs = shown.map((stage) => stage.cost[cost]);
    const span = [Math.min(...costs) / 1.8, Math.max(...costs) * 1.8];
    const x = logarithmic(span, [left, right]), y = linear(domain, [bottom, top]);
    const place = (stage) => [x(stage.cost[cost]), y(pick(stage, measure))];
    const labelled = labelPlaces(left, width, shown.map(place));
    return canvas(width, height,
      shareAxis(domain, y, left, right),
      logTicks(span, Math.max(Math.floor(width / 70), 2)).map((value) => [
        line(x(value), top, x(value), bottom, "grid"),
        text(x(value), bottom + 18, String(Number(value.toPrecision(2))), { class: "tick middle" })]),
      text((left + right) / 2, height - 5, `${unit}, less is better`, { class: "tick middle" }),
      groups.map((group) => svg("path", { class: "trend", d: group.map((stage, row) => `${row ? "L" : "M"}${place(stage)}`).join("") })),
      shown.map((stage) => {
        const number = numberOf(stage), [at, high] = place(stage);
        const [low, top95] = intervalOf(stage, measure);
        const amount = short(stage.cost[cost]);
        return svg("g", {},
          svg("title", {}, `${stage.name} ${amount}`),
          line(at, y(low), at, y(top95), `whisker-stage ${stageClass(number)}`),
          mark(number, { transform: `translate(${at},${high})` }),
          labelled(at, high, `${fitted(stage.name, width * 0.4)} ${amount}`));
      }));
  };
}

/** Writes labels next to points where they hide neither each other nor another point, if there is room. */
function labelPlaces(left, right, marks) {
  const taken = marks.map(([x, y]) => [x - 8, y - 8, x + 8, y + 8]);
  const free = (box) => box[0] >= left && box[2] <= right
    && taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
  return (x, y, content) => {
    const wide = textWidth(content) + 2;
    const boxAt = ([dx, dy]) => [x + dx, y + dy - 8, x + dx + wide, y + dy + 8];
    const places = [0, -20, 20, -38, 38, -56, 56].flatMap((dy) =>
      [[12, dy], [-12 - wide, dy], [-wide / 2, dy || -24], [left - x, dy || -24], [right - wide - x, dy || -24]]);
    const box = places.map(boxAt).find(free);
    if (!box) return null;  // its mark stands in the caption
    taken.push(box);
    return text(box[0], box[3] - 4, content, { class: "value" });
  };
}

/** Distances of pairs of one class, and of different classes, each as a share of its pairs. */
function distanceHistogram(distances, [first, last]) {
  const total = (counts) => counts.reduce((sum, count) => sum + count, 0) || 1;
  const kinds = ["positive", "negative"].map((kind) => distances[kind].map((count) => count / total(distances[kind])));
  return (width) => {
    const height = 190, left = 6, right = width - 6, bottom = height - 34, top = 8;
    const edges = distances.edges;
    const x = linear([edges[first], edges[last]], [left, right]);
    const y = linear([0, Math.max(...kinds.flat(), 1e-9)], [bottom, top]);
    const outline = (shares) => {
      let path = `M${x(edges[first])},${bottom}`;
      for (let bin = first; bin < last; bin++) path += `V${y(shares[bin]).toFixed(1)}H${x(edges[bin + 1]).toFixed(1)}`;
      return `${path}V${bottom}Z`;
    };
    const picture = canvas(width, height,
      ticks([edges[first], edges[last]], 4).map((value) => [
        line(x(value), bottom, x(value), bottom + 4, "axis"),
        text(x(value), bottom + 18, String(Number(value.toPrecision(3))), { class: "tick middle" })]),
      line(left, bottom, right, bottom, "axis"),
      svg("path", { class: "negative", d: outline(kinds[1]) }),
      svg("path", { class: "positive", d: outline(kinds[0]) }),
      text((left + right) / 2, height - 3, "distance", { class: "tick middle" }));
    picture.addEventListener("pointermove", (event) => {
      const at = pointerAt(event, picture);
      const bin = Math.min(Math.max(edges.findIndex((edge) => x(edge) > at) - 1, first), last - 1);
      showTip(event.clientX, event.clientY, el("b", {}, `${edges[bin].toFixed(2)} to ${edges[bin + 1].toFixed(2)}`),
        el("div", {}, `same class ${percent(kinds[0][bin])}`), el("div", {}, `different ${percent(kinds[1][bin])}`));
    });
    picture.addEventListener("pointerleave", hideTip);
    return picture;
  };
}
