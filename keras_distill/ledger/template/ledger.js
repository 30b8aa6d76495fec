// The verdict, the ledger itself, and the cost of the stages.

const lastModel = models.at(-1);
const firstModel = models[0];

function showTitle() {
  const name = report.run.split("/").filter(Boolean).slice(-2).join("/");
  document.title = `Recall ledger of ${name}`;
  byId("run").textContent = name;
  byId("setting").textContent =
    `${report.data}, ${report.split} split: ${whole(report.queries_in_all)} queries of ${whole(report.classes)} classes. ${report.date}`;
}

function showVerdict() {
  const last = chain.at(-1), value = pick(last, headline);
  const seen = report.classes_seen_in_training.length;
  const warning = seen
    ? ` The student was trained on ${whole(seen)} of the ${whole(report.classes)} classes, so this does not show how well it retrieves unseen ones.` : "";
  if (chain.length === 1) {
    byId("verdict").append(`${headline.name} of the ${last.name} is `, el("strong", {}, percent(value)), ".", warning);
    return;
  }
  const first = chain[0], before = pick(first, headline), total = changeIn(report.total, headline);
  byId("verdict").append(
    `From ${first.name} to ${last.name}, ${headline.name} goes from ${percent(before)} to `,
    el("strong", {}, percent(value)), ": ",
    before > 0 && value <= before ? `${percent(value / before, 0)} of it is kept. ` : "",
    total.beyond_noise ? "The difference is more than noise." : "The difference is within noise.", warning);
}

function answer(question, big, ...rest) {
  return el("div", { class: "answer" }, el("h2", {}, question), el("p", { class: "big" }, big), rest);
}

const changeList = (changes) => el("ul", {}, changes.map(([stage, change]) =>
  el("li", {}, el("span", {}, breakable(stage.name), stage.branch && stage.cost.milliseconds
    ? el("small", {}, ` ${short(stage.cost.milliseconds)}${NARROW}ms in ${stage.cost.timed_in}`) : null), el("span", { class: change.beyond_noise ? "sure" : "" }, points(change.value)))));

function showAnswers() {
  const host = byId("answers");
  const changesOf = (some) => some.map((stage) => [stage, changeIn(stage.change, headline)]);
  if (chain.length > 1) {
    const total = changeIn(report.total, headline);
    const comparison = report.comparisons.find(({ from, to }) => from === 0 && to === chain.length - 1);
    const changes = changesOf(chain.slice(1));
    const unsure = (verdict) => changes.filter(([, change]) => verdictOf(change) === verdict).map(([stage]) => stage.name).join(", ");
    host.append(
      answer("Where did it go?", [points(total.value), el("small", {}, " points")], changeList(changes)),
      answer("Is it more than noise?", total.beyond_noise ? "Yes" : "No",
        el("p", {}, `95${NARROW}% interval over the ${over}: ${pointRange(total.interval)}.`),
        unsure("within noise") ? el("p", {}, `Within noise on its own: ${unsure("within noise")}.`) : null,
        unsure("no change") ? el("p", {}, `No change at all: ${unsure("no change")}.`) : null),
      answer("Which queries got worse?", [whole(comparison.regressed_count), el("small", {}, ` of ${whole(report.queries_in_all)}`)],
        el("p", {}, `Right before, wrong now; ${whole(comparison.improved_count)} went the other way. `, el("a", { href: "#queries" }, "Look at them")),
        worstClass()));
  }
  host.append(boughtAnswer());
  if (branches.length) {
    const changes = changesOf(branches), worst = Math.min(...changes.map(([, change]) => change.value));
    host.append(answer("And in other formats?", [points(worst), el("small", {}, branches.length > 1 ? " points at worst" : " points")],
      el("p", {}, `Against the ${stages[branches[0].before].name}, from which they were made:`), changeList(changes)));
  }
}

function worstClass() {
  const rows = classRows(headline).filter((row) => row.change !== null).sort((a, b) => a.change - b.change);
  return rows.length && rows[0].change < 0
    ? el("p", {}, `Worst class: ${label(rows[0].name)}, ${points(rows[0].change)}.`) : null;
}

const formatOf = (stage) => /\.\w+$/.exec(stage.model)?.[0] ?? "SavedModel";

/** The last model that is timed in the same runtime as the first one: of the chain, or else of the branches. */
function timedAlike() {
  const { timed_in: runtime, milliseconds } = firstModel.cost;
  return milliseconds === null ? undefined : [...branches, ...models]
    .filter((stage) => stage !== firstModel && stage.cost.milliseconds && stage.cost.timed_in === runtime).at(-1);
}

