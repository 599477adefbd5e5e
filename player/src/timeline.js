// The clip's exact times: which frame is shown at a time, and which time shows a frame, at any and at variable frame rates.

const TOLERANCE_S = 1e-4; // Files keep times in ticks, down to a microsecond in ours and a tenth of a millisecond in others.

/** The value at `time` between samples at rising `times`; held before the first and after the last. */
export function valueBetween(times, values, time) {
  const timeline = new Timeline(times);
  const left = timeline.frameAt(time);
  const right = Math.min(left + 1, timeline.last);
  const share = right > left ? Math.min(Math.max((time - times[left]) / (times[right] - times[left]), 0), 1) : 0;
  return values[left] + (values[right] - values[left]) * share;
}

/** The frames' times in seconds, rising. */
export class Timeline {
  constructor(times) {
    this.times = Float64Array.from(times);
  }

  get last() {
    return this.times.length - 1;
  }

  /** Seconds from the first frame to the last. */
  get duration() {
    return this.times[this.last] - this.times[0];
  }

  clamp(frame) {
    return Math.min(Math.max(Math.round(frame) || 0, 0), this.last);
  }

  timeOf(frame) {
    return this.times[this.clamp(frame)];
  }

  /** The frame on the screen at `time`: the latest that has begun. */
  frameAt(time) {
    let low = 0;
    let high = this.last;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.times[middle] <= time + TOLERANCE_S) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The frame whose own time is nearest to `time`, as a decoder tells it of the frame that it shows. */
  nearest(time) {
    const frame = this.frameAt(time);
    return frame < this.last && this.times[frame + 1] - time < time - this.times[frame] ? frame + 1 : frame;
  }

  /** A time within a frame, far from its neighbours, so that a rounding in a decoder shows no other frame. */
  middleOf(frame) {
    const at = this.clamp(frame);
    const step = at < this.last ? this.times[at + 1] - this.times[at] : this.last ? this.times[at] - this.times[at - 1] : 0;
    return this.times[at] + step / 2;
  }

  /** A place between frames, in frames, as a time. */
  timeOfExact(frame) {
    const left = Math.min(Math.max(Math.floor(frame), 0), this.last);
    const right = Math.min(left + 1, this.last);
    return this.times[left] + (this.times[right] - this.times[left]) * Math.min(Math.max(frame - left, 0), 1);
  }
}
