// The page: loads a result, or a single GLB, and keeps video, 3D, curves and numbers on one clock. Its addresses: docs/player.md.
import { Clock } from "./clock.js";
import { Chart, valueAt } from "./curves.js";
import { make, offer } from "./dom.js";
import { COLOURS } from "./drawing.js";
import { GolfTab, golfTurns, readSwing } from "./golf.js";
import { pastedToken, readMoment, viewOf } from "./links.js";
import { fetchGlb, fetchJson, movementBlock, parseGlb, UserFacingError } from "./load.js";
import { OtherVideo } from "./other_video.js";
import { connectTabs, Panel } from "./panel.js";
import { RunList, server, storage } from "./runs.js";
import { RunRows } from "./run_rows.js";
import { ShareTab } from "./sharing.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";
import { VideoPane } from "./video.js";

const MAX_STEP_S = 0.25; // The movement does not jump when a hidden tab becomes visible again.
const WIDE_PX = 720; // From here on video and 3D stand beside each other.
const prefers = (what) => matchMedia(`(prefers-${what})`);

/** What the page shows: {mode, run, base, home, result, movement, golf, glb, moment, autoplay}. */
async function load(page, panel) {
  const here = new URL(page.location.href);
  const { run } = readMoment(here.search);
  const progress = (share) => panel.showProgress(share);
  const reads = { frame: Number(here.searchParams.get("frame")) || 0, view: viewOf(here.searchParams.get("view")) };
  if (!run) {
    const glb = await parseGlb(await fetchGlb(page, progress));
    const moment = { ...reads, given: here.searchParams.has("frame") };
    return { mode: "viewer", run: null, movement: movementBlock(page), golf: null, glb, moment, autoplay: here.searchParams.get("play") !== "0" };
  }
  const base = new URL(`../runs/${run}/`, here);
  const outer = outerPage(run);
  const asked = outer ? readMoment(outer.search) : readMoment(here.search);
  const moment = { frame: asked.frame ?? 0, view: asked.view, given: asked.frame !== null };
  const result = await fetchJson(new URL("result.json", base), true);
  if (!result.glb) throw new UserFacingError("This result has no 3D body: run the clip again.");
  const video = page.getElementById("video");
  if (result.video) video.src = new URL(result.video, base).href; // at once: it comes while the body is read
  const part = (name) => (result[name] ? fetchJson(new URL(result[name], base)) : null);
  const [movement, golf, glb] = await Promise.all([part("movement"), part("golf"), fetchGlb(page, progress, new URL(result.glb, base)).then(parseGlb)]);
  const home = outer ? new URL(outer.pathname, outer.origin) : new URL("../", here);
  return { mode: "result", run, base, home, result, movement, golf, glb, moment, autoplay: here.searchParams.get("play") !== "0" && !moment.given };
}

/** The address of the app's page around this one, null where there is none or it is of somebody else. */
function outerPage(run) {
  try {
    if (window.parent === window) return null;
    const { location } = window.parent;
    return readMoment(location.search).run === run || location.origin === window.location.origin ? location : null;
  } catch {
    return null;
  }
}

class App {
  constructor(page, panel, loaded) {
    Object.assign(this, { page, panel, ...loaded, previousClock: null, stale: true });
    page.body.dataset.mode = this.mode;
    const swing = this.golf ? readSwing(this.golf) : null;
    const turns = swing ? golfTurns(swing) : {};
    const pane = (id, onChange) => ({ element: page.getElementById(id), margins: () => panel.margins(), onChange });
    this.stage = new Stage(page.getElementById("canvas"), this.glb, {
      panes: [pane("pane-1", (view) => panel.showView(view)), pane("pane-2", (view) => panel.showSecondView(view))],
      times: this.movement?.times_s ?? null,
      turns,
      movement: this.movement,
      wake: () => this.wake(),
      onLost: (sentence) => panel.showError(sentence),
      onSlow: () => this.drawLightly(),
    });
    this.clock = new Clock(this.stage.poser.timeline, { wake: () => this.wakeFlat() });
    this.video = new VideoPane(page, this.clock, () => this.wakeFlat());
    this.otherVideo = new OtherVideo(page.getElementById("other-video"), this.clock, () => this.wakeFlat());
    this.chart = new Chart(page, this.clock, (frame) => this.seek(frame));
    this.golf = new GolfTab(page, this.clock, { onSeek: (frame) => this.seek(frame) });
    panel.nameViews(swing ? { front: "Face-on", side: "Down the line" } : { front: "Front", side: "Side" });
    panel.connect(this);
    this.connectVideo();
    this.stage.setWays(true);
    if (swing) this.golf.show(swing);
    this.showCurves(swing);
    if (this.mode === "result") this.connectResult(swing);
    this.obeyColours();
    page.addEventListener("visibilitychange", () => this.stage.watch.reset()); // A hidden tab draws nothing.
    const resized = new ResizeObserver(() => this.layOut());
    for (const element of [page.getElementById("panes"), page.body]) resized.observe(element);
    this.layOut();
  }

