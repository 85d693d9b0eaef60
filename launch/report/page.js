"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const columns = new Map(data.columns.map((column) => [column.name, column]));
const listed = data.columns.slice(0, data.listed);
const byId = (id) => document.getElementById(id);

/** Makes an element: `make("td", {class: "n"}, "text", child)`. */
function make(name, attributes = {}, ...children) {
  const isDrawn = ["svg", "path", "circle", "line", "text"].includes(name);
  const element = isDrawn
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// The trials, by row number.

function value(name, row) {
  const column = data.rows[name];
  return column.of[column.at ? column.at[row] : 0];
}

const formats = new Map();

function number(value, digits, signed = false) {
  const key = `${digits} ${signed}`;
  if (!formats.has(key)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    formats.set(key, new Intl.NumberFormat("en-US", { ...options, signDisplay: signed ? "always" : "auto" }));
  }
  return formats.get(key).format(Number(value.toFixed(digits)) + 0); // Adding zero turns -0 into 0.
}

function text(column, row) {
  const found = value(column.name, row);
  if (found === null) return "";
  return column.digits === null ? String(found) : number(column.scale * found, column.digits, column.signed);
}

const rowOf = new Map(Array.from({ length: data.count }, (_, row) => [value("id", row), row]));

function describe(row) {
  const parts = ["arch", "algorithm", "rate"].map((name) => value(name, row));
  const kind = value("kind", row) === "baseline" ? "baseline" : "";
  return [...parts, kind, `seed ${value("seed", row)}`].filter(Boolean).join(" · ");
}

// The table: filter, sort, page.

const TEXTS = listed.filter((column) => column.digits === null).map((column) => column.name);
const view = { rows: [], sort: null, descending: false, page: 0 };

function matches(row, words, chosen) {
  if (chosen.some(([name, wanted]) => String(value(name, row)) !== wanted)) return false;
  const all = ["id", ...TEXTS].map((name) => value(name, row)).join(" ").toLowerCase();
  return words.every((word) => all.includes(word));
}

/** Orders numbers as numbers, text as text, and what is missing last. */
function compare(a, b, sign) {
  const missing = (value) => value === null || value === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const difference = Number(a) - Number(b);
  return sign * (Number.isNaN(difference) ? String(a).localeCompare(String(b)) : difference);
}

function update() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const selects = [...document.querySelectorAll("#filters select")].filter((select) => select.value);
  const chosen = selects.map((select) => [select.dataset.column, select.value]);
  view.rows = [...rowOf.values()].filter((row) => matches(row, words, chosen));
  if (view.sort) {
    const sign = (view.descending ? -1 : 1) * Math.sign(columns.get(view.sort).scale);
    view.rows.sort((a, b) => compare(value(view.sort, a), value(view.sort, b), sign) || a - b);
  }
  view.page = 0;
  draw();
}

function draw() {
  const pages = Math.max(1, Math.ceil(view.rows.length / data.rowsPerPage));
  const start = view.page * data.rowsPerPage;
  const shown = view.rows.slice(start, start + data.rowsPerPage);
  document.querySelector("#table tbody").replaceChildren(...shown.map(tableRow));
  byId("count").textContent = `${number(view.rows.length, 0)} of ${number(data.count, 0)} trials`;
  byId("pages").hidden = pages === 1;
  byId("place").textContent = `page ${view.page + 1} of ${pages}`;
  byId("previous").disabled = view.page === 0;
  byId("next").disabled = view.page === pages - 1;
}

function tableRow(row) {
  const id = value("id", row);
  const link = make("a", { href: `#${id}`, "aria-label": `${id}: ${describe(row)}` }, id.slice(0, 6));
  const cells = listed.map((column) =>
    make("td", column.digits === null ? {} : { class: "n" }, text(column, row)));
  const current = id === shownId ? { "aria-current": "true" } : {};
  return make("tr", { id, ...current }, make("th", { scope: "row" }, link), ...cells);
}

