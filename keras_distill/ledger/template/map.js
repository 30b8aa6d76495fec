// The space of the embeddings: distances of pairs, and a map.

const HUES = 8;
const SHAPES = [
  "M0,-3.6A3.6,3.6 0 1 1 0,3.6A3.6,3.6 0 1 1 0,-3.6Z",
  "M-3.2,-3.2H3.2V3.2H-3.2Z",
  "M0,-4.4L4.1,3.2H-4.1Z",
  "M0,-4.5L4.5,0L0,4.5L-4.5,0Z",
  "M0,4.4L4.1,-3.2H-4.1Z",
  "M-1.4,-4.2H1.4V-1.4H4.2V1.4H1.4V4.2H-1.4V1.4H-4.2V-1.4H-1.4Z",
];

function showDistances() {
  const shown = stages.filter((stage) => stage.backend === "exact" && embedding.includes(stage));
  byId("distances-lead").append("Distances of pairs of images of the ",
    el("span", { class: "key" }, el("i", { class: "swatch" }), "same class"), " and of ",
    el("span", { class: "key" }, el("i", { class: "swatch other" }), "different classes"),
    ". The less the two curves overlap, the easier it is to find the right class.");
  const bins = usedBins(shown.map((stage) => stage.distances));
  shown.forEach((stage, place) => {
    const { images, overlap, edges, positive, negative } = stage.distances;
    const number = stages.indexOf(stage), id = `distances-${number}`;
    byId("distances").append(el("figure", { id }));
    showChart(id, el("span", { class: "keys" }, stageKey(number), `overlap ${percent(overlap)}`),
    `Distances of pairs of ${images} images in the ${stage.name}: the histograms of pairs of the same class and of different classes share ${percent(overlap)} of their area.`,
    distanceHistogram(stage.distances, bins[place]),
    table(`Pairs by distance, ${stage.name}, all pairs of ${whole(images)} images`, ["Distance up to", "Same class", "Different classes"],
      positive.map((count, bin) => [edges[bin + 1].toFixed(2), whole(count), whole(negative[bin])]).filter((row) => row[1] !== "0" || row[2] !== "0")));
  });
}

/** First and last bin to show for each stage: one range for all, if they have the same bins. */
function usedBins(all) {
  const used = all.map(({ positive, negative }) => {
    const counts = positive.map((count, bin) => count + negative[bin] > 0);
    return [Math.max(counts.indexOf(true), 0), Math.max(counts.lastIndexOf(true) + 1, 1)];
  });
  if (all.some(({ edges }) => String(edges) !== String(all[0].edges))) return used;
  return used.map(() => [Math.min(...used.map(([low]) => low)), Math.max(...used.map(([, high]) => high))]);
}

const mapView = { stage: 0, only: null, at: null };
const mapClasses = [...new Set(report.map.rows.map(nameOf))].sort((a, b) => a.localeCompare(b));
const classNumber = new Map(mapClasses.map((name, number) => [name, number]));
const classMark = (number) => SHAPES[Math.floor(number / HUES) % SHAPES.length];
const classHue = (number) => `hue-${number % HUES}`;

