// Puts the parts into the page.

function setUpTheme() {
  const button = byId("theme");
  const show = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  show(system.matches);
  system.addEventListener("change", () => show(system.matches));
  button.addEventListener("click", () => show(button.getAttribute("aria-pressed") !== "true"));
}

function showFacts() {
  const machine = report.machine, settings = Object.entries(report.settings_of_the_run);
  const other = over === "classes" ? "queries" : "classes";
  const facts = [
    ["Protocol", "Leave-one-out: each image is searched among all others by Euclidean distance. Search is exact, except for an index."],
    ["Intervals", `95${NARROW}%, by 1,000 resamples; for changes, both stages are resampled together. This page shows intervals over ${over}: ${report.interval_meaning[over]}. The intervals over ${other}, in report.json, show ${report.interval_meaning[other]}. Neither covers the variation between trainings.`],
    ...embedding.map((stage) => [stage.name, `${stage.model}. Its input is ${stage.cost.route}.`]),
    ["Times", `“ms an image” is from decoded pixels to the vector, in the runtime that is named, with one thread for each CPU; “from JPEG” is from the bytes of a file, which TensorFlow decodes; images/s in batches of ${report.batch_size} from JPEG. ${machine.cpus} CPUs (${machine.processor}), ${machine.devices.join(", ")}; TensorFlow ${machine.tensorflow}, Python ${machine.python}, ${machine.system}.`],
    ["Taken from the run", settings.length ? settings.map(([name, value]) => `--${name}=${value}`).join("  ") : "nothing: all settings were given"],
    ["Skipped images", report.skipped_images.length ? report.skipped_images.join(", ") : "none"],
    ["Pictures", `${whole(report.pictures.shown)} of the ${whole(report.pictures.named)} images that the page names are in it, the centre of each as models see it; --pictures sets the number.`],
  ];
  byId("facts").append(...facts.flatMap(([name, fact]) => [el("dt", {}, breakable(name)), el("dd", {}, fact)]),
    el("dt", {}, "Figures"), el("dd", {}, el("a", { href: "report.json" }, "report.json"), ", next to this file, holds all of them."));
}

setUpTheme();
showTitle();
showVerdict();
showAnswers();
showLedger();
showNotes();
let shownMeasure = headline;
choices(byId("measures"), measures.map((measure) => measure.name), 0, (number) => {
  shownMeasure = measures[number];
  showFigures(shownMeasure);
});
byId("zoom").addEventListener("change", () => showFigures(shownMeasure));
showPrice();
showFigures(shownMeasure);
showCurve();
setUpQueries();
setUpSamples();
setUpClasses();
showDistances();
setUpMap();
showFacts();
addEventListener("scroll", hideTip, { passive: true });