  // Pictures.

  /** Requests one picture; while something moves, each requests the next. Nothing is drawn while nothing changes. */
  wake() {
    this.stale = true;
    this.wakeFlat();
  }

  /** The same where nothing in 3D has changed but perhaps the time: a picture of the video has come, or something was drawn over it. */
  wakeFlat() {
    this.pending ??= requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    this.pending = null;
    const seconds = Math.min((now - (this.previousClock ?? now)) / 1000, MAX_STEP_S);
    const { clock } = this;
    clock.advance(seconds);
    const { time } = clock;
    const turning = this.draw(now, time);
    const continues = clock.playing || turning;
    this.previousClock = continues ? now : null;
    if (continues) this.pending ??= requestAnimationFrame((next) => this.tick(next));
  }

  draw(now, time) {
    const { clock, stage } = this;
    let turning = this.turning;
    if (clock.video) this.video.draw();
    this.otherVideo.follow();
    if (this.stale || turning || time !== this.drawnTime) {
      this.stale = false;
      this.drawnTime = time;
      turning = this.turning = stage.draw(now, time, clock.playing);
      this.chart.draw();
      this.golf.update();
      this.share?.update();
    } else stage.rest(now, clock.playing);
    this.panel.showState(clock);
    return turning;
  }

  drawLightly() {
    this.stage.setLight(true);
    this.panel.showHint("This device draws slowly, so the 3D picture is coarser and has no shadows.", "Draw it well", () => this.stage.setLight(false));
  }

  obeyColours() {
    const dark = prefers("color-scheme: dark");
    const obey = () => {
      this.stage.setDark(dark.matches);
      this.chart.dark = dark.matches;
      this.wake();
    };
    dark.addEventListener("change", obey);
    obey();
  }

  /** Divides the room between video and 3D, and tells the page around this one how high it is. */
  layOut() {
    const { page } = this;
    const area = page.getElementById("stage");
    const width = area.clientWidth;
    if (this.mode === "result") {
      const { width: w, height: h } = this.video.size;
      const aspect = this.clock.video || this.result.video ? w / h : 0;
      const wide = width >= WIDE_PX;
      const height = Math.round(Math.min(Math.max(width * (aspect > 1 ? 0.36 : 0.5), 300), 600));
      const films = this.otherVideo.shown ? 2 : 1;
      page.getElementById("films").classList.toggle("two", films === 2);
      const videoWidth = wide ? Math.min(films * aspect * height, width * (films * aspect > 1 ? 0.58 : 0.45)) : Math.min(width, films * 0.62 * 640 * aspect);
      area.style.setProperty("--video-width", `${Math.round(videoWidth)}px`);
      area.style.setProperty("--video-aspect", `${w} / ${h}`);
      area.style.setProperty("--space-height", wide ? `${height}px` : `${Math.round(Math.min(Math.max(width * 0.85, 280), 420))}px`);
      area.classList.toggle("wide", wide && aspect > 0);
    }
    const panes = page.getElementById("panes");
    panes.classList.toggle("in-rows", panes.clientWidth < panes.clientHeight * 0.9);
    this.stage.resize();
    this.chart.stale = true;
    this.tellHeight();
    this.wake();
  }

  tellHeight() {
    try {
      const frame = window.frameElement;
      if (frame && this.mode === "result") frame.style.setProperty("height", `${Math.ceil(this.page.getElementById("page").getBoundingClientRect().height)}px`);
    } catch {
      // The page around is of another server and keeps its own height.
    }
  }

  // What buttons and keys do.

  toggle() {
    if (this.clock.playing) this.clock.pause();
    else this.clock.play();
    this.panel.showState(this.clock); // at once, however long the next picture takes
  }

