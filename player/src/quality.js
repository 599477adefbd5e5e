// Notices that a machine draws too slowly.

const MAX_INTERVAL_MS = 1000 / 15;
const NUM_INTERVALS = 12; // Less than a second of slow drawing may be something else at work,
const MIN_INTERVALS = 3; // but where a picture takes a second, three are enough
const MIN_SLOW_MS = 2000; // once they took this long together.
const MAX_COUNTED_MS = 1500; // A machine that slept for an hour is not slow for that.

/** Told the time of each picture while something plays, says when fewer than 15 come in a second. To be reset when a tab was hidden. */
export class SlowWatch {
  constructor() {
    this.reset();
  }

  reset() {
    this.previous = null;
    this.intervals = [];
  }

  /** True where drawing is slow: over the last pictures it took more than a fifteenth of a second each. */
  add(clockMs) {
    const interval = this.previous === null ? null : clockMs - this.previous;
    this.previous = clockMs;
    if (interval === null) return false;
    this.intervals.push(Math.min(interval, MAX_COUNTED_MS));
    if (this.intervals.length > NUM_INTERVALS) this.intervals.shift();
    const count = this.intervals.length;
    const total = this.intervals.reduce((sum, one) => sum + one, 0);
    const enough = count === NUM_INTERVALS || (count >= MIN_INTERVALS && total >= MIN_SLOW_MS);
    // The longest is left out: one pause is no slow machine.
    return enough && (total - Math.max(...this.intervals)) / (count - 1) > MAX_INTERVAL_MS;
  }
}
