// The verdict, the ledger itself, and what the steps take.

const lastModel = embedding.at(-1);
const firstModel = embedding[0];

function showTitle() {
  const name = report.run.split("/").filter(Boolean).slice(-2).join("/");
  document.title = `Recall ledger of ${name}`;
  byId("run").textContent = name;
  byId("setting").textContent =
    `${report.data}, ${report.split} split: ${whole(report.queries_in_all)} queries of ${whole(report.classes)} classes. ${report.date}`;
}

function showVerdict() {
  const last = steps.at(-1), value = pick(last, headline);
  if (steps.length === 1) {
    byId("verdict").append(`${headline.name} of the ${last.name} is `, el("strong", {}, percent(value)), ".");
    return;
  }
  const first = steps[0], before = pick(first, headline), total = pick(report.total, headline);
  byId("verdict").append(
    `From ${first.name} to ${last.name}, ${headline.name} goes from ${percent(before)} to `,
    el("strong", {}, percent(value)), ": ",
    before > 0 ? `${percent(value / before, 0)} of it is kept. ` : "",
    total.beyond_noise ? "The difference is more than noise." : "The difference is within noise.");
}

function answer(question, big, ...rest) {
  return el("div", { class: "answer" }, el("h2", {}, question), el("p", { class: "big" }, big), rest);
}

function showAnswers() {
  const host = byId("answers");
  if (steps.length > 1) {
    const total = pick(report.total, headline), comparison = report.comparisons.at(-1);
    const changes = steps.slice(1).map((step) => [step, pick(step.change, headline)]);
    const unsure = (verdict) => changes.filter(([, change]) => verdictOf(change) === verdict).map(([step]) => step.name).join(", ");
    host.append(
      answer("Where did it go?", [points(total.value), el("small", {}, " points")],
        el("ul", {}, changes.map(([step, change]) =>
          el("li", {}, el("span", {}, step.name), el("span", { class: change.beyond_noise ? "sure" : "" }, points(change.value)))))),
      answer("Is it more than noise?", total.beyond_noise ? "Yes" : "No",
        el("p", {}, `95${NARROW}% interval over the queries: ${pointRange(total.interval)}.`),
        unsure("within noise") ? el("p", {}, `Within noise on its own: ${unsure("within noise")}.`) : null,
        unsure("no change") ? el("p", {}, `No change at all: ${unsure("no change")}.`) : null),
      answer("Which queries got worse?", [whole(comparison.regressed_count), el("small", {}, ` of ${whole(report.queries_in_all)}`)],
        el("p", {}, `Right before, wrong now; ${whole(comparison.improved_count)} went the other way. `, el("a", { href: "#queries" }, "Look at them")),
        worstClass()));
  }
  host.append(boughtAnswer());
}

function worstClass() {
  const rows = classRows(headline).filter((row) => row.change !== null).sort((a, b) => a.change - b.change);
  return rows.length && rows[0].change < 0
    ? el("p", {}, `Worst class: ${label(rows[0].name)}, ${points(rows[0].change)}.`) : null;
}

const formatOf = (step) => /\.\w+$/.exec(step.model)?.[0] ?? "SavedModel";

function boughtAnswer() {
  const [from, to] = [firstModel.cost, lastModel.cost];
  // Weights are comparable across formats, which add graphs and names of their own to a file.
  const weighed = from.parameters && to.parameters;
  const size = weighed ? from.parameters / to.parameters : from.megabytes && to.megabytes && from.megabytes / to.megabytes;
  const time = from.milliseconds && to.milliseconds && from.milliseconds / to.milliseconds;
  const details = [
    weighed && firstModel !== lastModel ? el("p", {}, `${whole(from.parameters)} → ${whole(to.parameters)} weights.`) : null,
    to.megabytes === null ? null : el("p", {}, from.megabytes && firstModel !== lastModel
      ? `${short(from.megabytes)} → ${short(to.megabytes)}${NARROW}MB on disk (${formatOf(firstModel)} → ${formatOf(lastModel)}).` : `${short(to.megabytes)}${NARROW}MB on disk.`),
    to.milliseconds === null ? null : el("p", {}, time && firstModel !== lastModel
      ? `${short(from.milliseconds)} → ${short(to.milliseconds)}${NARROW}ms an image.` : `${short(to.milliseconds)}${NARROW}ms an image.`),
  ];
  if (firstModel === lastModel || !(size || time))
    return answer("What does it take?", to.megabytes === null ? "–" : [short(to.megabytes), el("small", {}, " MB")], details);
  const ratio = (value, better, worse) => value >= 1 ? `${times(value)} ${better}` : `${times(1 / value)} ${worse}`;
  const said = [size && ratio(size, ...(weighed ? ["fewer weights", "more weights"] : ["smaller", "larger"])), time && ratio(time, "faster", "slower")].filter(Boolean);
  return answer("What did it buy?", said.map((part) => el("span", { class: "part" }, part)), details);
}