function boughtAnswer() {
  const [from, to] = [firstModel.cost, lastModel.cost], alike = timedAlike();
  // Numbers of weights are comparable across formats, whose files also hold graphs and names.
  const weighed = from.parameters && to.parameters;
  const size = weighed ? from.parameters / to.parameters : from.megabytes && to.megabytes && from.megabytes / to.megabytes;
  const time = alike && from.milliseconds / alike.cost.milliseconds;
  const details = [
    weighed && firstModel !== lastModel ? el("p", {}, `${whole(from.parameters)} → ${whole(to.parameters)} weights.`) : null,
    to.megabytes === null ? null : el("p", {}, from.megabytes && firstModel !== lastModel
      ? `${short(from.megabytes)} → ${short(to.megabytes)}${NARROW}MB on disk (${formatOf(firstModel)} → ${formatOf(lastModel)}).` : `${short(to.megabytes)}${NARROW}MB on disk.`),
    time ? el("p", {}, `${short(from.milliseconds)} → ${short(alike.cost.milliseconds)}${NARROW}ms an image, ${firstModel.name} → ${alike.name}, both in ${from.timed_in}.`) : null,
    lastModel !== alike && to.milliseconds
      ? el("p", {}, `${lastModel.name}: ${short(to.milliseconds)}${NARROW}ms an image in ${to.timed_in}.`) : null,
  ];
  if (firstModel === lastModel || !(size || time))
    return answer("What does it take?", to.megabytes === null ? "–" : [short(to.megabytes), el("small", {}, " MB")], details);
  const ratio = (value, better, worse) => value >= 1 ? `${times(value)} ${better}` : `${times(1 / value)} ${worse}`;
  const said = [size && ratio(size, ...(weighed ? ["fewer weights", "more weights"] : ["smaller", "larger"])), time && ratio(time, "faster", "slower")].filter(Boolean);
  return answer("What did it buy?", said.map((part) => el("span", { class: "part" }, part)), details);
}

/** Stages and the changes between them in turn, then the branches, all measures next to each other. */
function showLedger() {
  const cell = (value, span) => [el("span", { class: "figure" }, value), el("small", {}, span)];
  const changeRow = (name, change, kind) => {
    const cells = measures.map((measure) => {
      const part = changeIn(change, measure);
      const verdict = verdictOf(part);
      return el("span", { class: `change ${verdict.startsWith("beyond") ? (part.value < 0 ? "loss" : "gain") : ""}` },
        cell(points(part.value), pointRange(part.interval)), el("small", { class: "chip" }, verdict));
    });
    return tableRow([name, ...cells], { class: kind });
  };
  const rowsOf = (stage) => [
    ...(stage.change ? [changeRow(stage.branch ? ["by ", breakable(stage.name), `, of the ${stages[stage.before].name}`] : `by the ${stage.name}`, stage.change, "change-row")] : []),
    tableRow([stageKey(numberOf(stage)), ...measures.map((measure) =>
      cell(percent(pick(stage, measure)), range(intervalOf(stage, measure))))], { class: "stage-row" }),
  ];
  const rows = chain.flatMap(rowsOf);
  if (report.total) rows.push(changeRow("All together", report.total, "total-row"));
  rows.push(...branches.flatMap(rowsOf));
  const host = table(
    `Shares of ${whole(report.queries_in_all)} queries, and changes in percentage points, each with its 95 % interval over the ${over}: ${report.interval_meaning[over]}.`,
    ["Stage", ...measures.map((measure) => measure.name)], []);
  host.querySelector("tbody").append(...rows);
  byId("ledger-table").replaceChildren(host);
}

function showNotes() {
  const notes = [];
  stages.forEach((stage) => {
    notes.push(...stage.notes.map((note) => [stage.name, note]));
    const compared = stage.compared_with_before;
    if (!compared || stage.index.agreement) return;
    const same = `Of the ${compared.same_neighbours.k} nearest, ${percent(compared.same_neighbours.share)} are the same as in the ${stages[stage.before].name}.`;
    const { mean, least } = compared.cosine ?? {};
    const cosine = mean === undefined ? ""
      : ` Cosine with its vectors: mean ${minus(mean.toFixed(4))}, least ${minus(least.toFixed(4))}${mean < 0.5 ? ", so they lie in another space" : ""}.`;
    notes.push([stage.name, same + cosine]);
  });
  byId("notes").replaceChildren(...notes.map(([name, note]) => el("li", {}, el("b", {}, breakable(name)), ` ${note}`)));
}