function setUpMap() {
  const { rows, steps: maps } = report.map;
  choices(byId("map-stages"), maps.map((one) => stages[one.step].name), 0, (number) => {
    mapView.stage = number;
    picture.classList.add("moving");
    drawMap();
  });
  const groups = new Map(mapClasses.map((name, number) => [name, svg("g", { class: classHue(number) })]));
  const dots = rows.map((row) => {
    const dot = svg("path", { d: classMark(classNumber.get(nameOf(row))), class: "dot" });
    groups.get(nameOf(row)).append(dot);
    return dot;
  });
  const cursor = svg("circle", { r: 9, class: "cursor" });
  const picture = svg("svg", { class: "map-picture" }, [...groups.values()], cursor);
  const host = el("div", { class: "chart map-host", tabindex: 0, role: "application", "aria-label": "Map of the embeddings: arrow keys go from image to image, Escape ends", "aria-describedby": "map-said" }, picture);
  const said = el("p", { id: "map-said", class: "said", role: "status" });
  const tableHost = el("div");
  byId("map").replaceChildren(el("figcaption", { id: "map-caption" }), host, said,
    el("details", {}, el("summary", {}, "As a table"), tableHost));
  let places = [];

  function drawMap() {
    const one = maps[mapView.stage], width = host.clientWidth || 640, height = Math.min(width, 620);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    fill(picture, { role: "img", "aria-label": `${whole(rows.length)} images by the ${stages[one.step].name}, coloured by class` }, []);
    const [left, right] = extent(one.places.map((place) => place[0])), [low, high] = extent(one.places.map((place) => place[1]));
    const scale = Math.min((width - 24) / (right - left || 1), (height - 24) / (high - low || 1));
    places = one.places.map(([x, y]) => x === null ? null
      : [width / 2 + (x - (left + right) / 2) * scale, height / 2 - (y - (low + high) / 2) * scale]);
    dots.forEach((dot, number) => {
      dot.style.display = places[number] ? "" : "none";
      if (places[number]) dot.style.transform = `translate(${places[number].map((at) => at.toFixed(1)).join("px,")}px)`;
    });
    byId("map-lead").textContent =
      `The two principal directions of the ${stages[one.step].name}'s vectors hold ${percent(one.variance, 0)} of their variance, so points that are close here may be far apart. Maps of other stages are rotated to match.`;
    byId("map-caption").textContent = `${whole(rows.length)} of ${whole(report.queries_in_all)} images, coloured by class.`;
    tableHost.replaceChildren(centreTable(one));
    point(null);
  }

  function centreTable(one) {
    return table("Centre of each class on the map", ["Class", "Images", "Across", "Up"], mapClasses.map((name) => {
      const own = one.places.filter((place, number) => place[0] !== null && nameOf(rows[number]) === name);
      const mean = (axis) => own.length ? minus((own.reduce((sum, place) => sum + place[axis], 0) / own.length).toFixed(2)) : "–";
      return [label(name), String(own.length), mean(0), mean(1)];
    }));
  }

  function point(number, where) {
    mapView.at = number;
    cursor.style.display = number === null ? "none" : "";
    if (number === null) { hideTip(); said.textContent = ""; return; }
    const image = report.images[rows[number]], box = picture.getBoundingClientRect();
    cursor.style.transform = `translate(${places[number].join("px,")}px)`;
    const shown = box.width / picture.viewBox.baseVal.width;
    const [x, y] = where ?? [box.left + places[number][0] * shown, box.top + places[number][1] * shown];
    showTip(x, y, thumbnail(rows[number], ""), el("b", {}, label(image.class)), el("small", {}, image.path));
    if (!where) said.textContent = `${label(image.class)}, ${image.path}`;
  }

  const visible = (number) => places[number] && (mapView.only === null || nameOf(rows[number]) === mapView.only);
  host.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect(), shown = box.width / picture.viewBox.baseVal.width;
    const x = (event.clientX - box.left) / shown, y = (event.clientY - box.top) / shown;
    let best = null, least = 24 ** 2;
    places.forEach((place, number) => {
      if (!visible(number)) return;
      const far = (place[0] - x) ** 2 + (place[1] - y) ** 2;
      if (far < least) [best, least] = [number, far];
    });
    point(best, [event.clientX, event.clientY]);
  });
  host.addEventListener("pointerleave", () => point(null));
  host.addEventListener("blur", () => point(null));
  host.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") point(null);
    if (!move) return;
    event.preventDefault();
    const chosen = rows.map((_, number) => number).filter(visible);
    if (!chosen.length) return;
    const place = chosen.indexOf(mapView.at);
    point(chosen[place < 0 ? 0 : (place + move + chosen.length) % chosen.length]);
  });

  const buttons = mapClasses.map((name, number) => el("button", {
    type: "button", "aria-pressed": "false",
    onclick: () => {
      mapView.only = mapView.only === name ? null : name;
      buttons.forEach((button, other) => button.setAttribute("aria-pressed", String(mapClasses[other] === mapView.only)));
      groups.forEach((group, one) => group.classList.toggle("faint", mapView.only !== null && one !== mapView.only));
    },
  }, svg("svg", { width: 12, height: 12, viewBox: "-6 -6 12 12", "aria-hidden": "true", class: classHue(number) }, svg("path", { d: classMark(number), class: "dot" })), label(name)));
  byId("map-legend").replaceChildren(...buttons);
  let width = 0;
  new ResizeObserver(() => {
    if (host.clientWidth === width) return;
    width = host.clientWidth;
    requestAnimationFrame(drawMap);
  }).observe(host);
  drawMap();
}

function extent(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
}
