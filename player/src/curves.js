// Curves over the clip's frames, with a cursor on the page's clock. Series: {name, label, unit, group, frames, values, bar, class}.
import { numberText } from "./dom.js";

const COLOURS = ["#1f6fb2", "#d1552b", "#2f8f5b", "#8b5bb5", "#b08400", "#c23b78", "#4f7d8c", "#7a5c3e"];
const DARK_COLOURS = ["#6ab7f5", "#ff9b73", "#6fd39b", "#c9a2f0", "#e6c14a", "#ff8fbf", "#9cc9d6", "#d2b48c"];
const PAD = { left: 46, right: 10, top: 12, bottom: 22 };
const NUM_GRID_LINES = 4;

/** Series by heading and unit, so that each chart has one scale: [{title, unit, series}]. */
export function groups(series) {
  const found = new Map();
  for (const one of series) {
    const key = `${one.group}|${one.unit}`;
    if (!found.has(key)) found.set(key, { heading: one.group, unit: one.unit, series: [] });
    found.get(key).series.push(one);
  }
  return [...found.values()].map((group) => ({ ...group, title: `${group.heading} (${group.unit})` }));
}

/** Round steps for about `count` lines between two values: 1, 2 or 5 times a power of ten. */
export function gridSteps(low, high, count = NUM_GRID_LINES) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= raw * 0.999);
  const lines = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-6; at++) lines.push(Number((at * step).toPrecision(6)));
  return lines;
}

/** The value of a series on a frame, null where it has none. */
export function valueAt(series, frame) {
  const first = series.frames[0];
  // Frames mostly follow one another, so that a row is where its number says.
  const row = series.frames[frame - first] === frame ? frame - first : series.frames.indexOf(frame);
  return row < 0 ? null : (series.values[row] ?? null);
}

export class Chart {
  constructor(page, clock, onSeek) {
    Object.assign(this, { page, clock, onSeek, series: [], events: [], other: null, hidden: new Set(), choices: [] });
    this.canvas = page.getElementById("chart");
    this.legend = page.getElementById("legend");
    this.choice = page.getElementById("chart-choice");
    this.choice.addEventListener("change", () => this.choose(Number(this.choice.value)));
    this.connectPointer();
  }

  /** `otherValue(series, frame)` is the value of the swing compared with, null where there is none. */
  setOther(otherValue) {
    this.other = otherValue;
    this.stale = true;
  }

  setSeries(series, events) {
    this.choices = groups(series);
    this.events = events;
    this.choice.replaceChildren(...this.choices.map((group, i) => Object.assign(this.page.createElement("option"), { value: i, textContent: group.title })));
    this.choose(0);
  }

  choose(index) {
    this.series = this.choices[index]?.series ?? [];
    this.hidden = new Set();
    this.legend.replaceChildren(
      ...this.series.map((one, i) => {
        const button = this.page.createElement("button");
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        const line = this.page.createElement("i");
        line.style.setProperty("--line", `var(--line-${i % COLOURS.length})`);
        const value = Object.assign(this.page.createElement("b"), { textContent: "" });
        button.append(line, one.label, value);
        if (one.class === "C") button.append(Object.assign(this.page.createElement("small"), { textContent: "not reliable" }));
        button.addEventListener("click", () => {
          if (this.hidden.has(one)) this.hidden.delete(one);
          else this.hidden.add(one);
          button.setAttribute("aria-pressed", String(!this.hidden.has(one)));
          this.stale = true;
          this.draw();
        });
        return button;
      }),
    );
    this.stale = true;
    this.draw();
  }

