/** @file The page: what is drawn, what both models say of it, and what their files weigh. */

import { lay } from "./framing.js";
import { load } from "./models.js";
import { Pad, inked } from "./pad.js";

const ROLES = ["dense", "compressed"];
const REST = 300; // Milliseconds without a stroke, after which the models are timed.
const byId = (id) => document.getElementById(id);
const count = (number) => number.toLocaleString("en-US");
const percent = (part) => `${(100 * part).toFixed(1)} %`;

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

class Page {
  constructor(told) {
    this.told = told;
    this.size = told.shape.slice(0, 2);
    this.pad = new Pad(byId("pad"), () => this.look());
    this.models = null; // Until they are loaded.
    byId("clear").addEventListener("click", () => this.pad.clear());
  }

  /** Begins to answer what is drawn. */
  start(models) {
    this.models = models;
    this.look();
  }

  // What does not change.

  describe() {
    const { name, data, classes, files } = this.told;
    document.title = `${name}: ${document.title.toLowerCase()}`;
    byId("facts").textContent = `${name}, trained on ${data}`;
    byId("classes").textContent = classes.join(", ");
    byId("seen-note").textContent = `What the models see: ${this.size.join("×")} pixels`;
    byId("scores").replaceChildren(...classes.map(scoreRow));
    byId("files").replaceChildren(...Object.values(files).map((file) => fileRow(file, files.dense)));
    byId("pictures").replaceChildren(...this.told.pictures.map((picture) => this.button(picture)));
  }

  note(role) {
    const { bytes, route } = this.told.files[role];
    return `${count(bytes)} bytes\n${route}`;
  }

  button({ label, pixels }) {
    const picture = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
    const name = this.told.classes[label];
    const button = make("button", { type: "button", title: name, "aria-label": `Picture of ${name}` });
    button.append(inked(picture, ...this.size));
    button.addEventListener("click", () => this.pad.show(picture, this.size));
    return make("li", {}, button);
  }

  // What follows the drawing.

  /** Shows what the models see, and asks them unless they are still busy; then what is newest. */
  async look() {
    const { pad, told, size } = this;
    this.pixels = pad.picture ?? lay(pad.ink(), pad.canvas.width, told.framing, size);
    inked(this.pixels ?? new Uint8Array(size[0] * size[1]), ...size, byId("seen"));
    for (const role of ROLES) byId(`${role}-note`).textContent = this.note(role);
    clearTimeout(this.rest);
    if (!this.models || this.isBusy) return;
    this.isBusy = true;
    let asked;
    while (asked !== this.pixels) {
      asked = this.pixels;
      await this.ask(asked);
      await new Promise(requestAnimationFrame);
    }
    this.isBusy = false;
    if (asked) this.rest = setTimeout(() => this.time(asked), REST);
  }

  async ask(pixels) {
    if (!pixels) {
      for (const role of ROLES) this.show(role, null);
      byId("status").textContent = "Draw something, or choose a picture.";
      return;
    }
    const { told, models } = this;
    const input = this.input(pixels);
    const answers = [];
    for (const [i, role] of ROLES.entries()) {
      answers.push(this.show(role, await models[i].run(input)));
    }
    const [dense, compressed] = answers.map((answer) => told.classes[answer]);
    byId("status").textContent =
      dense === compressed ? `Both say ${dense}.` : `They differ: ${dense}, and ${compressed}.`;
  }

  /** Repeats each grey pixel for every channel of the input, scaled and shifted as in training. */
  input(pixels) {
    const { scale, shift } = this.told;
    const channels = scale.length;
    return Float32Array.from({ length: pixels.length * channels }, (_, i) =>
      scale[i % channels] * pixels[Math.floor(i / channels)] + shift[i % channels]);
  }

  /** Shows what one model says; returns its answer. */
  show(role, parts) {
    const best = parts ? parts.indexOf(Math.max(...parts)) : -1;
    byId(`${role}-answer`).textContent = parts ? this.told.classes[best] : "–";
    document.querySelectorAll(`#scores .${role}`).forEach((cell, i) => {
      cell.classList.toggle("best", i === best);
      cell.querySelector(".bar").style.setProperty("--part", parts?.[i] ?? 0);
      const score = cell.querySelector("data");
      score.value = parts?.[i] ?? "";
      score.textContent = parts ? percent(parts[i]) : "";
    });
    return best;
  }

  /** Times both models on what has just been drawn, unless it has been drawn on since. */
  async time(pixels) {
    const input = this.input(pixels);
    for (const [i, role] of ROLES.entries()) {
      if (pixels !== this.pixels) return;
      const milliseconds = await this.models[i].time(input);
      byId(`${role}-note`).textContent = `${this.note(role)}, ${milliseconds.toFixed(2)} ms a run`;
    }
  }
}

function scoreRow(name) {
  const cells = ROLES.map((role) =>
    make("td", { class: role }, make("span", { class: "bar" }), make("data", { value: "" })));
  return make("tr", {}, make("th", { scope: "row" }, name), ...cells);
}

function fileRow({ name, route, bytes, gzip }, dense) {
  const link = make("a", { href: `models/${name}`, download: "" }, name);
  const numbers = [count(bytes), count(gzip), (dense.bytes / bytes).toFixed(2)];
  return make("tr", {}, make("th", { scope: "row" }, link),
    ...numbers.map((number) => make("td", { class: "n" }, number)), make("td", {}, route));
}

try {
  const page = new Page(await (await fetch("demo.json")).json());
  page.describe();
  page.start(await load(...ROLES.map((role) => `models/${page.told.files[role].name}`)));
} catch (error) {
  byId("status").textContent = `The models cannot be run: ${error.message}`;
  throw error;
}
