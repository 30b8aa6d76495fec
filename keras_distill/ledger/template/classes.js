// Recall by class, as a table that sorts.

const CLASS_PAGE = 25;
const classView = { measure: headline, by: "change", descending: false, words: "", count: CLASS_PAGE };

function classRows(measure) {
  return stages[0].per_class.map((first, number) => {
    const values = stages.map((stage) => pick(stage.per_class[number], measure));
    const change = chain.length > 1 && values[0] !== null ? values[chain.length - 1] - values[0] : null;
    return { name: first.class, queries: first.queries, values, change, taken: chain.at(-1).per_class[number].taken_for };
  });
}

function showClasses() {
  const { measure, by, descending, words } = classView;
  const key = (row) => by === "name" ? label(row.name) : by === "queries" ? row.queries : by === "change" ? row.change ?? row.values[0] : row.values[by];
  const order = (a, b) => (typeof key(a) === "string" ? key(a).localeCompare(key(b)) : (key(a) ?? 2) - (key(b) ?? 2)) || a.name.localeCompare(b.name);
  const rows = classRows(measure).filter((row) => `${row.name} ${label(row.name)}`.toLowerCase().includes(words.trim().toLowerCase()));
  rows.sort((a, b) => descending ? order(b, a) : order(a, b));
  const shown = rows.slice(0, classView.count);
  byId("classes-lead").textContent =
    `${measure.name} within each class. With few queries in a class, differences are mostly noise.`;
  const columns = [["name", "Class"], ["queries", "Queries"], ...stages.map((stage, number) => [number, breakable(fitted(stage.name, 130)), stage.name]),
    ...(chain.length > 1 ? [["change", "Change"]] : [])];
  const heading = ([column, label, title]) => el("th", { scope: "col", title, "aria-sort": by === column ? (descending ? "descending" : "ascending") : "none" },
    el("button", { type: "button", class: "sort", onclick: () => sortClasses(column) }, label, el("span", { "aria-hidden": "true" }, by === column ? (descending ? " ↓" : " ↑") : "")));
  const cells = (row) => [
    report.comparisons.length ? el("button", { type: "button", class: "link", onclick: () => showClassQueries(row.name), title: "Its queries that changed" }, breakable(label(row.name))) : breakable(label(row.name)),
    String(row.queries),
    ...row.values.map((value) => percent(value, 0)),
    ...(chain.length > 1 ? [row.change === null ? "–" : points(row.change)] : []),
    dumbbell(row.values),
    row.taken ? [breakable(label(row.taken.class)), ` (${row.taken.queries})`] : "–",
  ];
  byId("class-table").replaceChildren(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Recall by class" },
    el("table", {},
      el("caption", {}, el("span", {}, `${measure.name} of ${whole(rows.length)} classes. ${chain.length > 1 ? `“Change” is from ${chain[0].name} to ${chain.at(-1).name}. ` : ""}“Mostly taken for” is the class of the wrong first neighbours of the ${chain.at(-1).name}.`)),
      el("thead", {}, el("tr", {}, columns.map(heading),
        el("th", { scope: "col" }, "0 – 100 %"), el("th", { scope: "col" }, "Mostly taken for"))),
      el("tbody", {}, shown.map((row) => tableRow(cells(row)))))));
  const more = byId("class-more");
  more.hidden = rows.length <= shown.length;
  more.textContent = `Show ${Math.min(CLASS_PAGE, rows.length - shown.length)} more of ${whole(rows.length - shown.length)}`;
}

/** First and last stage of the chain on a line from 0 to 1. */
function dumbbell(values) {
  const [first, last] = [values[0] ?? 0, values[chain.length - 1] ?? 0].map((value) => 8 + 74 * value);
  return svg("svg", { width: 90, height: 16, viewBox: "0 0 90 16", "aria-hidden": "true", class: "dumbbell" },
    line(8, 8, 82, 8, "grid"), line(first, 8, last, 8, last < first ? "fell" : "rose"),
    mark(0, { transform: `translate(${first},8) scale(.75)` }),
    chain.length > 1 ? mark(chain.length - 1, { transform: `translate(${last},8) scale(.75)` }) : null);
}

function sortClasses(column) {
  classView.descending = classView.by === column ? !classView.descending : false;
  classView.by = column;
  showClasses();
  document.querySelector("#class-table th:not([aria-sort=none]) .sort")?.focus();
}

function setUpClasses() {
  const form = byId("class-filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.append(
    choose("Measure", measures.map((measure, number) => [number, measure.name]), (value) => {
      classView.measure = measures[Number(value)];
      showClasses();
    }, { id: "class-measure" }),
    el("label", {}, el("span", {}, "Name contains"), el("input", {
      type: "search", id: "class-words",
      oninput: (event) => { classView.words = event.target.value; classView.count = CLASS_PAGE; showClasses(); },
    })));
  byId("class-more").addEventListener("click", () => { classView.count += CLASS_PAGE; showClasses(); });
  showClasses();
}
