// The video pane: the clip's picture with the body, and what is drawn over it.
import { COLOURS, Drawing } from "./drawing.js";

const LEAST_STROKE_PX = 6; // on the screen; shorter is a slip of the hand

/**
 * The video is painted on a canvas in the same turn as the 3D view, so that both always show the same frame, also where drawing is slow.
 * The element below goes on playing and tells which frame it has reached.
 */
export class VideoPane {
  constructor(page, clock, wake) {
    this.clock = clock;
    this.wake = wake;
    for (const [name, id] of Object.entries({ element: "video-pane", video: "video", picture: "picture", sketch: "sketch" })) this[name] = page.getElementById(id);
    this.drawing = new Drawing();
    this.tool = null;
    this.colour = COLOURS[0];
    this.onDrawn = () => {};
    this.connectSketch();
  }

  get size() {
    return { width: this.video.videoWidth || 16, height: this.video.videoHeight || 9 };
  }

  /** Paints the video's frame and the drawing at the size at which they are seen. */
  draw() {
    const { clientWidth, clientHeight } = this.picture;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const { width, height } = this.size;
    const size = [Math.min(Math.round(clientWidth * ratio), width), Math.min(Math.round(clientHeight * ratio), height)];
    const frame = this.clock.shownByVideo;
    if (this.video.readyState >= 2 && size[0] > 0 && !this.clock.isAstray && (frame !== this.drawn || size.join() !== this.drawnSize)) {
      if (size.join() !== this.drawnSize) [this.picture.width, this.picture.height] = size;
      this.picture.getContext("2d").drawImage(this.video, 0, 0, ...size);
      this.drawn = frame;
      this.drawnSize = size.join();
      if (frame !== null) this.picture.dataset.frame = frame;
    }
    if (this.sketchStale || this.sketch.width !== Math.round(clientWidth * ratio)) this.drawSketch(clientWidth * ratio, clientHeight * ratio, ratio);
  }

  drawSketch(width, height, ratio) {
    this.sketchStale = false;
    this.sketch.width = Math.round(width);
    this.sketch.height = Math.round(height);
    this.drawing.paint(this.sketch.getContext("2d"), width / this.size.width, 2.5 * ratio);
  }

  /** The frame shown, as large as the video is, with the drawing, as a PNG. */
  async still() {
    const { width, height } = this.size;
    const canvas = this.element.ownerDocument.createElement("canvas");
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.drawImage(this.video, 0, 0, width, height);
    this.drawing.paint(context, 1, Math.max(2.5, (2.5 * width) / (this.picture.clientWidth || width)));
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  /** Chooses what a finger or the mouse draws; null: nothing, so that a swipe scrolls the page. */
  choose(tool) {
    this.tool = tool;
    this.drawing.begun = null;
    this.sketch.classList.toggle("drawing", tool !== null);
  }

  undo() {
    this.drawing.undo();
    this.changed();
  }

  clear() {
    this.drawing.clear();
    this.changed();
  }

  changed() {
    this.sketchStale = true;
    this.onDrawn();
    this.wake();
  }

  connectSketch() {
    const { sketch } = this;
    const point = (event) => {
      const box = sketch.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * this.size.width, ((event.clientY - box.top) / box.height) * this.size.height];
    };
    let held = null;
    sketch.addEventListener("pointerdown", (event) => {
      if (this.tool === null || held !== null || event.button > 0) return;
      event.preventDefault();
      held = event.pointerId;
      sketch.setPointerCapture(held);
      this.drawing.start(this.tool, this.colour, point(event));
      this.changed();
    });
    sketch.addEventListener("pointermove", (event) => {
      if (event.pointerId !== held) return;
      this.drawing.move(point(event));
      this.changed();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      sketch.addEventListener(end, (event) => {
        if (event.pointerId !== held) return;
        held = null;
        this.drawing.end((LEAST_STROKE_PX * this.size.width) / (sketch.clientWidth || 1));
        this.changed();
      });
    }
    sketch.addEventListener("click", () => this.tool === null && this.onTap?.());
  }
}
