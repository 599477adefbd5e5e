// The one clock of the page: everything shows the frame that it names. A video drives it where there is one, else the browser's clock.

const NEVER = () => {};

/**
 * `timeline` holds the frames' times. `wake` asks for a picture. With `video`, an HTMLVideoElement or its like, playing is the video's
 * playing: `frame` is the frame that its decoder shows. Where there is none, `advance` moves the time on.
 */
export class Clock {
  constructor(timeline, { video = null, wake = NEVER } = {}) {
    Object.assign(this, { timeline, wake, video: null, playing: false, speed: 1, loop: true, marks: null, seeking: null, shownByVideo: null });
    this.time = timeline.times[0];
    if (video) this.attach(video);
  }

  /** The frame that everything shows. */
  get frame() {
    return this.timeline.frameAt(this.time);
  }

  get lastFrame() {
    return this.timeline.last;
  }

  /** First and last frame of what is played: between the marks, else the whole clip. */
  get range() {
    return this.marks ?? { from: 0, to: this.timeline.last };
  }

  attach(video) {
    this.video = video;
    video.loop = false; // The clock turns back by itself, as marks want it.
    video.addEventListener("seeked", () => this.seeked());
    video.addEventListener("ended", () => this.ended());
    video.addEventListener("error", () => this.detach());
    video.addEventListener("pause", () => {
      if (this.playing && !video.ended && this.seeking === null) this.stopped();
    });
    if (video.requestVideoFrameCallback) {
      const shown = (_, { mediaTime }) => {
        this.show(this.timeline.nearest(mediaTime + this.timeline.times[0]));
        if (this.video) video.requestVideoFrameCallback(shown);
      };
      video.requestVideoFrameCallback(shown);
    } else this.polled = true;
  }

  /** The video cannot be played: from now on the browser's clock drives. */
  detach() {
    this.video = this.seeking = null;
    this.wake();
  }

  /** The video shows `frame`. While it is on its way to another one this is not the moment that the page is about. */
  show(frame) {
    const { from, to } = this.range;
    if (this.playing && this.marks && (frame > to || frame < from)) {
      // Told late, by a machine that has much to do: a picture beyond the marks is not shown.
      if (this.seeking === null) this.turnBack();
      return;
    }
    this.shownByVideo = frame;
    this.wake();
    if (this.seeking !== null) return;
    this.time = this.timeline.timeOf(frame);
    if (this.playing && this.marks && frame === to) this.turnBack();
  }

  seeked() {
    const { next } = this;
    this.seeking = this.next = null;
    if (next !== null && next !== undefined) this.seekVideo(next);
    this.wake();
  }

  ended() {
    if (this.playing) this.turnBack();
  }

  turnBack() {
    const { from, to } = this.range;
    if (!this.loop) {
      this.stopped();
      if (this.marks) this.seek(to);
      return;
    }
    this.time = this.timeline.timeOf(from);
    if (!this.video) return;
    this.seekVideo(from);
    if (this.video.paused || this.video.ended) this.startVideo();
  }

  stopped() {
    this.playing = false;
    this.video?.pause();
    this.wake();
  }

  /** Shows a frame: at once in 3D and curves, and in the video as soon as it is decoded. */
  seek(frame) {
    this.time = this.timeline.timeOf(frame);
    if (this.video) this.seekVideo(this.frame);
    this.wake();
  }

  seekVideo(frame) {
    if (this.seeking !== null) {
      this.next = frame; // One at a time: a decoder that is asked anew before it has shown anything shows nothing while one drags.
      return;
    }
    this.seeking = frame;
    this.video.currentTime = this.timeline.middleOf(frame) - this.timeline.times[0];
  }

  play() {
    if (this.timeline.duration <= 0 || this.playing) return;
    const { from, to } = this.range;
    this.playing = true;
    if (this.frame >= to || this.frame < from) this.seek(from);
    if (this.video) this.startVideo();
    this.wake();
  }

  startVideo() {
    this.video.playbackRate = this.speed;
    this.video.play()?.catch?.((error) => {
      if (error.name !== "AbortError") this.stopped();
    });
  }

  pause() {
    if (!this.playing) return;
    this.stopped();
  }

  setSpeed(speed) {
    this.speed = speed;
    if (this.video) this.video.playbackRate = speed;
  }

  /** Plays from one frame to another again and again; null for all. */
  setMarks(marks) {
    this.marks = marks && marks.to > marks.from ? { from: this.timeline.clamp(marks.from), to: this.timeline.clamp(marks.to) } : null;
    if (this.marks && this.playing && (this.frame < this.marks.from || this.frame > this.marks.to)) this.seek(this.marks.from);
    this.wake();
  }

  /** Moves on by `seconds` of the browser's clock where no video drives, else asks a video that tells nothing by itself. */
  advance(seconds) {
    if (!this.playing) return;
    if (this.video) {
      if (this.polled && this.seeking === null) this.show(this.timeline.frameAt(this.video.currentTime + this.timeline.times[0]));
      return;
    }
    const { times } = this.timeline;
    const first = times[this.range.from];
    const end = times[this.range.to];
    const next = this.time + seconds * this.speed;
    if (next < end) this.time = next;
    else if (this.loop && end > first) this.time = first + ((next - first) % (end - first));
    else {
      this.time = end;
      this.playing = false;
    }
  }

  /** Whether the video may hold a picture beyond the marks, between which it plays: it runs on while the page is told late of it. */
  get isAstray() {
    if (!this.playing || !this.marks || !this.video) return false;
    const { from, to } = this.marks;
    const frame = this.timeline.frameAt(this.video.currentTime + this.timeline.times[0]);
    return this.seeking !== null || frame < from || frame > to;
  }

  /** Whether the video shows the clock's frame; true where there is none. */
  get settled() {
    return !this.video || (this.seeking === null && (this.shownByVideo === null || this.shownByVideo === this.frame));
  }
}
