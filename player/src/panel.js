// Buttons, the scrub bar and text: everything of the page but the pictures. It knows what to call, not what that does.
import { make, toggleButton } from "./dom.js";

const VIEW_KEYS = { 1: "free", 2: "camera", 3: "front", 4: "side", 5: "top" };
const VIEW_ORDER = ["free", "camera", "front", "side", "top"];
const SWITCHES = ["skeleton", "see-through", "trails", "ways", "uncertainty", "follow", "two-views", "curves-switch"];
const SWITCH_KEYS = { s: "skeleton", x: "see-through", t: "trails", p: "ways", u: "uncertainty", f: "follow", w: "two-views" };

export class Panel {
  constructor(page) {
    this.page = page;
    this.body = page.body;
    for (const id of ["message", "play", "back", "next", "scrub", "time", "frame", "last", "loop", "people", "top", "bar", "show", "hint", "mark-from", "mark-to", "mark-none", "marked", "view-2"]) {
      this[id] = page.getElementById(id);
    }
    this.switches = Object.fromEntries(SWITCHES.map((id) => [id, page.getElementById(id)]));
    this.views = [...page.querySelectorAll("[data-view]")];
    this.speeds = [...page.querySelectorAll("[data-speed]")];
  }

  showProgress(share) {
    this.message.textContent = `Loading the movement: ${Math.round(share * 100)} %`;
  }

  /** Shows why nothing can be displayed. */
  showError(sentence) {
    this.body.dataset.state = "failed";
    this.message.setAttribute("role", "alert");
    this.message.textContent = sentence;
  }

  ready() {
    this.body.dataset.state = "ready";
    this.message.textContent = "";
  }

  /** Pixels covered above and below the 3D picture's free middle. */
  margins() {
    if (this.body.dataset.mode === "result") return { top: 0, bottom: 0 };
    return { top: this.top.offsetTop + this.top.offsetHeight, bottom: this.page.documentElement.clientHeight - this.bar.offsetTop };
  }

  /** Golfers' names for the views of a swing. */
  nameViews({ front, side }) {
    for (const [view, name] of Object.entries({ front, side })) {
      for (const element of [this.views.find((one) => one.dataset.view === view), this["view-2"].querySelector(`[value=${view}]`)]) element.textContent = name;
    }
  }

  connect(app) {
    this.app = app;
    const { clock } = app;
    this.scrub.max = this.last.textContent = clock.lastFrame;
    const digits = String(clock.lastFrame).length;
    this.frame.style.setProperty("min-width", `${digits}ch`);
    this.time.style.setProperty("min-width", `${clock.timeline.times[clock.lastFrame].toFixed(2).length + 2}ch`);
    this.play.onclick = () => app.toggle();
    this.back.onclick = () => app.stepBy(-1);
    this.next.onclick = () => app.stepBy(1);
    this.connectScrub();
    toggleButton(this.loop, (on) => app.setLoop(on));
    for (const [id, button] of Object.entries(this.switches)) {
      toggleButton(button, (on) => app.setSwitch(id, on));
      button.hidden = !app.offers(id);
    }
    for (const button of this.views) {
      button.hidden = button.dataset.view === "camera" && !app.stage.has.camera;
      button.onclick = () => app.setView(button.dataset.view);
    }
    this["view-2"].onchange = () => app.setSecondView(this["view-2"].value);
    for (const button of this.speeds) button.onclick = () => this.chooseSpeed(Number(button.dataset.speed));
    this["mark-from"].onclick = () => app.mark("from");
    this["mark-to"].onclick = () => app.mark("to");
    this["mark-none"].onclick = () => app.mark(null);
    this.listPeople(app);
    this.page.addEventListener("keydown", (event) => this.key(event));
    this.page.addEventListener("pointerdown", (event) => {
      if (this.show.open && !this.show.contains(event.target)) this.show.open = false;
    });
    const still = clock.lastFrame === 0;
    for (const control of [this.play, this.back, this.next, this.scrub, this.loop, this["mark-from"], this["mark-to"]]) control.disabled = still;
  }

  connectScrub() {
    const { app } = this;
    let resume = false;
    const hold = () => {
      resume ||= app.clock.playing;
      app.clock.pause();
    };
    const release = () => {
      if (resume) app.toggle();
      resume = false;
    };
    this.scrub.addEventListener("pointerdown", hold);
    for (const end of ["pointerup", "pointercancel"]) this.scrub.addEventListener(end, release);
    this.scrub.addEventListener("input", () => {
      app.clock.pause();
      app.clock.seek(Number(this.scrub.value));
    });
  }

  listPeople(app) {
    const { people } = app.stage;
    if (people.length < 2) return;
    this.people.hidden = false;
    for (const person of people) {
      const dot = make(this.page, "i");
      dot.style.background = `#${person.colour.getHexString()}`;
      const button = make(this.page, "button", { type: "button", title: `Show or hide ${person.name}`, "aria-pressed": "true" }, dot, person.name);
      toggleButton(button, (on) => app.stage.setVisible(person, on));
      this.people.append(button);
    }
  }

  chooseSpeed(speed) {
    this.app.setSpeed(speed);
    for (const button of this.speeds) button.setAttribute("aria-pressed", String(Number(button.dataset.speed) === speed));
  }

