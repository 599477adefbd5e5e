// What needs no browser: `npm test --prefix player`, and tests/player/test_modules.py.
import assert from "node:assert/strict";
import test from "node:test";
import { difference, otherFrame, overlayMove, sharedEvents } from "../src/align.js";
import { Clock } from "../src/clock.js";
import { gridSteps, groups, valueAt } from "../src/curves.js";
import { angleDeg, Drawing } from "../src/drawing.js";
import { momentLink, pastedToken, readMoment } from "../src/links.js";
import { SlowWatch } from "../src/quality.js";
import { RunList, staysText } from "../src/runs.js";
import { Timeline, valueBetween } from "../src/timeline.js";

const VARIABLE = [0, 0.033, 0.066, 0.2, 0.21, 0.4];
const TOKEN = "a".repeat(32);

/** What the clock asks of a video: it seeks in its own time and shows the frame in which its time lies. */
class FakeVideo extends EventTarget {
  constructor(times) {
    super();
    Object.assign(this, { timeline: new Timeline(times), paused: true, ended: false, at: 0, asked: [], playbackRate: 1 });
  }
  set currentTime(time) {
    this.asked.push(time);
    this.at = time;
    this.ended = false;
  }
  get currentTime() {
    return this.at;
  }
  play() {
    this.paused = false;
  }
  pause() {
    this.paused = true;
  }
  requestVideoFrameCallback(callback) {
    this.callback = callback;
  }
  present() {
    this.callback(0, { mediaTime: this.timeline.times[this.timeline.frameAt(this.at)] });
  }
  seeked() {
    this.present();
    this.dispatchEvent(new Event("seeked"));
  }
}

test("a frame is shown from its time to the next one's, at a variable rate too", () => {
  const timeline = new Timeline(VARIABLE);
  assert.deepEqual([0, 0.032, 0.033, 0.1, 0.205, 0.21, 9, -1].map((time) => timeline.frameAt(time)), [0, 0, 1, 2, 3, 4, 5, 0]);
  for (let frame = 0; frame < VARIABLE.length; frame++) {
    assert.equal(timeline.frameAt(timeline.middleOf(frame)), frame);
    assert.equal(timeline.nearest(VARIABLE[frame] + 0.0004), frame);
    assert.equal(timeline.nearest(VARIABLE[frame] - 0.0004), frame);
  }
  assert.ok(Math.abs(timeline.timeOfExact(2.5) - 0.133) < 1e-9);
  assert.equal(timeline.timeOfExact(99), 0.4);
});

test("a value between samples is on the line between them, and held at the ends", () => {
  const at = (time) => valueBetween([0, 0.5, 2], [1, 2, 5], time);
  assert.deepEqual([-1, 0, 0.25, 0.5, 1, 2, 9].map(at), [1, 1, 1.5, 2, 3, 5, 5]);
  assert.equal(valueBetween([0], [3], 7), 3);
});

test("without a video the browser's clock drives, slower on request, and turns back between the marks", () => {
  const clock = new Clock(new Timeline(VARIABLE));
  clock.setSpeed(0.25);
  clock.play();
  clock.advance(0.4);
  assert.equal(clock.frame, 2);
  clock.setSpeed(1);
  clock.setMarks({ from: 1, to: 4 });
  clock.advance(0.15);
  assert.ok(Math.abs(clock.time - (0.033 + 0.25 - 0.21)) < 1e-9);
  clock.loop = false;
  clock.advance(1);
  assert.deepEqual([clock.frame, clock.playing], [4, false]);
  clock.play();
  assert.equal(clock.frame, 1);
});

test("a video drives: the clock names the frame that the decoder shows", () => {
  const video = new FakeVideo(VARIABLE);
  const clock = new Clock(new Timeline(VARIABLE), { video });
  clock.setSpeed(0.1);
  clock.play();
  assert.deepEqual([video.paused, video.playbackRate], [false, 0.1]);
  for (const [at, frame] of [[0.07, 2], [0.19, 2], [0.2, 3], [0.3, 4]]) {
    video.at = at;
    video.present();
    assert.deepEqual([clock.frame, clock.settled], [frame, true]);
  }
  clock.advance(10); // the browser's clock has no say
  assert.equal(clock.frame, 4);
});

test("while one drags, seeks do not pile up, and the last one is shown", () => {
  const video = new FakeVideo(VARIABLE);
  const clock = new Clock(new Timeline(VARIABLE), { video });
  for (const frame of [1, 2, 3, 5]) clock.seek(frame);
  assert.equal(video.asked.length, 1);
  assert.equal(clock.settled, false);
  video.seeked();
  assert.deepEqual([video.asked.length, clock.frame], [2, 5]);
  video.seeked();
  assert.deepEqual([clock.frame, clock.shownByVideo, clock.settled], [5, 5, true]);
});

test("a video turns back at the end, and at the second mark", () => {
  const video = new FakeVideo(VARIABLE);
  const clock = new Clock(new Timeline(VARIABLE), { video });
  clock.play();
  clock.setMarks({ from: 1, to: 3 });
  video.seeked();
  video.at = 0.2;
  video.present();
  assert.equal(clock.frame, 1);
  video.seeked();
  clock.setMarks(null);
  video.at = 0.4;
  video.present();
  Object.assign(video, { ended: true, paused: true });
  video.dispatchEvent(new Event("ended"));
  assert.deepEqual([clock.frame, clock.playing, video.paused], [0, true, false]);
});