  get area() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return { x0: PAD.left, x1: width - PAD.right, y0: PAD.top, y1: height - PAD.bottom, width, height };
  }

  x(time) {
    const { x0, x1 } = this.area;
    const { times, duration } = this.clock.timeline;
    return x0 + ((time - times[0]) / (duration || 1)) * (x1 - x0);
  }

  connectPointer() {
    const at = (event) => {
      const { x0, x1 } = this.area;
      const share = (event.clientX - this.canvas.getBoundingClientRect().left - x0) / Math.max(x1 - x0, 1);
      const { timeline } = this.clock;
      this.onSeek(timeline.frameAt(timeline.times[0] + Math.min(Math.max(share, 0), 1) * timeline.duration));
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      at(event);
    });
    this.canvas.addEventListener("pointermove", (event) => this.canvas.hasPointerCapture(event.pointerId) && at(event));
  }

  /** Draws where the clock, the size or the choice has changed. */
  draw() {
    const { width, height } = this.area;
    if (!width || !height) return;
    const { frame } = this.clock;
    const state = [frame, width, height, this.dark].join();
    if (!this.stale && state === this.drawnState) return;
    this.stale = false;
    this.drawnState = state;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const shown = this.series.filter((one) => !this.hidden.has(one));
    const scale = this.scale(shown);
    this.drawGrid(context, scale);
    this.series.forEach((one, i) => !this.hidden.has(one) && this.drawSeries(context, one, i, scale));
    this.drawCursor(context, frame);
    this.showValues(frame);
    this.canvas.dataset.frame = frame;
  }

  scale(shown) {
    const values = shown.flatMap((one) => one.values.filter((value) => value !== null));
    if (this.other) for (const one of shown) for (const frame of one.frames) values.push(this.other(one, frame) ?? values[0] ?? 0);
    let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
    const room = Math.max((high - low) * 0.08, 1e-3);
    [low, high] = [low - room, high + room];
    const { y0, y1 } = this.area;
    return { low, high, y: (value) => y1 - ((value - low) / (high - low)) * (y1 - y0) };
  }

  drawGrid(context, scale) {
    const { x0, x1, y0, y1, height } = this.area;
    const [line, ink] = this.dark ? ["rgb(255 255 255 / 0.13)", "#a9b6c4"] : ["rgb(29 39 51 / 0.1)", "#5c6875"];
    Object.assign(context, { strokeStyle: line, fillStyle: ink, lineWidth: 1, font: "12px system-ui, sans-serif", textAlign: "right", textBaseline: "middle" });
    for (const value of gridSteps(scale.low, scale.high)) {
      const y = Math.round(scale.y(value)) + 0.5;
      context.beginPath();
      context.moveTo(x0, y);
      context.lineTo(x1, y);
      context.stroke();
      context.fillText(String(value).replace("-", "−"), x0 - 6, y);
    }
    context.textAlign = "center";
    const { times, duration } = this.clock.timeline;
    for (const time of gridSteps(times[0], times[0] + duration, Math.max(2, (x1 - x0) / 110))) context.fillText(`${time} s`, Math.min(Math.max(this.x(time), x0 + 10), x1 - 10), height - 8);
    context.setLineDash([2, 4]);
    for (const event of this.events) {
      const x = Math.round(this.x(event.time)) + 0.5;
      context.beginPath();
      context.moveTo(x, y0);
      context.lineTo(x, y1);
      context.stroke();
    }
    context.setLineDash([]);
  }

  drawSeries(context, series, index, scale) {
    const colour = (this.dark ? DARK_COLOURS : COLOURS)[index % COLOURS.length];
    if (series.bar) this.drawBand(context, series, scale, colour);
    context.globalAlpha = series.class === "C" ? 0.4 : 1;
    context.strokeStyle = colour;
    context.lineWidth = 2;
    this.drawLine(context, series.frames, (row) => series.values[row], scale);
    if (this.other) {
      context.setLineDash([5, 4]);
      context.globalAlpha *= 0.75;
      this.drawLine(context, series.frames, (row) => this.other(series, series.frames[row]), scale);
      context.setLineDash([]);
    }
    context.globalAlpha = 1;
  }

  drawBand(context, series, scale, colour) {
    context.globalAlpha = 0.12;
    context.fillStyle = colour;
    const rows = series.frames.map((_, row) => row).filter((row) => series.values[row] !== null);
    context.beginPath();
    for (const row of rows) context.lineTo(this.x(this.clock.timeline.timeOf(series.frames[row])), scale.y(series.values[row] + series.bar));
    for (const row of rows.reverse()) context.lineTo(this.x(this.clock.timeline.timeOf(series.frames[row])), scale.y(series.values[row] - series.bar));
    context.fill();
    context.globalAlpha = 1;
  }

  drawLine(context, frames, valueOf, scale) {
    context.beginPath();
    let before = null;
    frames.forEach((frame, row) => {
      const value = valueOf(row);
      if (value === null || value === undefined) {
        before = null;
        return;
      }
      const place = [this.x(this.clock.timeline.timeOf(frame)), scale.y(value)];
      if (before === frame - 1) context.lineTo(...place);
      else context.moveTo(...place);
      before = frame;
    });
    context.stroke();
  }

  drawCursor(context, frame) {
    const { y0, y1 } = this.area;
    const x = Math.round(this.x(this.clock.timeline.timeOf(frame)));
    context.fillStyle = this.dark ? "#ffffff" : "#1d2733";
    context.fillRect(x - 1, y0, 2, y1 - y0);
  }

  showValues(frame) {
    [...this.legend.children].forEach((button, i) => {
      const value = valueAt(this.series[i], frame);
      button.querySelector("b").textContent = value === null ? "–" : numberText(value, this.series[i].unit);
    });
  }
}
