// Notices that a machine draws too slowly.

const MAX_INTERVAL_MS = 1000 / 15;
const NUM_INTERVALS = 12; // Less than a second of slow drawing may be something else at work.
const MAX_COUNTED_MS = 1500; // Longer: the tab was hidden, or the machine asleep.

/** Told the time of each picture while something plays, says once when fewer than 15 come in a second. */
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
    if (interval === null || interval > MAX_COUNTED_MS) return false;
    this.intervals.push(interval);
    if (this.intervals.length > NUM_INTERVALS) this.intervals.shift();
    const total = this.intervals.reduce((sum, one) => sum + one, 0);
    return this.intervals.length === NUM_INTERVALS && total / NUM_INTERVALS > MAX_INTERVAL_MS;
  }
}