test("two swings meet at their moments, and run evenly between them", () => {
  const mine = { address: { frame_exact: 10 }, top: { frame_exact: 40 }, impact: { frame_exact: 50 } };
  const other = { address: { frame_exact: 100 }, top: { frame_exact: 160 }, impact: { frame_exact: 170 }, finish: { frame_exact: 200 } };
  const shared = sharedEvents(mine, other);
  assert.deepEqual(shared.map((event) => event.name), ["address", "top", "impact"]);
  assert.deepEqual([10, 25, 40, 45, 50, 55, 5].map((frame) => otherFrame(frame, shared)), [100, 130, 160, 165, 170, 175, 90]);
});

test("a difference is told only beyond both errors, and never where a value is grey", () => {
  const measure = (value, bar, kind = "B") => ({ value, bar, class: kind });
  assert.equal(difference(measure(10, 3), measure(4, 4)).told, true);
  assert.equal(difference(measure(9, 3), measure(4, 4)).told, false);
  assert.equal(difference(measure(90, 3, "C"), measure(4, 4)).told, false);
  assert.equal(difference(measure(90, null), measure(4, 4)).told, false);
  assert.equal(difference(measure(null, 1), measure(4, 4)).value, null);
});

test("laying one swing over another brings directions and feet together", () => {
  const mine = { target: [0, 0, 1], origin_m: [1, 0, 2] };
  const other = { target: [1, 0, 0], origin_m: [3, 0, -1] };
  const { turn, shift } = overlayMove(mine, other);
  const moved = ([x, , z]) => [x * Math.cos(turn) + z * Math.sin(turn) + shift[0], -x * Math.sin(turn) + z * Math.cos(turn) + shift[2]];
  assert.ok(Math.hypot(moved(other.origin_m)[0] - 1, moved(other.origin_m)[1] - 2) < 1e-9);
  const ahead = moved([4, 0, -1]);
  assert.ok(Math.hypot(ahead[0] - 1, ahead[1] - 3) < 1e-9);
});

test("an angle takes two strokes, a slip of the hand draws nothing, undo takes the last", () => {
  assert.ok(Math.abs(angleDeg([1, 0], [0, 0], [0, 5]) - 90) < 1e-9);
  const drawing = new Drawing();
  const stroke = (tool, from, to) => {
    drawing.start(tool, "#fff", from);
    drawing.move(to);
    drawing.end(5);
  };
  stroke("line", [0, 0], [2, 1]);
  assert.equal(drawing.shapes.length, 0);
  stroke("angle", [0, 0], [50, 0]);
  assert.equal(drawing.waiting, true);
  stroke("angle", [50, 10], [50, 60]);
  assert.equal(drawing.waiting, false);
  assert.deepEqual(drawing.shapes[0].points, [[0, 0], [50, 0], [50, 60]]);
  stroke("circle", [0, 0], [30, 0]);
  drawing.undo();
  assert.equal(drawing.shapes.length, 1);
});

test("links name a run, a moment and a view; golfers' names of views count", () => {
  const link = momentLink("https://a.example/app/?x=1#y", { run: TOKEN, frame: 143, view: "side" });
  assert.equal(link, `https://a.example/app/?run=${TOKEN}&frame=143&view=side`);
  assert.deepEqual(readMoment(new URL(link).search), { run: TOKEN, frame: 143, view: "side" });
  assert.deepEqual(readMoment("?run=../../etc&frame=-1&view=nowhere"), { run: null, frame: null, view: null });
  assert.equal(readMoment("?view=down-the-line").view, "side");
  assert.equal(pastedToken(` ${link} `, "https://a.example"), TOKEN);
  assert.equal(pastedToken(link, "https://b.example"), null);
  assert.equal(pastedToken("swing", "https://a.example"), null);
});

test("a machine is slow when pictures take long for a while, not when one does", () => {
  const watch = new SlowWatch();
  const told = (step, count, from = 0) => Array.from({ length: count }, (_, i) => watch.add(from + i * step)).some(Boolean);
  assert.equal(told(20, 100), false);
  watch.reset();
  assert.equal(told(100, 12), false);
  assert.equal(told(100, 2, 1200), true);
  watch.reset();
  assert.equal(told(5000, 4), true);
  watch.reset();
  assert.equal(told(3_600_000, 2) || told(16, 20, 3_600_000), false);
});

test("the list of results survives what it cannot read, and keeps the newest first", () => {
  const held = { "body4d.runs": "{broken" };
  const list = new RunList({ getItem: (key) => held[key] ?? null, setItem: (key, value) => (held[key] = value) });
  assert.deepEqual(list.read(), []);
  list.remember("one", { name: "One" });
  list.remember("two", { name: "Two" });
  list.remember("one", { name: "Uno" });
  assert.deepEqual(list.read().map(({ token, name }) => [token, name]), [["two", "Two"], ["one", "Uno"]]);
  list.forget("two");
  assert.equal(list.read().length, 1);
  assert.equal(staysText(7200 + 60, 0), "stays for 2 h, longer if opened again");
  assert.equal(staysText(null, 0), "");
});

test("curves: one scale for a heading and unit, round grid lines, gaps are gaps", () => {
  const series = [["Speeds", "m/s"], ["Speeds", "°/s"], ["Speeds", "m/s"]].map(([group, unit]) => ({ group, unit }));
  assert.deepEqual(groups(series).map((group) => [group.title, group.series.length]), [["Speeds (m/s)", 2], ["Speeds (°/s)", 1]]);
  assert.deepEqual(gridSteps(-12, 31), [0, 20]);
  assert.deepEqual(gridSteps(0, 1), [0, 0.5, 1]);
  const curve = { frames: [3, 4, 7], values: [1, null, 2] };
  assert.deepEqual([3, 4, 5, 7].map((frame) => valueAt(curve, frame)), [1, null, null, 2]);
});