  seek(frame) {
    this.clock.pause();
    this.clock.seek(frame);
  }

  stepBy(frames) {
    this.seek(this.clock.frame + frames);
  }

  setSpeed(speed) {
    this.clock.setSpeed(speed);
  }

  setLoop(loop) {
    this.clock.loop = loop;
  }

  /** Sets the beginning or the end of what is played again and again; null takes both away. */
  mark(end) {
    const { clock } = this;
    const { frame } = clock;
    if (end === null) this.wantedMarks = null;
    else this.wantedMarks = { ...(this.wantedMarks ?? { from: 0, to: clock.lastFrame }), [end]: frame };
    if (this.wantedMarks && this.wantedMarks.from >= this.wantedMarks.to) {
      this.wantedMarks = end === "from" ? { from: frame, to: clock.lastFrame } : { from: 0, to: frame };
    }
    const whole = this.wantedMarks && this.wantedMarks.from === 0 && this.wantedMarks.to === clock.lastFrame;
    clock.setMarks(whole ? null : this.wantedMarks);
    this.panel.showMarks(clock.marks, clock.lastFrame);
    this.wake();
  }

  setView(view) {
    this.stage.panes[0].views.show(view);
    this.wake();
  }

  setSecondView(view) {
    this.stage.panes[1].views.show(view);
    this.wake();
  }

  offers(id) {
    const { has } = this.stage;
    return { trails: has.wrists, ways: has.ways, uncertainty: has.clouds, "curves-switch": this.mode === "viewer" && Boolean(this.movement) }[id] ?? true;
  }

  setSwitch(id, on) {
    const { stage, page } = this;
    const does = {
      skeleton: () => stage.setSkeleton(on),
      "see-through": () => stage.setSeeThrough(on),
      trails: () => stage.setTrails(on),
      ways: () => stage.setWays(on),
      uncertainty: () => stage.setClouds(on),
      follow: () => stage.setFollowing(on),
      "two-views": () => this.showSecond(on),
      "curves-switch": () => {
        const curves = page.getElementById("tab-curves");
        curves.hidden = !on;
        if (on) page.getElementById("bar").prepend(curves);
        this.layOut();
      },
    };
    does[id]();
    page.getElementById("cloud-key").hidden = this.panel.switches.uncertainty.getAttribute("aria-pressed") !== "true";
  }

  showSecond(on) {
    const { page, stage } = this;
    page.getElementById("second").hidden = !on;
    const [first, second] = stage.panes;
    if (on) second.views.show(first.views.view === "side" ? "front" : "side", true);
    this.layOut();
  }

  // Parts of a result.

  connectVideo() {
    const { video, clock, page } = this;
    const { video: element } = video;
    page.getElementById("video-pane").hidden = !this.result?.video;
    if (!this.result?.video) return;
    const ready = () => {
      if (clock.video) return;
      const { playing } = clock;
      clock.attach(element);
      clock.seek(clock.frame);
      if (playing) clock.startVideo();
      this.layOut();
    };
    if (element.readyState >= 2) ready();
    else element.addEventListener("loadeddata", ready, { once: true });
    element.addEventListener("error", () => {
      page.getElementById("video-pane").hidden = true;
      this.result.video = null;
      this.layOut();
    });
    if (element.error) element.dispatchEvent(new Event("error"));
    video.onTap = () => this.toggle();
    this.connectDrawing();
  }

  connectDrawing() {
    const { page, video } = this;
    const tools = [...page.querySelectorAll("[data-tool]")];
    // Colours and corrections are there while something is drawn, or can be taken back.
    const shown = () => page.getElementById("draw-tools").classList.toggle("drawing", video.tool !== null || video.drawing.shapes.length > 0);
    const choose = (tool) => {
      video.choose(tool);
      for (const button of tools) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
      if (tool) this.clock.pause();
      shown();
    };
    for (const button of tools) button.onclick = () => choose(button.getAttribute("aria-pressed") === "true" ? null : button.dataset.tool);
    const colours = page.getElementById("colours");
    for (const colour of COLOURS) {
      const button = make(page, "button", { type: "button", class: "colour", "aria-label": `Colour ${COLOURS.indexOf(colour) + 1}`, "aria-pressed": String(colour === video.colour) });
      button.style.setProperty("--colour", colour);
      button.onclick = () => {
        video.colour = colour;
        for (const other of colours.children) other.setAttribute("aria-pressed", String(other === button));
      };
      colours.append(button);
    }
    const undo = page.getElementById("undo");
    const clear = page.getElementById("clear");
    undo.onclick = () => video.undo();
    clear.onclick = () => video.clear();
    page.getElementById("still").onclick = async () => offer(page, await video.still(), `frame_${this.clock.frame}.png`);
    const told = page.getElementById("draw-hint");
    video.onDrawn = () => {
      undo.disabled = clear.disabled = video.drawing.shapes.length === 0;
      shown();
      told.textContent = video.drawing.waiting ? "Now drag the angle's other arm." : "";
    };
    video.onDrawn();
  }

