"use strict";
// Basics of all parts of the page: the data, elements, numbers as text, tables, tips.

const { report, pictures } = JSON.parse(document.getElementById("data").textContent);
const stages = report.steps;
const embedding = stages.filter((stage) => "parameters" in stage.cost);
// The stages from the first model to the end of production, and other formats of one of them.
const chain = stages.filter((stage) => !stage.branch);
const branches = stages.filter((stage) => stage.branch);
const models = chain.filter((stage) => embedding.includes(stage));
const numberOf = (stage) => stages.indexOf(stage);

const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** Makes an HTML element. Texts become text nodes, never markup. */
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** Makes an SVG element. */
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// Numbers.

const NARROW = "\u202f";
const minus = (text) => text.replace("-", "\u2212");
const whole = (value) => Math.round(value).toLocaleString("en-US");

function percent(share, digits = 1) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)}${NARROW}%`;
}

/** A difference of shares, in percentage points; small ones with one more digit. */
function points(difference) {
  const value = 100 * difference;
  const digits = value !== 0 && Math.abs(value) < 0.95 ? 2 : 1;
  return (value > 0 ? "+" : "") + minus(value.toFixed(digits));
}

const range = ([low, high]) => `${(100 * low).toFixed(1)}–${(100 * high).toFixed(1)}`;
const pointRange = ([low, high]) => `[${points(low)}, ${points(high)}]`;

/** A positive number with about three significant digits. */
function short(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 99.5) return whole(value);
  return value >= 9.95 ? value.toFixed(1) : value >= 0.095 ? value.toFixed(2) : value.toPrecision(2);
}

const times = (ratio) => `${ratio >= 9.95 ? whole(ratio) : ratio.toFixed(1)}×`;

function verdictOf(change) {
  if (change.interval[0] === 0 && change.interval[1] === 0 && change.value === 0) return "no change";
  return change.beyond_noise ? "beyond noise" : "within noise";
}

// Measures, recall first.

const measures = [
  ...report.ks.map((k) => ({ name: `Recall@${k}`, path: ["recall", String(k)] })),
  { name: "MAP@R", path: ["map_at_r"] },
  { name: "R-precision", path: ["r_precision"] },
];
const pick = (object, measure) => measure.path.reduce((inner, key) => inner?.[key], object);
const headline = measures[0];

// Intervals over queries or over classes, whichever the report shows.

const over = report.intervals_shown;
const intervalOf = (stage, measure) => pick(stage.intervals_over[over], measure);
const changeIn = (changes, measure) => {
  const change = pick(changes, measure);
  return { value: change.value, ...change.intervals_over[over] };
};

// Stages keep their colour, mark and dash on the whole page; the seventh has the first colour again,
// with another mark and dash.

const DASHES = ["", "", "9 5", "2 4", "12 4 2 4", "5 3"];
const MARKS = [
  "M-5,-5H5V5H-5Z",
  "M0,-6A6,6 0 1 1 0,6A6,6 0 1 1 0,-6Z",
  "M0,-7L6.5,5H-6.5Z",
  "M0,-7L7,0L0,7L-7,0Z",
  "M0,7L6.5,-5H-6.5Z",
  "M-2,-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
];
const stageClass = (number) => `stage-${number % 6}`;
const variant = (number) => (number + Math.floor(number / 6)) % 6;
const dash = (number) => DASHES[variant(number)];
const mark = (number, attributes) =>
  svg("path", { d: MARKS[variant(number)], class: `mark ${stageClass(number)}`, ...attributes });
const stageKey = (number) =>
  el("span", { class: "key" },
    svg("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, mark(number)),
    el("span", {}, breakable(stages[number].name)));

/** A name that may be broken after its punctuation marks. */
const breakable = (name) => name.split(/(?<=[_./\-])/).flatMap((part) => [part, el("wbr")]);

/** Makes a table: a caption, headings, and rows whose first cell is their heading. */
function table(caption, headings, rows, attributes = {}) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", attributes,
      el("caption", {}, el("span", {}, caption)),
      el("thead", {}, el("tr", {}, headings.map((heading) => el("th", { scope: "col" }, heading)))),
      el("tbody", {}, rows.map((row) => tableRow(row)))));
}

function tableRow(cells, attributes = {}) {
  const [first, ...rest] = cells;
  return el("tr", attributes, el("th", { scope: "row" }, first), rest.map((cell) => el("td", {}, cell)));
}

/** Makes buttons, one of which is pressed. */
function choices(host, names, chosen, onChoose) {
  const buttons = names.map((name, number) =>
    el("button", {
      type: "button",
      "aria-pressed": String(number === chosen),
      onclick: () => {
        buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(other === number)));
        onChoose(number);
      },
    }, name));
  host.replaceChildren(...buttons);
}

function choose(label, options, onchange, attributes = {}) {
  return el("label", {}, el("span", {}, label),
    el("select", { onchange: (event) => onchange(event.target.value), ...attributes },
      options.map(([value, text]) => el("option", { value }, text))));
}

// Names of files can be longer than the space for them.

const ruler = document.createElement("canvas").getContext("2d");

/** Width of a text in a chart, in pixels. */
function textWidth(content, bold = false) {
  ruler.font = `${bold ? 600 : 400} 13px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(content).width;
}

/** A name that fits a width; one that is too long loses its middle, as the ends of file names differ. */
function fitted(name, width) {
  if (textWidth(name, true) <= width) return name;
  for (let kept = name.length - 2; kept > 4; kept--) {
    const end = Math.ceil(kept * 0.7);
    const short = `${name.slice(0, kept - end)}…${name.slice(-end)}`;
    if (textWidth(short, true) <= width) return short;
  }
  return `…${name.slice(-4)}`;
}

// Images and classes. Folders are often called 017.Horned_Lark: that is shown as "Horned Lark", unless
// two classes would then have the same name.

const nameOf = (row) => report.images[row].class;
const spoken = (name) => name.replace(/^\d+[._ -]+/, "").replaceAll("_", " ").trim();
const classNames = stages[0].per_class.map((row) => row.class);
const readable = new Set(classNames.map(spoken)).size === classNames.length && !classNames.map(spoken).includes("");
const label = (name) => (readable ? spoken(name) : name);

function thumbnail(row, alt) {
  const picture = pictures[row];
  if (picture) return el("img", { src: picture, alt, width: 96, height: 96 });
  return el("span", { class: "no-picture", role: "img", "aria-label": alt }, "not in this page");
}

// One tip for the whole page.

function showTip(x, y, ...content) {
  const tip = byId("tip");
  tip.replaceChildren(...content);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 16 + box.width > innerWidth ? x - 12 - box.width : x + 16;
  tip.style.left = `${Math.max(left, 4)}px`;
  tip.style.top = `${Math.min(Math.max(y - box.height / 2, 4), innerHeight - box.height - 4)}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}
