"use strict";
// What the page can do beyond being read: sorting, copying, charts of chosen methods, and views of
// pairs. All data comes from the document.

const root = document.documentElement;
root.classList.add("with-script");

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const say = (text) => { document.getElementById("status").textContent = text; };

// Light or dark: the other one than now.
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// Copying. Where the browser refuses, the text is selected.
for (const button of all("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say("Copied");
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      say("Selected: copy it with the keyboard");
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// Sorting. Methods that are not ranked stay below the others.
function sortValue(row, column) {
  const cell = row.cells[column];
  if (!cell) return "";
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return text === "" || Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  if (typeof b === "number") return 1;
  return a.localeCompare(b);
}

for (const table of all("table.sortable")) {
  const headers = all("thead th", table);
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].map((row) => [sortValue(row, column), row]);
        rows.sort(([a], [b]) => (ascending ? compare(a, b) : compare(b, a)));
        body.append(...rows.map(([, row]) => row));
      }
      say(`Sorted by ${header.textContent}, ${ascending ? "ascending" : "descending"}`);
    });
  });
}

// Items of two methods. Points of items that the page shows link to them.
const cards = new Map(all(".card").map((card) => [card.dataset.item, card]));
for (const chart of all("svg.square")) {
  const figure = chart.closest("figure");
  const points = chart.querySelector(".points");
  const [low, high, left, bottom, side] =
    ["low", "high", "left", "bottom", "side"].map((name) => Number(points.dataset[name]));
  const [across, up] = ["x", "y"].map((name) => figure.querySelector(`select.${name}`));
  for (const point of all("circle", points)) {
    const card = cards.get(point.dataset.item);
    if (!card) continue;
    const link = document.createElementNS("http://www.w3.org/2000/svg", "a");
    link.setAttribute("href", `#${card.id}`);
    link.setAttribute("aria-label", card.querySelector("h3").textContent);
    points.append(link);
    link.append(point);
  }
  const draw = () => {
    for (const point of all("circle", points)) {
      const values = point.dataset.values.split(" ").map(Number);
      const [x, y] = [values[across.value], values[up.value]];
      const visible = Number.isFinite(x) && Number.isFinite(y);
      point.setAttribute("visibility", visible ? "visible" : "hidden");
      if (!visible) continue;
      const share = (value) => (value - low) / (high - low);
      point.setAttribute("cx", left + share(x) * side);
      point.setAttribute("cy", bottom - share(y) * side);
    }
    for (const select of [across, up]) {
      const name = select.selectedOptions[0].textContent;
      chart.querySelector(select === across ? ".across" : ".up").textContent = name;
    }
  };
  across.addEventListener("change", draw);
  up.addEventListener("change", draw);
}

// Views of a pair: one zoom and one place for all of its pictures.
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const BLINK_MS = 700;

class View {
  constructor(card) {
    this.card = card;
    this.place = { x: 0, y: 0, zoom: 1 };
    const find = (selector) => card.querySelector(selector);
    [this.zoom, this.slide, this.method] = [".zoom", ".slide", ".method"].map(find);
    this.zoom.addEventListener("input", () => this.zoomTo(Number(this.zoom.value)));
    this.slide.addEventListener("input", () => this.set("--cut", this.slide.value));
    this.method.addEventListener("change", () => this.choose());
    find(".reset").addEventListener("click", () => this.zoomTo(1));
    find(".swap").addEventListener("click", () => card.classList.toggle("swapped"));
    for (const radio of all("[type=radio]", card)) {
      radio.addEventListener("change", () => this.mode(radio.value));
    }
    for (const frame of all(".frame", card)) this.listen(frame);
    this.mode("side");
    this.choose();
  }

  set(name, value) {
    this.card.style.setProperty(name, value);
  }

  mode(name) {
    this.card.dataset.mode = name;
    this.card.classList.toggle("overlay", name !== "side");
    this.card.classList.remove("swapped");
    clearInterval(this.timer);
    if (name === "blink" && !calm.matches) {
      this.timer = setInterval(() => this.card.classList.toggle("swapped"), BLINK_MS);
    }
  }

  choose() {
    for (const view of all(".view", this.card)) {
      const isChosen = view.classList.contains("distorted") && view.dataset.method === this.method.value;
      view.classList.toggle("chosen", isChosen);
    }
  }

  // Keeps the middle of the frame in its place.
  zoomTo(zoom) {
    const { x, y, zoom: before } = this.place;
    const middle = (at) => 50 - ((50 - at) / before) * zoom;
    this.moveTo(middle(x), middle(y), zoom);
  }

  // x and y in percent of the frame.
  moveTo(x, y, zoom = this.place.zoom) {
    const within = (at) => Math.min(0, Math.max(100 - 100 * zoom, at));
    this.place = { x: within(x), y: within(y), zoom };
    this.set("--x", this.place.x);
    this.set("--y", this.place.y);
    this.set("--zoom", zoom);
    this.zoom.value = zoom;
    this.card.classList.toggle("zoomed", zoom > 1);
    for (const frame of all(".frame", this.card)) frame.tabIndex = zoom > 1 ? 0 : -1;
  }

  // Dragging, arrow keys, plus and minus.
  listen(frame) {
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", "Picture: arrow keys move it when it is enlarged");
    let from = null;
    frame.addEventListener("pointerdown", (event) => {
      if (this.place.zoom === 1) return;
      from = { x: event.clientX, y: event.clientY, place: this.place };
      frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      if (!from) return;
      const percent = (moved, length) => (100 * moved) / length;
      this.moveTo(
        from.place.x + percent(event.clientX - from.x, frame.clientWidth),
        from.place.y + percent(event.clientY - from.y, frame.clientHeight),
      );
    });
    for (const end of ["pointerup", "pointercancel"]) {
      frame.addEventListener(end, () => { from = null; });
    }
    frame.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] };
      const step = steps[event.key];
      const zoom = { "+": 0.5, "-": -0.5 }[event.key];
      if (step) this.moveTo(this.place.x + step[0], this.place.y + step[1]);
      else if (zoom) this.zoomTo(Math.min(8, Math.max(1, this.place.zoom + zoom)));
      else return;
      event.preventDefault();
    });
  }
}

for (const card of all(".card")) {
  if (card.querySelector(".controls")) new View(card);
}

// A print shows everything that can be unfolded.
addEventListener("beforeprint", () => all("details").forEach((one) => { one.open = true; }));