  showCurves(swing) {
    const held = this.movement?.people ?? [];
    const joints = held.flatMap((person) =>
      person.curves.map((curve) => ({
        ...curve,
        frames: person.frames,
        group: held.length > 1 ? `${curve.group}, person ${person.person_id}` : curve.group,
      })),
    );
    const events = swing ? this.golf.moments.map(({ frame_exact: at }) => ({ time: this.clock.timeline.timeOfExact(at) })) : [];
    this.chart.setSeries([...(swing?.series ?? []), ...joints], events);
  }

  connectResult(swing) {
    const { page, run, result, base, home, clock } = this;
    this.list = new RunList(storage());
    this.list.remember(run, { name: result.name, golf: Boolean(swing) });
    this.share = new ShareTab(page, {
      run,
      result,
      base,
      home,
      clock,
      moment: () => ({ frame: clock.frame, view: this.stage.panes[0].views.view }),
      stretch: () => this.stretch(),
    });
    const runs = new RunRows(page, { list: this.list, server: server(home), run, home, onChange: () => this.offerOthers() });
    page.getElementById("title").textContent = result.name;
    page.title = `${result.name} in 3D`;
    this.showNotes();
    for (const [id, shown] of Object.entries({ "tab-golf": Boolean(swing), "tab-curves": this.chart.choices.length > 0 })) {
      page.querySelector(`[aria-controls=${id}]`).hidden = !shown;
    }
    this.showTab = connectTabs(page, (id) => {
      if (id === "tab-runs") runs.refresh();
      this.chart.stale = true;
      this.layOut();
    });
    page.getElementById("more").hidden = false;
    this.showTab(swing ? "tab-golf" : this.chart.choices.length ? "tab-curves" : "tab-share");
    if (swing) this.connectCompare();
    runs.refresh();
  }

  /** What a slow-motion video would show: between the marks, else the swing, else all. */
  stretch() {
    const { clock, golf } = this;
    if (clock.marks) return { ...clock.marks, what: "Between the marks" };
    const address = golf.swing?.events.address;
    const finish = golf.swing?.events.finish;
    if (address && finish) return { from: address.frame, to: finish.frame, what: "The swing, address to finish" };
    return { from: 0, to: clock.lastFrame, what: "The whole clip" };
  }

  showNotes() {
    const { page, result } = this;
    const people = result.people.map(({ id, frames, height_m: height, height_assumed: assumed }) => {
      const tall = height === null ? "" : `, ${height.toFixed(2)} m tall${assumed ? " (assumed: enter the height before a run, if you know it)" : ""}`;
      return make(page, "li", {}, `Person ${id}: seen on ${frames} frames${tall}.`);
    });
    const moves = "The camera moves: bodies go through one world, and the view “Camera” follows it. Other views show its way (under “Show”).";
    const camera = this.stage.has.ways ? [make(page, "li", {}, moves)] : [];
    page.getElementById("notes").replaceChildren(...people, ...camera, ...result.notes.map((note) => make(page, "li", {}, note)));
  }

  // Comparing swings.

  connectCompare() {
    const { page } = this;
    this.offerOthers();
    const choice = page.getElementById("other-run");
    const field = page.getElementById("other-link");
    choice.onchange = () => this.compareWith(choice.value || null);
    page.getElementById("compare-form").onsubmit = (event) => {
      event.preventDefault();
      const token = pastedToken(field.value, location.origin);
      if (token) this.compareWith(token);
      else this.compareState("This is no link to a result on this server.");
    };
    for (const radio of page.querySelectorAll("[name=compare-as]")) radio.onchange = () => this.setSideBySide(radio.value === "side");
  }