function sortBy(heading) {
  const name = heading.dataset.column;
  view.descending = view.sort === name && !view.descending;
  view.sort = name;
  for (const other of document.querySelectorAll("#table th[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", view.descending ? "descending" : "ascending");
  update();
}

function startTable() {
  for (const heading of document.querySelectorAll("#table th[data-column]")) {
    const button = make("button", { type: "button" }, heading.textContent);
    button.addEventListener("click", () => sortBy(heading));
    heading.replaceChildren(button);
  }
  const form = byId("filters");
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  document.querySelector("#table tbody").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !getSelection().toString()) location.hash = row.id;
  });
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    byId(id).addEventListener("click", () => { view.page += step; draw(); });
  }
  update();
}

// One trial.

let shownId = null;

function show(id, isAsked) {
  shownId = id;
  const row = rowOf.get(id);
  byId("trial-title").textContent = describe(row);
  byId("details").replaceChildren(...parts(row).filter(Boolean));
  for (const other of document.querySelectorAll("#table tr[aria-current]")) other.removeAttribute("aria-current");
  byId(id)?.setAttribute("aria-current", "true");
  for (const link of document.querySelectorAll("figure svg a")) {
    link.classList.toggle("chosen", link.getAttribute("href") === `#${id}`);
  }
  if (isAsked) {
    byId("trial-title").focus({ preventScroll: true });
    byId("trial").scrollIntoView();
  }
}

function parts(row) {
  const id = value("id", row);
  const details = data.details[id];
  const isOnFront = data.front.includes(id);
  return [
    siblings(row),
    card(isOnFront ? "Figures of a point on the front" : "Figures", ...figures(row)),
    details && Object.keys(details.curves).length ? card("Training", curves(details.curves)) : null,
    details?.weights.length ? weights(details.weights) : null,
    details ? null : make("p", { class: "note" },
      "This page holds weights and training curves of the front and of a few other trials; those " +
      "of this one are in its folder."),
    card("Run it again", ...command(row)),
    card("Provenance", provenance(row)),
  ];
}

function card(title, ...content) {
  return make("div", { class: "card" }, make("h3", {}, title), ...content);
}

/** Links to the same point with other seeds. */
function siblings(row) {
  const same = ["arch", "algorithm", "rate", "kind"];
  const others = [...rowOf.values()].filter((other) =>
    other !== row && same.every((name) => value(name, other) === value(name, row)));
  if (!others.length) return null;
  const links = others.slice(0, 20).map((other) =>
    make("a", { href: `#${value("id", other)}` }, `seed ${value("seed", other)}`));
  return make("p", { class: "note" }, "The same point with ", ...links.flatMap((link) => [link, " "]));
}

const FIGURES = {
  accuracy: ["artifact_metric", "dense_metric", "drop_points", "relative_metric",
    "training_graph_metric", "validation_metric", "best_validation_metric"],
  bytes: ["file_bytes", "payload_bytes", "zipped_bytes", "dense_bytes", "dense_zipped_bytes",
    "ratio", "bits_per_weight", "bits_estimated"],
  "model and cost": ["weights", "nonzeros", "macs", "steps", "train_batch_size", "train_seconds",
    "total_seconds"],
};

function figures(row) {
  return Object.entries(FIGURES).flatMap(([title, names]) =>
    [make("h4", {}, title), definitions("tiles", names, row)]);
}

function provenance(row) {
  const names = ["id", "state", "note", "experiment", "metric", "checkpoint", "git_sha", "git_dirty",
    "packages", "python", "hardware", "host", "data_checksum", "initial_checkpoint_sha256"];
  return definitions("provenance", names, row);
}

function definitions(style, names, row) {
  const list = make("dl", { class: style });
  for (const name of names) {
    const column = columns.get(name) ?? { name, title: name, digits: null };
    const found = text(column, row);
    if (found) list.append(make("div", {}, make("dt", {}, column.title), make("dd", {}, found)));
  }
  return list;
}

function command(row) {
  const ids = [value("baseline", row), value("id", row)].filter(Boolean);
  const lines = ids.map((id) => data.command.replaceAll("@id@", id)).join("\n");
  const block = make("pre", { tabindex: "0", id: "command" }, lines);
  const button = make("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(block);
    try {
      await navigator.clipboard.writeText(lines);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: copy it with the keyboard";
    }
  });
  return [block, button];
}

