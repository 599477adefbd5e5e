// Time: the clip's frames, the clock that plays them, and everybody's pose at any time.
import { AnimationMixer } from "three";

const DEFAULT_FPS = 30; // For files that name no rate.

/** The clip's frames, the time shown, and the mixer that poses everybody at it. Seconds are the clip's playback time. */
export class Playback {
  constructor(gltf, people) {
    this.mixer = new AnimationMixer(gltf.scene);
    const animation = gltf.animations[0];
    if (animation) this.mixer.clipAction(animation).play();
    this.times = frameTimes(gltf.scene.userData, animation, people);
    this.duration = this.times[this.times.length - 1];
    this.speed = 1;
    this.loop = true;
    this.playing = false;
    this.show(0);
  }

  get lastFrame() {
    return this.times.length - 1;
  }

  /** Poses everybody as at `time` seconds. */
  show(time) {
    this.time = Math.min(Math.max(time, 0), this.duration);
    // An action that reached its very end would wrap to its start; the last frame is the last pose.
    this.mixer.setTime(Math.min(this.time, this.duration - 1e-6));
  }

  /** The frame on the screen: the latest that has begun. */
  get frame() {
    let low = 0;
    let high = this.lastFrame;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.times[middle] <= this.time + 1e-6) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  showFrame(frame) {
    this.show(this.times[Math.min(Math.max(Math.round(frame), 0), this.lastFrame)]);
  }

  play() {
    if (this.duration <= 0) return;
    if (this.time >= this.duration) this.show(0);
    this.playing = true;
  }

  pause() {
    this.playing = false;
  }

  /** Advances by `seconds` of the wall clock; true where the picture changed. */
  advance(seconds) {
    if (!this.playing) return false;
    const next = this.time + seconds * this.speed;
    if (next < this.duration) this.show(next);
    else if (this.loop) this.show(next % this.duration);
    else {
      this.show(this.duration);
      this.playing = false;
    }
    return true;
  }
}

/** The time of every frame: even steps, and the file's own keys where a person was followed without a gap (variable frame rates). */
function frameTimes(extras, animation, people) {
  const duration = extras.duration_s ?? animation?.duration ?? 0;
  const frames = extras.frames ?? Math.max(1, Math.round(duration * (extras.fps ?? DEFAULT_FPS)) + 1);
  const times = Float64Array.from({ length: frames }, (_, i) => (frames > 1 ? (duration * i) / (frames - 1) : 0));
  for (const person of people) {
    const { first_frame: first, last_frame: last, frames_followed: followed } = person.extras;
    const track = animation?.tracks.find((one) => one.name.startsWith(`${person.root.name}.`) && one.times.length === followed);
    if (track && last - first + 1 === followed && last < frames) times.set(track.times, first);
  }
  return times;
}