  showView(view) {
    this.view = view;
    for (const button of this.views) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  }

  showSecondView(view) {
    this["view-2"].value = view;
  }

  /** Shows the stretch that is played again and again. */
  showMarks(marks, lastFrame) {
    this.body.classList.toggle("marked", Boolean(marks));
    this["mark-none"].hidden = !marks;
    this.marked.hidden = !marks;
    if (!marks) return;
    this.marked.style.setProperty("--from", marks.from / Math.max(lastFrame, 1));
    this.marked.style.setProperty("--to", marks.to / Math.max(lastFrame, 1));
  }

  showHint(sentence, action, onAction) {
    const button = make(this.page, "button", { type: "button" }, action);
    button.onclick = () => {
      this.hint.hidden = true;
      onAction();
    };
    this.hint.replaceChildren(sentence, " ", button);
    this.hint.hidden = false;
  }

  /** Shows time, frame and the play button; touches the page only where something changed. */
  showState(clock) {
    const { frame, playing } = clock;
    if (playing !== this.shownPlaying) {
      this.shownPlaying = playing;
      this.body.classList.toggle("playing", playing);
      this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
      this.play.title = playing ? "Pause (space)" : "Play (space)";
    }
    if (frame === this.shownFrame) return;
    this.shownFrame = frame;
    const seconds = clock.timeline.timeOf(frame).toFixed(2);
    this.scrub.value = this.frame.textContent = frame;
    this.time.textContent = `${seconds} s`;
    this.scrub.style.setProperty("--share", `${(100 * frame) / Math.max(clock.lastFrame, 1)}%`);
    this.scrub.setAttribute("aria-valuetext", `${seconds} seconds, frame ${frame} of 0 to ${clock.lastFrame}`);
  }

  key(event) {
    const { target } = event;
    const typing = target.closest?.("input:not([type=range], [type=radio], [type=checkbox]), textarea, select, [contenteditable]");
    const chooses = event.key.length > 1 || event.key === " "; // arrows and the space bar belong to what is chosen by them
    if (typing || (chooses && target.closest?.("[type=radio], [type=checkbox]")) || event.ctrlKey || event.metaKey || event.altKey || this.body.dataset.state !== "ready") return;
    const { app } = this;
    const last = app.clock.lastFrame;
    const tenth = Math.max(1, Math.round(last / 10));
    const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action =
      {
        " ": () => app.toggle(),
        ArrowLeft: () => app.stepBy(event.shiftKey ? -tenth : -1),
        ArrowRight: () => app.stepBy(event.shiftKey ? tenth : 1),
        ArrowUp: () => this.changeSpeed(1),
        ArrowDown: () => this.changeSpeed(-1),
        Home: () => app.stepBy(-last),
        End: () => app.stepBy(last),
        l: () => this.loop.click(),
        a: () => app.mark("from"),
        b: () => app.mark("to"),
        v: () => this.nextView(),
        Escape: () => (this.show.open = false),
      }[letter] ?? this.digit(letter) ?? this.switchOf(letter);
    // A focused button handles the space bar itself; a tab list its arrows.
    if (!action || (event.key === " " && event.target.closest?.("button, summary, a")) || event.target.closest?.("[role=tab]")) return;
    event.preventDefault();
    action();
  }

  /** Digits are the moments of a swing; where there is none, the views. */
  digit(letter) {
    if (!/^[1-9]$/.test(letter)) return null;
    if (this.app.golf.swing) return () => this.app.golf.key(Number(letter));
    const button = this.views.find((one) => one.dataset.view === VIEW_KEYS[letter] && !one.hidden);
    return button ? () => button.click() : null;
  }

  switchOf(letter) {
    const button = this.switches[SWITCH_KEYS[letter]];
    return button && !button.hidden ? () => button.click() : null;
  }

  nextView() {
    const offered = VIEW_ORDER.filter((view) => !this.views.find((one) => one.dataset.view === view).hidden);
    this.app.setView(offered[(offered.indexOf(this.view) + 1) % offered.length]);
  }

  changeSpeed(step) {
    const values = this.speeds.map((button) => Number(button.dataset.speed));
    const index = values.indexOf(this.app.clock.speed) + step;
    if (values[index] !== undefined) this.chooseSpeed(values[index]);
  }
}

/** Tabs by the pattern of ARIA: arrows move between them. `onShow(id)` is told. */
export function connectTabs(page, onShow) {
  const tabs = [...page.querySelectorAll("[role=tab]")];
  const show = (tab, focus) => {
    for (const one of tabs) {
      const is = one === tab;
      one.setAttribute("aria-selected", String(is));
      one.tabIndex = is ? 0 : -1;
      page.getElementById(one.getAttribute("aria-controls")).hidden = !is;
    }
    if (focus) tab.focus();
    onShow(tab.getAttribute("aria-controls"));
  };
  for (const tab of tabs) {
    tab.onclick = () => show(tab, false);
    tab.onkeydown = (event) => {
      const offered = tabs.filter((one) => !one.hidden);
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      show(offered[(offered.indexOf(tab) + step + offered.length) % offered.length], true);
    };
  }
  return (id) => show(tabs.find((tab) => tab.getAttribute("aria-controls") === id), false);
}
