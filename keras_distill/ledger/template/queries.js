// Queries with their neighbours: changed queries between two stages, and samples.

const PAGE = 12;

/** A query and the neighbours that some stages found. */
function queryCard(row, shown, facts) {
  const query = report.queries[row], image = report.images[row];
  return el("article", { class: "card", "aria-label": `Query ${image.path}` },
    el("header", {}, thumbnail(row, `Query: ${label(image.class)}`),
      el("div", {}, el("h4", {}, label(image.class)), el("p", { class: "path" }, image.path), facts)),
    alike(query, shown).map((group) => gallery(query, group, row)));
}

/** Groups of stages, one after the other, that found the same neighbours. */
function alike(query, shown) {
  const answer = (stage) => `${query.neighbours[stage]}:${query.first_match[stage]}`;
  const groups = [];
  for (const stage of shown) {
    const last = groups.at(-1);
    if (last && answer(last[0]) === answer(stage)) last.push(stage);
    else groups.push([stage]);
  }
  return groups;
}

function gallery(query, group, row) {
  const stage = group[0];
  return el("div", { class: "answer-row" },
    el("p", { class: "by" }, el("span", { class: "names" }, group.map(stageKey)), el("small", {}, rankText(query.first_match[stage]))),
    el("ol", { class: "gallery" }, query.neighbours[stage].map((neighbour, place) =>
      neighbourItem(neighbour, query.distances[stage][place], nameOf(row)))));
}

function neighbourItem(neighbour, distance, expected) {
  if (neighbour === null) return el("li", { class: "nothing" }, "nothing found");
  const right = nameOf(neighbour) === expected;
  const where = distance === null ? "" : `, distance ${distance.toFixed(3)}`;
  return el("li", { class: right ? "right" : "wrong", title: `${report.images[neighbour].path}${where}` },
    thumbnail(neighbour, `${right ? "Right" : "Wrong"}: ${label(nameOf(neighbour))}${where}`),
    el("span", { class: "badge", "aria-hidden": "true" }, right ? "✓" : "✗"),
    el("span", { class: "caption", "aria-hidden": "true" }, label(nameOf(neighbour))));
}

const depth = Math.max(...stages[0].recall_curve.k);
const rankText = (rank) => rank === 1 ? "right at once" : rank ? `first right one at rank ${rank}` : `no right one in ${depth}`;

/** Shows cards of rows, some at a time; returns a function that shows others. */
function pagedCards(host, button, size, card) {
  let rows = [], count = 0;
  const more = () => {
    const next = rows.slice(count, count + size);
    const cards = next.map(card);
    host.append(...cards);
    count += next.length;
    button.hidden = count >= rows.length;
    button.textContent = `Show ${Math.min(size, rows.length - count)} more of ${whole(rows.length - count)}`;
    return cards[0];
  };
  button.addEventListener("click", () => {
    const first = more();
    first?.setAttribute("tabindex", "-1");
    first?.focus({ preventScroll: true });
  });
  return (others) => {
    rows = others;
    count = 0;
    host.replaceChildren();
    more();
  };
}

const filters = { pair: 0, kind: "regressed", class: "", words: "" };

function setUpQueries() {
  if (!report.comparisons.length) {
    byId("query-filters").hidden = true;
    byId("query-count").textContent = "There is only one stage, so nothing could change.";
    byId("query-more").hidden = true;
    return;
  }
  // Where the most was lost.
  const lost = report.comparisons.map((comparison) => comparison.regressed_count);
  const single = report.comparisons.map(({ from, to }) => stages[to].before === from);
  filters.pair = lost.indexOf(Math.max(...lost.filter((_, number) => single[number])));
  const form = byId("query-filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.append(
    choose("Between", report.comparisons.map((comparison, number) =>
      [number, `${stages[comparison.from].name} → ${stages[comparison.to].name} (${whole(comparison.regressed_count)} worse, ${whole(comparison.improved_count)} better)`]),
    (value) => setFilter({ pair: Number(value), class: "" }), { id: "query-pair" }),
    choose("Queries that", [["regressed", "got worse"], ["improved", "got better"]], (value) => setFilter({ kind: value, class: "" }), { id: "query-kind" }),
    el("label", {}, el("span", {}, "Class"), el("select", { id: "query-class", onchange: (event) => setFilter({ class: event.target.value }) })),
    el("label", {}, el("span", {}, "Name contains"),
      el("input", { type: "search", id: "query-words", oninput: (event) => setFilter({ words: event.target.value }) })));
  byId("query-pair").value = String(filters.pair);
  showQueries = pagedCards(byId("query-list"), byId("query-more"), PAGE, (row) => {
    const { from, to } = report.comparisons[filters.pair];
    const precision = report.queries[row].average_precision;
    return queryCard(row, [from, to], precision[from] === null ? null
      : el("p", { class: "facts-line" }, `Average precision ${precision[from].toFixed(2)} → ${precision[to].toFixed(2)}`));
  });
  setFilter({});
}
let showQueries;

function setFilter(changed) {
  Object.assign(filters, changed);
  const comparison = report.comparisons[filters.pair];
  const rows = comparison[filters.kind];
  if ("class" in changed || "pair" in changed || !byId("query-class").options.length) fillClasses(rows);
  byId("query-kind").value = filters.kind;
  byId("query-class").value = filters.class;
  const words = filters.words.trim().toLowerCase();
  const chosen = rows.filter((row) =>
    (!filters.class || nameOf(row) === filters.class)
    && (!words || `${report.images[row].path} ${label(nameOf(row))}`.toLowerCase().includes(words)));
  const all = comparison[`${filters.kind}_count`];
  const listed = all > rows.length ? `, the ${whole(rows.length)} ${filters.kind === "regressed" ? "worst" : "best"} of ${whole(all)} listed` : "";
  const narrowed = filters.class || words ? `${whole(chosen.length)} of ${whole(rows.length)} queries match` : `${whole(rows.length)} queries`;
  byId("query-count").textContent = `${narrowed}${listed}.`;
  showBalance(comparison);
  showQueries(chosen);
}

function fillClasses(rows) {
  const counts = new Map();
  rows.forEach((row) => counts.set(nameOf(row), (counts.get(nameOf(row)) ?? 0) + 1));
  if (filters.class && !counts.has(filters.class)) counts.set(filters.class, 0);
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || a.localeCompare(b));
  byId("query-class").replaceChildren(
    el("option", { value: "" }, "all"),
    ...sorted.map(([name, count]) => el("option", { value: name }, `${label(name)} (${count})`)));
}

/** All queries as one bar: right in both, worse, better, wrong in both. */
function showBalance(comparison) {
  const parts = [
    ["both-right", "right in both", comparison.both_right],
    ["got-worse", "got worse", comparison.regressed_count],
    ["got-better", "got better", comparison.improved_count],
    ["both-wrong", "wrong in both", comparison.both_wrong],
  ];
  byId("query-balance").replaceChildren(
    el("span", { class: "stack", "aria-hidden": "true" },
      parts.map(([name, , count]) => el("span", { class: name, style: `flex-grow:${count}` }))),
    ...parts.map(([name, label, count]) => el("span", { class: "part" }, el("i", { class: name, "aria-hidden": "true" }), `${whole(count)} ${label}`)));
}

function showClassQueries(name) {
  setFilter({ class: name });
  byId("queries").scrollIntoView();
  byId("query-class").focus({ preventScroll: true });
}

function setUpSamples() {
  const all = stages.map((_, number) => number);
  pagedCards(byId("sample-list"), byId("sample-more"), 6, (row) => queryCard(row, all, null))(report.samples);
}