function showPrice() {
  const rows = stages.map((stage, number) => {
    const cost = stage.cost, search = cost.queries_per_second;
    return [
      stageKey(number),
      short(cost.megabytes),
      cost.parameters ? whole(cost.parameters) : "–",
      String(stage.index.dim),
      cost.image_size ? `${cost.image_size} px` : "–",
      time(cost, "milliseconds", cost.timed_in),
      time(cost, "milliseconds_from_jpeg"),
      search ? [`${whole(search)} queries/s`, el("small", {}, `exact ${whole(cost.exact_queries_per_second)}`)]
        : cost.images_per_second ? `${whole(cost.images_per_second)} images/s` : "–",
    ];
  });
  byId("price-table").replaceChildren(table(
    "Cost of each stage; below the times, the middle half of the calls and the runtime: only times in the same runtime are comparable. The index holds the vectors of all images.",
    ["Stage", "MB on disk", "Parameters", "Width", "Input", "ms an image", "ms from JPEG", "Throughput"], rows));
}

const time = (cost, name, runtime) => cost[name]
  ? [short(cost[name]), el("small", {}, cost[`${name}_quartiles`].map(short).join("–")), runtime ? el("small", {}, runtime) : null] : "–";

/** The charts of the chosen measure. */
function showFigures(measure) {
  const zoomed = byId("zoom").checked;
  const changeOf = (stage) => stage.change && changeIn(stage.change, measure);
  const sentence = stages.map((stage) => `${stage.name} ${percent(pick(stage, measure))}`).join(", ");
  showChart("waterfall",
    [el("b", {}, `${measure.name}, stage by stage. `), zoomed ? "The axis does not begin at 0. " : "",
      `Whiskers are 95${NARROW}% intervals over the ${over}: of the share for whole bars, of the change for the others.`],
    `Waterfall of ${measure.name}: ${sentence}.`, waterfall(measure, zoomed),
    table(`${measure.name} by stage`, ["Stage", measure.name, "95 % interval", "Change", "95 % interval", ""],
      stages.map((stage) => [stage.name, percent(pick(stage, measure)), range(intervalOf(stage, measure)),
        ...(changeOf(stage) ? [points(changeOf(stage).value), pointRange(changeOf(stage).interval), verdictOf(changeOf(stage))] : ["", "", ""])])));
  for (const [id, cost, what, unit] of [
    ["by-size", "megabytes", "size", "MB on disk"],
    ["by-time", timeKey(), "time", timeKey() === "milliseconds" ? "ms an image" : "ms an image, from JPEG"],
  ]) {
    const groups = comparable(cost), shown = groups.flat();
    if (!shown.length) {
      byId(id).replaceChildren();
      continue;
    }
    showChart(id, [el("b", {}, `${measure.name} against ${what}. `), comparableNote(cost, groups),
      el("span", { class: "keys" }, shown.map((stage) => stageKey(numberOf(stage))))],
      `${measure.name} against ${what}: ${shown.map((stage) => `${stage.name} ${short(stage.cost[cost])} ${unit}, ${percent(pick(stage, measure))}`).join("; ")}.`,
      tradeOff(measure, cost, unit, groups),
      table(`${measure.name} against ${what}`, ["Stage", unit, ...(cost === "milliseconds" ? ["in"] : []), measure.name],
        shown.map((stage) => [stage.name, short(stage.cost[cost]), ...(cost === "milliseconds" ? [stage.cost.timed_in] : []), percent(pick(stage, measure))])));
  }
}

/** Models with a known cost, in groups within which it is comparable. */
function comparable(cost) {
  const groups = {};
  for (const stage of embedding.filter((one) => one.cost[cost] > 0))
    (groups[cost === "milliseconds" ? stage.cost.timed_in : ""] ??= []).push(stage);
  return Object.values(groups);
}

const comparableNote = (cost, groups) => cost === "milliseconds" && groups.length > 1
  ? `Times in ${groups.map(([stage]) => stage.cost.timed_in).join(", ")}: only times in the same runtime are comparable; lines join them. ` : "";

/** Time without decoding, unless a model takes only files. */
const timeKey = () =>
  embedding.every((stage) => stage.cost.milliseconds || !stage.cost.milliseconds_from_jpeg)
    ? "milliseconds" : "milliseconds_from_jpeg";

function showCurve() {
  const curves = {};
  stages.forEach((stage) => (curves[stage.recall_curve.recall] ??= []).push(stage));
  const coincide = Object.values(curves).filter((group) => group.length > 1)
    .map((group) => ` The lines of ${group.map((stage) => stage.name).join(", ")} coincide.`);
  const ks = stages[0].recall_curve.k;
  showChart("curve",
    [el("b", {}, "Recall against K. "), el("span", { class: "keys" }, stages.map((_, number) => stageKey(number))),
      coincide],
    `Recall against K for ${stages.map((stage) => stage.name).join(", ")}, from K = 1 to ${ks.at(-1)}.`, recallCurve,
    table("Recall against K", ["K", ...stages.map((stage) => stage.name)],
      ks.map((k, place) => [String(k), ...stages.map((stage) => percent(stage.recall_curve.recall[place]))])));
}
