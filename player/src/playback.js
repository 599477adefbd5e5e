// Everybody's pose at any time, and the frames' times as the file keeps them.
import { AnimationMixer } from "three";
import { Timeline } from "./timeline.js";

const DEFAULT_FPS = 30; // For files that name no rate.

/** Poses everybody of one GLB. Seconds are the clip's playback time. */
export class Poser {
  constructor(gltf, people, times = null) {
    this.mixer = new AnimationMixer(gltf.scene);
    const animation = gltf.animations[0];
    if (animation) this.mixer.clipAction(animation).play();
    this.timeline = new Timeline(times ?? frameTimes(gltf.scene.userData, animation, people));
    this.length = animation?.duration ?? this.timeline.times[this.timeline.last];
    this.show(this.timeline.times[0]);
  }

  get times() {
    return this.timeline.times;
  }

  get lastFrame() {
    return this.timeline.last;
  }

  /** Poses everybody as at `time` seconds. */
  show(time) {
    this.time = Math.min(Math.max(time, 0), this.times[this.lastFrame]);
    // An action that reached its very end would wrap to its start; the last frame is the last pose.
    this.mixer.setTime(Math.min(this.time, Math.max(this.length - 1e-6, 0)));
  }

  /** The frame whose pose is shown: the latest that has begun. */
  get frame() {
    return this.timeline.frameAt(this.time);
  }

  showFrame(frame) {
    this.show(this.timeline.timeOf(frame));
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