  offerOthers() {
    const choice = this.page.getElementById("other-run");
    const { value } = choice;
    const others = this.list.read().filter((run) => run.token !== this.run && run.golf);
    const option = (token, name) => make(this.page, "option", { value: token }, name);
    choice.replaceChildren(option("", others.length ? "Nobody" : "No other swing on this browser yet"), ...others.map((run) => option(run.token, run.name ?? "A result")));
    choice.value = value;
    if (choice.selectedIndex < 0) choice.value = "";
  }

  compareState(sentence) {
    this.page.getElementById("compare-state").textContent = sentence;
  }

  async compareWith(token) {
    const { page, golf, stage } = this;
    this.comparing = token;
    this.theirs = null;
    golf.compare(null);
    stage.setGhost(null);
    this.chart.setOther(null);
    page.getElementById("compare-as").hidden = true;
    this.compareState(token ? "Fetching the other swing…" : "");
    this.setSideBySide(false);
    if (!token) return this.layOut();
    try {
      const base = new URL(`../runs/${token}/`, page.location.href);
      const result = await fetchJson(new URL("result.json", base), true);
      if (!result.golf) throw new UserFacingError("There is no golf swing in that result.");
      const part = (name) => (result[name] ? fetchJson(new URL(result[name], base)) : null);
      const [held, movement, gltf] = await Promise.all([part("golf"), part("movement"), fetchGlb(page, () => {}, new URL(result.glb, base)).then(parseGlb)]);
      if (this.comparing !== token || !held) return;
      const other = readSwing(held);
      this.list.remember(token, { name: result.name, golf: true });
      this.offerOthers();
      page.getElementById("other-run").value = token;
      golf.compare(other);
      if (golf.shared.length < 2) throw new UserFacingError("The two swings have too few moments in common to be compared.");
      const timeOf = (frame, timeline) => timeline.timeOfExact(golf.otherFrame(frame));
      const times = movement?.times_s ?? null;
      if (result.video && times) this.theirs = { src: new URL(result.video, base).href, timeline: new Timeline(times) };
      stage.setGhost({ gltf, times, person: other.person, mine: golf.swing.frame, other: other.frame, timeOf });
      this.chart.setOther((series, frame) => {
        const match = other.series.find((one) => one.name === series.name);
        return match ? valueAt(match, Math.round(golf.otherFrame(frame))) : null;
      });
      const differ = golf.swing.frame.view === other.frame.view ? "" : " The two were filmed from different sides, so part of a difference may come from that.";
      this.compareState(`Compared with ${result.name}, in orange; aligned at ${golf.shared.length} moments.${differ}`);
      page.getElementById("compare-as").hidden = false;
      this.layOut();
    } catch (error) {
      golf.compare(null);
      if (!(error instanceof UserFacingError)) console.error(error);
      this.compareState(error instanceof UserFacingError ? error.message : "The other swing could not be read.");
    }
  }

  setSideBySide(on) {
    const { panel, stage } = this;
    const two = panel.switches["two-views"];
    if (on && two.getAttribute("aria-pressed") !== "true") two.click();
    if (on) this.setSecondView(stage.panes[0].views.view);
    stage.setSideBySide(on);
    if (on && this.theirs) this.otherVideo.show(this.theirs.src, this.theirs.timeline, (frame) => this.golf.otherFrame(frame));
    else this.otherVideo.hide();
    this.layOut();
    this.page.getElementById(on ? "as-side" : "as-ghost").checked = true;
    this.wake();
  }
}

async function open() {
  const panel = new Panel(document);
  if (new URLSearchParams(location.search).has("run")) document.body.dataset.mode = "result";
  try {
    const loaded = await load(document, panel);
    const app = new App(document, panel, loaded);
    const { moment } = loaded;
    app.stage.panes[0].views.show(moment.view ?? "free", true);
    if (moment.given) app.clock.seek(moment.frame);
    panel.ready();
    app.layOut();
    if (loaded.autoplay && !prefers("reduced-motion: reduce").matches) app.clock.play();
  } catch (error) {
    if (!(error instanceof UserFacingError)) console.error(error);
    panel.showError(error instanceof UserFacingError ? error.message : "The movement could not be shown: something in this page failed. Load it again, or open the GLB in another viewer.");
  }
}

open();