/** Steps and the changes between them in turn, all measures beside each other. */
function showLedger() {
  const cell = (value, span) => [el("span", { class: "figure" }, value), el("small", {}, span)];
  const changeRow = (name, change, kind) => {
    const cells = measures.map((measure) => {
      const part = pick(change, measure);
      const verdict = verdictOf(part);
      return el("span", { class: `change ${verdict.startsWith("beyond") ? (part.value < 0 ? "loss" : "gain") : ""}` },
        cell(points(part.value), pointRange(part.interval)), el("small", { class: "chip" }, verdict));
    });
    return tableRow([name, ...cells], { class: kind });
  };
  const rows = steps.flatMap((step, number) => [
    ...(number ? [changeRow(`by the ${step.name}`, step.change, "change-row")] : []),
    tableRow([stepKey(number), ...measures.map((measure) =>
      cell(percent(pick(step, measure)), range(pick(step.intervals, measure))))], { class: "step-row" }),
  ]);
  if (report.total) rows.push(changeRow("All together", report.total, "total-row"));
  const host = table(
    `Shares of ${whole(report.queries_in_all)} queries, and changes in percentage points, each with its 95 % interval over the queries.`,
    ["Step", ...measures.map((measure) => measure.name)], []);
  host.querySelector("tbody").append(...rows);
  byId("ledger-table").replaceChildren(host);
}

function showNotes() {
  const notes = [];
  steps.forEach((step) => {
    notes.push(...step.notes.map((note) => [step.name, note]));
    const compared = step.compared_with_before;
    if (!compared || step.index.agreement) return;
    const same = `Of the ${compared.same_neighbours.k} nearest, ${percent(compared.same_neighbours.share)} are those of the step before.`;
    const { mean, least } = compared.cosine ?? {};
    const cosine = mean === undefined ? ""
      : ` Cosine with its vectors: mean ${minus(mean.toFixed(4))}, least ${minus(least.toFixed(4))}${mean < 0.5 ? ", so they are of another space" : ""}.`;
    notes.push([step.name, same + cosine]);
  });
  byId("notes").replaceChildren(...notes.map(([name, note]) => el("li", {}, el("b", {}, name), ` ${note}`)));
}

function showPrice() {
  const rows = steps.map((step, number) => {
    const cost = step.cost, search = cost.queries_per_second;
    return [
      stepKey(number),
      short(cost.megabytes),
      cost.parameters ? whole(cost.parameters) : "–",
      String(step.index.dim),
      cost.image_size ? `${cost.image_size} px` : "–",
      time(cost, "milliseconds"),
      time(cost, "milliseconds_from_jpeg"),
      search ? `${whole(search)} queries/s; exact ${whole(cost.exact_queries_per_second)}`
        : cost.images_per_second ? `${whole(cost.images_per_second)} images/s` : "–",
    ];
  });
  byId("price-table").replaceChildren(table(
    "What each step takes; below the times, the middle half of the calls. The index holds the vectors of all images.",
    ["Step", "MB on disk", "Parameters", "Width", "Sees", "ms an image", "ms from JPEG", "Throughput"], rows));
}

const time = (cost, name) => cost[name]
  ? [short(cost[name]), el("small", {}, cost[`${name}_quartiles`].map(short).join("–"))] : "–";

/** The charts that follow the chosen measure. */
function showFigures(measure) {
  const zoomed = byId("zoom").checked;
  const changeOf = (step) => step.change && pick(step.change, measure);
  const sentence = steps.map((step) => `${step.name} ${percent(pick(step, measure))}`).join(", ");
  showChart("waterfall",
    [el("b", {}, `${measure.name}, step by step. `), zoomed ? "The axis does not begin at 0. " : "",
      `Whiskers are 95${NARROW}% intervals: of the share for whole bars, of the change for the others.`],
    `Waterfall of ${measure.name}: ${sentence}.`, waterfall(measure, zoomed),
    table(`${measure.name} by step`, ["Step", measure.name, "95 % interval", "Change", "95 % interval", ""],
      steps.map((step) => [step.name, percent(pick(step, measure)), range(pick(step.intervals, measure)),
        ...(changeOf(step) ? [points(changeOf(step).value), pointRange(changeOf(step).interval), verdictOf(changeOf(step))] : ["", "", ""])])));
  for (const [id, cost, what, unit] of [
    ["by-size", "megabytes", "size", "MB on disk"],
    ["by-time", timeKey(), "latency", timeKey() === "milliseconds" ? "ms an image" : "ms an image, from JPEG"],
  ]) {
    const shown = embedding.filter((step) => step.cost[cost] > 0);
    if (!shown.length) {
      byId(id).replaceChildren();
      continue;
    }
    showChart(id, [el("b", {}, `${measure.name} against ${what}. `)],
      `${measure.name} against ${what}: ${shown.map((step) => `${step.name} ${short(step.cost[cost])} ${unit}, ${percent(pick(step, measure))}`).join("; ")}.`,
      tradeOff(measure, cost, unit),
      table(`${measure.name} against ${what}`, ["Step", unit, measure.name],
        shown.map((step) => [step.name, short(step.cost[cost]), percent(pick(step, measure))])));
  }
}

/** Time without decoding, unless a model takes files only. */
const timeKey = () =>
  embedding.every((step) => step.cost.milliseconds || !step.cost.milliseconds_from_jpeg)
    ? "milliseconds" : "milliseconds_from_jpeg";

function showCurve() {
  const curves = {};
  steps.forEach((step) => (curves[step.recall_curve.recall] ??= []).push(step));
  const coincide = Object.values(curves).filter((group) => group.length > 1)
    .map((group) => ` The lines of ${group.map((step) => step.name).join(", ")} coincide.`);
  const ks = steps[0].recall_curve.k;
  showChart("curve",
    [el("b", {}, "Recall against K. "), el("span", { class: "keys" }, steps.map((_, number) => stepKey(number))),
      coincide],
    `Recall against K for ${steps.map((step) => step.name).join(", ")}, from K = 1 to ${ks.at(-1)}.`, recallCurve,
    table("Recall against K", ["K", ...steps.map((step) => step.name)],
      ks.map((k, place) => [String(k), ...steps.map((step) => percent(step.recall_curve.recall[place]))])));
}