function weights(rows) {
  const total = rows.reduce((sum, row) => sum + (row[6] ?? 0), 0);
  const worst = Math.max(...rows.map((row) => row[8] ?? 0), 1e-12);
  const heat = (part, shown) => shown === "" ? make("td", {})
    : make("td", { class: "n heat", style: `--part: ${part.toFixed(3)}` }, shown);
  const lines = rows.map(([path, shape, algorithm, reason, size, dense, bytes, nonzeros, error]) => {
    const [bits, kept] = [bytes === null ? null : 8 * bytes / size, nonzeros === null ? null : nonzeros / size];
    return make("tr", {},
      ...[path, shape].map((place) => make("td", {}, data.strings[place])),
      make("td", {}, [data.strings[algorithm], data.strings[reason]].filter(Boolean).join(": ")),
      make("td", { class: "n" }, number(dense, 0)),
      heat(bytes / total, bytes === null ? "" : number(bytes, 0)),
      heat(bits / 32, bits === null ? "" : number(bits, 2)),
      make("td", { class: "n" }, kept === null ? "" : `${number(100 * kept, 1)} %`),
      heat(error / worst, error === null ? "" : error && error.toPrecision(3)));
  });
  const titles = ["weight", "shape", "algorithm", "dense bytes", "bytes", "bits per weight", "non-zeros", "relative error"];
  const head = titles.map((title, n) => make("th", n > 2 ? { scope: "col", class: "n" } : { scope: "col" }, title));
  const table = make("table", { id: "weights" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines));
  const region = make("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Weights" }, table);
  return card("Weights", region);
}

// Training curves.

function curves(all) {
  return make("div", { class: "curves" }, ...Object.entries(all).map(([title, splits]) => curve(title, splits)));
}

const SPLIT_COLOURS = { train: "var(--series-1)", validation: "var(--series-2)" };
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [320, 190, 52, 24];

function curve(title, splits) {
  const [steps, values] = [0, 1].map((n) => Object.values(splits).flatMap((split) => split[n]).filter((v) => v !== null));
  const [x, y] = [axis(0, Math.max(...steps), LEFT, WIDTH - 8), axis(Math.min(...values), Math.max(...values), HEIGHT - BOTTOM, 8)];
  const drawn = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} by step` });
  for (const tick of y.ticks) {
    drawn.append(make("line", { x1: LEFT, x2: WIDTH - 8, y1: y.at(tick), y2: y.at(tick), stroke: "var(--grid)" }));
    drawn.append(make("text", { x: LEFT - 6, y: y.at(tick) + 4, "text-anchor": "end" }, brief(tick)));
  }
  for (const tick of x.ticks) {
    drawn.append(make("text", { x: x.at(tick), y: HEIGHT - 6, "text-anchor": "middle" }, brief(tick)));
  }
  const key = make("ul", { class: "legend" });
  for (const [split, points] of Object.entries(splits)) {
    const places = points[0].map((step, n) => [x.at(step), y.at(points[1][n])]);
    const line = places.map((place) => place.map((v) => v.toFixed(1)).join(" ")).join("L");
    drawn.append(make("path", { d: `M${line}`, fill: "none", stroke: SPLIT_COLOURS[split], "stroke-width": 2 }));
    if (places.length < 15) drawn.append(...places.map(([cx, cy]) => make("circle", { cx, cy, r: 3, fill: SPLIT_COLOURS[split] })));
    const dot = make("svg", { viewBox: "-1 -1 2 2", "aria-hidden": "true" }, make("circle", { r: 0.6, fill: SPLIT_COLOURS[split] }));
    key.append(make("li", {}, dot, split));
  }
  return make("div", {}, make("h4", {}, title), key, drawn);
}

/** Maps values to places, with three to six round ticks between the ends. */
function axis(low, high, from, to) {
  if (low === high) [low, high] = [low - Math.abs(low || 1) / 10, high + Math.abs(high || 1) / 10];
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) ticks.push(n * step);
  return { ticks, at: (v) => from + (to - from) * (v - low) / (high - low) };
}

const brief = (v) => v.toLocaleString("en-US", { maximumSignificantDigits: 4, notation: Math.abs(v) >= 1e4 ? "compact" : "standard" });

// The address says which trial is shown, so that it can be shared and gone back from.

function follow(isAsked) {
  const id = location.hash.slice(1);
  if (rowOf.has(id)) show(id, isAsked);
}

startTable();
if (data.first) show(data.first, false);
addEventListener("hashchange", () => follow(true));
follow(true);
