// The swing: its moments, its numbers with their error bars, and another swing beside it.
import { difference, EVENT_LABELS, EVENTS, otherFrame, sharedEvents } from "./align.js";
import { make, numberText } from "./dom.js";

const TOUR_TEMPO = [2.57, 3.43, 5.33]; // 5 %, median, 95 % of 758 swings of tour players (GolfDB): golf/tempo_band.py

/** What to do about a warning, by its code, where its own hint speaks of the command line. */
const PAGE_HINTS = { golf_clip_gone: "", several_swingers: "Choose the other person before a run to have theirs.", swing_seems_slowed: "", view_or_hand_unsure: "" };

/** The main swing of golf.json as the page uses it. */
export function readSwing(golf) {
  const swing = golf.swings[golf.main];
  const series = swing.curves.map((curve) => ({ ...curve, frames: swing.frames }));
  return { ...swing, series, person: golf.person, warnings: golf.warnings, clip: golf.clip };
}

/** Directions from which the named views look, as angles about the floor's normal: from the ball, and from behind along the target line. */
export function golfTurns({ frame: { ball, target } }) {
  return { front: Math.atan2(ball[0], ball[2]), side: Math.atan2(-target[0], -target[2]) };
}

export class GolfTab {
  constructor(page, clock, { onSeek }) {
    Object.assign(this, { page, clock, onSeek, swing: null, other: null, shownEvent: null });
    for (const id of ["events", "event-marks", "measures", "measures-title", "overall", "tempo", "swing-notes"]) this[id] = page.getElementById(id);
  }

  /** The swing's moments with the frame of each, in their order. */
  get moments() {
    return EVENTS.filter((name) => this.swing.events[name]).map((name) => ({ name, key: EVENTS.indexOf(name) + 1, ...this.swing.events[name] }));
  }

  show(swing) {
    this.swing = swing;
    const { page, moments } = this;
    this.events.hidden = this["event-marks"].hidden = false;
    this.buttons = moments.map(({ name, key, frame, proxy, method }) => {
      const title = `${EVENT_LABELS[name]}, frame ${frame} (${key}): ${method}${proxy ? "; a stand-in" : ""}`;
      const button = make(page, "button", { type: "button", "data-event": name, "aria-pressed": "false", title }, make(page, "kbd", {}, String(key)), EVENT_LABELS[name]);
      button.onclick = () => this.jump(name);
      return button;
    });
    this.events.replaceChildren(...this.buttons);
    this["event-marks"].replaceChildren(
      ...moments.map(({ frame }) => {
        const mark = make(page, "i");
        mark.style.setProperty("--at", `${frame / Math.max(this.clock.lastFrame, 1)}`);
        return mark;
      }),
    );
    this.showOverall();
    this.update();
  }

  jump(name) {
    this.onSeek(this.swing.events[name].frame);
  }

  /** Jumps to the event of a digit key; false where there is none. */
  key(digit) {
    const name = EVENTS[digit - 1];
    if (!name || !this.swing?.events[name]) return false;
    this.jump(name);
    return true;
  }

  /** The moment nearest to the clock. */
  nearest() {
    const { frame } = this.clock;
    return this.moments.reduce((best, event) => (!best || Math.abs(event.frame - frame) < Math.abs(best.frame - frame) ? event : best), null);
  }

  /** Follows the clock: the button of the moment shown, and the numbers of the nearest. */
  update() {
    if (!this.swing) return;
    const event = this.nearest();
    for (const button of this.buttons) {
      const is = button.dataset.event === event?.name;
      button.setAttribute("aria-pressed", String(is && event.frame === this.clock.frame));
      button.classList.toggle("near", is);
    }
    if (event && event.name !== this.shownEvent) this.bringIntoSight(this.buttons.find((button) => button.dataset.event === event.name));
    if (!event || (event.name === this.shownEvent && this.shownOther === this.other)) return;
    this.shownEvent = event.name;
    this.shownOther = this.other;
    this["measures-title"].textContent = `At ${EVENT_LABELS[event.name].toLowerCase()}`;
    const rows = this.rows(event.name);
    const none = make(this.page, "tr", {}, make(this.page, "td", { colspan: 5 }, "One camera tells no number worth giving at this moment."));
    this.measures.replaceChildren(...(rows.length ? rows : [none]));
  }

  /** Scrolls the row of moments alone: the page stays where it is. */
  bringIntoSight(button) {
    const { offsetLeft: left, offsetWidth: width } = button;
    const row = this.events;
    row.scrollLeft = left - row.offsetLeft - (row.clientWidth - width) / 2;
  }

  /** Compares with another swing, null for none. */
  compare(other) {
    this.other = other;
    this.shared = other ? sharedEvents(this.swing.events, other.events) : [];
    this.page.body.classList.toggle("comparing", Boolean(other));
    this.showOverall();
    this.update();
  }

  /** The other's frame, between frames too, for a frame of ours. */
  otherFrame(frame) {
    return otherFrame(frame, this.shared);
  }

