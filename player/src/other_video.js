// The other swing's video beside ours, at the moment that belongs to ours.

const ASTRAY_S = 0.12; // While both play, the other is set right when it is further than this from its place; a seek costs a picture or two.
const SAME_S = 1e-3;
const RATES = [0.0625, 16]; // What browsers play at all.

/** Follows the clock: it holds still where the clock does, and plays as fast as the parts between two events ask for. */
export class OtherVideo {
  constructor(video, clock, wake) {
    Object.assign(this, { video, clock, placeOf: null, timeline: null });
    for (const event of ["loadeddata", "seeked"]) video.addEventListener(event, wake);
    video.addEventListener("error", () => this.hide());
  }

  get shown() {
    return this.placeOf !== null;
  }

  /** Shows the video at `src`, of which `timeline` holds the frames' times; `placeOf(frame)` is its frame, between frames too, for ours. */
  show(src, timeline, placeOf) {
    Object.assign(this, { timeline, placeOf });
    if (this.video.src !== src) this.video.src = src;
    this.video.hidden = false;
  }

  hide() {
    this.placeOf = null;
    this.video.pause();
    this.video.hidden = true;
  }

  /** Seconds of the other video that belong to our frame: those of a whole frame where we stand still. */
  timeAt(frame, { whole }) {
    const place = this.placeOf(frame);
    return (whole ? this.timeline.middleOf(place) : this.timeline.timeOfExact(place)) - this.timeline.times[0];
  }

  /** How fast the other plays so that both reach the next event together. */
  rateAt(frame) {
    const { timeline, speed } = this.clock;
    const first = Math.min(frame, timeline.last - 1);
    const ours = timeline.timeOf(first + 1) - timeline.timeOf(first);
    const rate = ((this.timeAt(first + 1, { whole: false }) - this.timeAt(first, { whole: false })) * speed) / ours;
    return Math.min(Math.max(rate, RATES[0]), RATES[1]);
  }

  follow() {
    const { video, clock } = this;
    if (!this.shown || video.readyState < 1) return;
    const { frame, playing } = clock;
    const time = this.timeAt(frame, { whole: !playing });
    if (playing) {
      video.playbackRate = this.rateAt(frame);
      if (video.paused && !video.ended) video.play()?.catch?.(() => {});
    } else video.pause();
    const allowed = playing ? ASTRAY_S * Math.max(video.playbackRate, clock.speed) : SAME_S;
    if (!video.seeking && Math.abs(video.currentTime - time) > allowed) video.currentTime = time;
  }
}
