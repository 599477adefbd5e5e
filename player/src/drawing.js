// Lines, angles and circles over the video: what was drawn, and painting it at any size. Points are in pixels of the video.

export const TOOLS = { line: 2, angle: 3, circle: 2 }; // points that each takes
export const COLOURS = ["#ffd400", "#ff4d4d", "#35d07f", "#4db5ff"];

/** The angle at `at` between the directions to `a` and `b`, in degrees. */
export function angleDeg(a, at, b) {
  const u = [a[0] - at[0], a[1] - at[1]];
  const v = [b[0] - at[0], b[1] - at[1]];
  return (Math.atan2(Math.abs(u[0] * v[1] - u[1] * v[0]), u[0] * v[0] + u[1] * v[1]) * 180) / Math.PI;
}

/** The shapes of one page, in the order in which they were drawn. */
export class Drawing {
  constructor() {
    this.shapes = [];
    this.begun = null;
  }

  /** Begins a shape at a point; of an angle's second stroke, its last arm. */
  start(tool, colour, point) {
    if (this.begun?.tool === "angle" && tool === "angle" && this.begun.points.length === 2) {
      this.begun.points.push(point);
      return;
    }
    this.begun = { tool, colour, points: [point, point] };
    this.shapes.push(this.begun);
  }

  /** Moves the point that is being drawn. */
  move(point) {
    if (this.begun) this.begun.points[this.begun.points.length - 1] = point;
  }

  /** Ends a stroke. A shape smaller than `least` is taken back; an angle waits for its second stroke, which begins at its vertex. */
  end(least) {
    const shape = this.begun;
    if (!shape) return;
    const [a, b] = shape.points.slice(-2);
    if (Math.hypot(a[0] - b[0], a[1] - b[1]) < least) {
      if (shape.points.length === 3) shape.points.pop();
      else this.undo();
      return;
    }
    if (shape.points.length === TOOLS[shape.tool]) this.begun = null;
  }

  /** Whether an angle waits for its second arm. */
  get waiting() {
    return this.begun !== null && this.begun.tool === "angle" && this.begun.points.length === 2;
  }

  undo() {
    this.begun = null;
    this.shapes.pop();
  }

  clear() {
    this.begun = null;
    this.shapes = [];
  }

  /** Paints all shapes with `scale` pixels of the canvas for a pixel of the video, lines `width` of its pixels wide. */
  paint(context, scale, width) {
    for (const shape of this.shapes) paintShape(context, shape, scale, width);
  }
}

function paintShape(context, { tool, colour, points }, scale, width) {
  const at = points.map(([x, y]) => [x * scale, y * scale]);
  // A dark edge, so that a line is seen on any ground.
  for (const [stroke, thick] of [["rgb(0 0 0 / 0.55)", width * 2], [colour, width]]) {
    Object.assign(context, { strokeStyle: stroke, lineWidth: thick, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    if (tool === "circle") context.arc(...at[0], Math.max(Math.hypot(at[1][0] - at[0][0], at[1][1] - at[0][1]), 1), 0, 2 * Math.PI);
    else at.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
  }
  if (tool !== "angle" || points.length < 3) return;
  const label = `${Math.round(angleDeg(points[0], points[1], points[2]))}°`;
  const size = Math.max(7 * width, 13);
  Object.assign(context, { font: `650 ${size}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle", lineWidth: size / 4 });
  const away = [0, 1].map((i) => at[1][i] - (at[0][i] + at[2][i]) / 2);
  const length = Math.hypot(...away) || 1;
  const place = at[1].map((value, i) => value + (away[i] / length) * size * 1.3);
  context.strokeStyle = "rgb(0 0 0 / 0.7)";
  context.strokeText(label, ...place);
  context.fillStyle = colour;
  context.fillText(label, ...place);
}