  rows(event) {
    const measures = this.swing.measures.filter((measure) => measure.event === event);
    const rows = [];
    let group = null;
    const most = {};
    for (const { unit, value, bar } of measures) most[unit] = Math.max(most[unit] ?? 0, Math.abs(value ?? 0) + (bar ?? 0));
    for (const measure of measures) {
      if (measure.group !== group) rows.push(make(this.page, "tr", { class: "group-row" }, make(this.page, "th", { colspan: 5, scope: "colgroup" }, measure.group)));
      group = measure.group;
      rows.push(this.row(measure, most[measure.unit]));
    }
    return rows;
  }

  row(measure, most) {
    const { page } = this;
    const grey = measure.class === "C" || measure.value === null;
    const told = measure.reason || (measure.estimate ? "An estimate: one camera sees this only roughly." : "");
    const label = make(page, "th", { scope: "row", title: measure.method }, measure.label);
    if (grey && measure.reason) label.append(make(page, "small", {}, measure.reason));
    const row = make(page, "tr", { class: grey ? "grey" : null }, label, this.valueCell(measure, told), this.barCell(measure, most));
    if (this.other) {
      const match = this.other.measures.find((one) => one.name === measure.name && one.event === measure.event);
      const { value, bar, told: sure } = difference(measure, match);
      row.append(match ? this.valueCell(match, "") : make(page, "td", {}, "–"));
      const text = value === null ? "–" : `${value > 0 ? "+" : ""}${numberText(value, measure.unit)}`;
      const why = sure ? "Beyond what one camera can be wrong by." : bar === null ? "The error is not known." : "Within what one camera can be wrong by.";
      row.append(make(page, "td", { class: sure ? "sure" : "unsure", title: why }, text));
    }
    return row;
  }

  valueCell({ value, bar, unit, estimate }, title) {
    if (value === null) return make(this.page, "td", { title }, "–");
    const text = `${estimate ? "≈ " : ""}${numberText(value, unit)}`;
    return make(this.page, "td", { class: "value", title }, text, bar === null ? null : make(this.page, "small", {}, ` ± ${numberText(bar, unit).replace("°", "")}`));
  }

  /** The value as a dot with its error bar, on a scale that all measures of its unit share, zero in the middle. */
  barCell({ value, bar, class: kind }, most) {
    const cell = make(this.page, "td", { class: "bar", "aria-hidden": "true" });
    if (value === null || !most) return cell;
    const at = (number) => `${50 + (42 * number) / most}%`;
    const dot = make(this.page, "i", { class: kind === "C" ? "dot grey" : "dot" });
    dot.style.setProperty("left", at(value));
    if (bar !== null) {
      const line = make(this.page, "i", { class: "error" });
      line.style.setProperty("left", at(Math.max(value - bar, -most)));
      line.style.setProperty("right", `${100 - parseFloat(at(Math.min(value + bar, most)))}%`);
      cell.append(line);
    }
    cell.append(dot);
    return cell;
  }

  showOverall() {
    const { page, swing, other } = this;
    this.overall.replaceChildren(...this.rows(null));
    const notes = [...(swing.practice ? ["This looks like a practice swing: no ball was struck."] : []), ...swing.warnings.map(({ code, message, hint }) => `${message} ${PAGE_HINTS[code] ?? hint ?? ""}`.trim())];
    this["swing-notes"].replaceChildren(...notes.map((note) => make(page, "li", {}, note)));
    this.tempo.replaceChildren();
    this.tempo.hidden = !swing.tempo;
    if (!swing.tempo) return;
    const { ratio, ratio_bar: bar, backswing_s: back, downswing_s: down } = swing.tempo;
    const [low, median, high] = TOUR_TEMPO;
    const number = make(page, "p", { class: "big" }, `${ratio.toFixed(1)} : 1`, bar === null ? null : make(page, "small", {}, ` ± ${bar.toFixed(1)}`));
    const band = make(page, "div", { class: "band", role: "img", "aria-label": `Tempo ${ratio.toFixed(1)}; tour players from ${low} to ${high}, median ${median}` });
    const place = (value) => `${Math.min(Math.max(((value - 1.5) / 5) * 100, 0), 100)}%`;
    const tour = make(page, "i", { class: "tour" });
    tour.style.setProperty("left", place(low));
    tour.style.setProperty("right", `${100 - parseFloat(place(high))}%`);
    const here = make(page, "i", { class: "here" });
    here.style.setProperty("left", place(ratio));
    band.append(tour, here);
    this.tempo.append(
      make(page, "h3", {}, "Tempo"),
      number,
      make(page, "p", {}, `Backswing ${back.toFixed(2)} s, downswing ${down.toFixed(2)} s`),
      band,
      make(page, "p", { class: "quiet" }, `Most tour players: ${low} to ${high}, half of them below ${median}. A band to place a swing in, not a target.`),
    );
    if (other?.tempo) this.tempo.append(make(page, "p", {}, `The other swing: ${other.tempo.ratio.toFixed(1)} : 1`));
  }
}
