// The camera's views: the clip's own camera, fixed sides, and free orbiting by the user.
import { MathUtils, Spherical, Vector3 } from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";

const FOV_DEG = 30; // A longish lens: limbs near and far can be compared.
const FILL_SHARE = 0.97; // Share of the free part of the picture that the motion takes.
const TRANSITION_MS = 450;
const FREE_VIEW_TURN = MathUtils.degToRad(32); // A three-quarter view shows depth and the face.
const TILT = { free: 12, front: 4, side: 4, top: 89.9 };

export class Views {
  /** `turns` are directions {front, side} about the floor's normal from which these views look, where they are known better than by the first
   * person's face. `clip` is the clip's camera, null where the file has none, and `places` all its places; `seenFromAbove` are those that belong
   * into the view from above. `margins` () => pixels {top, bottom} that buttons cover. `onChange(view)` is called on every change, by button or
   * by orbiting. */
  constructor(camera, element, { bounds, heading, turns = {}, clip, places = [], seenFromAbove = [], margins, onChange }) {
    Object.assign(this, { camera, element, bounds, turns, clip, margins, onChange });
    this.boundsFromAbove = { ...bounds, points: [...bounds.points, ...seenFromAbove] };
    this.centre = bounds.box.getCenter(new Vector3());
    this.cameraSide = this.sideOf(places);
    this.heading = heading ?? this.cameraSide;
    this.transition = null;
    this.view = "free";
    this.movedByUser = false;
    this.controls = new OrbitControls(camera, element);
    Object.assign(this.controls, { enableDamping: false, zoomToCursor: false, maxPolarAngle: Math.PI * 0.62, minDistance: 0.3, maxDistance: 60 });
    this.controls.addEventListener("start", () => this.onUserControl());
  }

  /** The angle about the floor's normal from which the clip was filmed, in the mean of the camera's places. */
  sideOf(places) {
    if (!places.length) return 0;
    const away = places.reduce((sum, place) => sum.add(place), new Vector3()).divideScalar(places.length).sub(this.centre);
    return Math.atan2(away.x, away.z);
  }

  onUserControl() {
    this.transition = null;
    this.movedByUser = true;
    if (this.view === "free") return;
    this.view = "free";
    this.onChange("free");
  }

  /** Shows a view: "free", "front", "side", "top" or "camera"; immediately, or with a transition. */
  show(view, immediately = false) {
    this.view = view;
    this.movedByUser = false;
    const goal = this.goalOf(view);
    this.onChange(view);
    const withoutTransition = immediately || matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (withoutTransition) return this.place(goal);
    this.transition = { goal, from: this.currentPose(), startMs: null };
  }

  /** The share of the picture's height that no button covers. */
  freeHeightShare() {
    const { top, bottom } = this.margins();
    return Math.max(1 - (top + bottom) / (this.element.clientHeight || 1), 0.3);
  }

  /** After the window changed: a view that the user did not move is framed anew. */
  reframe() {
    // The centre of what buttons leave free is the centre of the picture, so that the orbit's target stays in sight.
    const { clientWidth: width, clientHeight: height } = this.element;
    const { top, bottom } = this.margins();
    this.camera.setViewOffset(width || 1, height || 1, 0, (bottom - top) / 2, width || 1, height || 1);
    if (this.movedByUser) this.camera.updateProjectionMatrix();
    else this.show(this.view, true);
  }

  currentPose() {
    const { position, quaternion, fov } = this.camera;
    return { position: position.clone(), quaternion: quaternion.clone(), target: this.controls.target.clone(), fov };
  }

  goalOf(view) {
    return view === "camera" && this.clip ? this.clipCameraPose() : this.orbitPose(view);
  }

  /** One step of the transition at `clock` milliseconds, or after the clip's camera where that moves; true while the picture changes. */
  step(clock) {
    const follows = this.view === "camera" && this.clip?.moves;
    if (!this.transition) {
      if (follows) this.place(this.clipCameraPose());
      return false;
    }
    this.transition.startMs ??= clock;
    const share = Math.min((clock - this.transition.startMs) / TRANSITION_MS, 1);
    const { from } = this.transition;
    const goal = follows ? this.clipCameraPose() : this.transition.goal;
    this.interpolate(from, share < 1 ? share * share * (3 - 2 * share) : 1, goal);
    if (share >= 1) this.transition = null;
    return true;
  }

  place(goal) {
    this.interpolate(goal, 1, goal);
  }

  interpolate(from, share, goal) {
    this.controls.target.lerpVectors(from.target, goal.target, share);
    const a = new Spherical().setFromVector3(from.position.clone().sub(from.target));
    const b = new Spherical().setFromVector3(goal.position.clone().sub(goal.target));
    const turn = Math.atan2(Math.sin(b.theta - a.theta), Math.cos(b.theta - a.theta)); // the short way round
    const between = new Spherical(a.radius + (b.radius - a.radius) * share, a.phi + (b.phi - a.phi) * share, a.theta + turn * share);
    this.camera.position.setFromSpherical(between).add(this.controls.target);
    this.camera.fov = from.fov + (goal.fov - from.fov) * share;
    this.camera.updateProjectionMatrix();
    this.controls.update();
    // The clip's camera may be rolled; orbiting keeps the horizon level, so its own rotation is set beside the controls.
    if (goal.quaternion) this.camera.quaternion.slerp(goal.quaternion, share);
  }

  /** The clip's camera with its own lens, the whole of its picture in the window. */
  clipCameraPose() {
    const { position, quaternion } = this.clip.pose();
    const { fov: clipFov, aspect } = this.clip.camera;
    const forward = new Vector3(0, 0, -1).applyQuaternion(quaternion);
    const depth = Math.max(this.centre.clone().sub(position).dot(forward), 0.5);
    const half = Math.tan(MathUtils.degToRad(clipFov) / 2);
    const fov = 2 * MathUtils.radToDeg(Math.atan(half * Math.max(1 / this.freeHeightShare(), aspect / this.camera.aspect)));
    return { position, quaternion, target: position.clone().addScaledVector(forward, depth), fov };
  }

  /** A view of the motion from a fixed side, as near as all of it stays in the picture. */
  orbitPose(view) {
    const front = this.turns.front ?? this.heading;
    const turn = { free: front + FREE_VIEW_TURN, front, side: this.turns.side ?? front - Math.PI / 2, top: this.cameraSide }[view] ?? front;
    const phi = MathUtils.degToRad(90 - (TILT[view] ?? TILT.free));
    const back = new Vector3().setFromSphericalCoords(1, phi, turn);
    const right = new Vector3(Math.cos(turn), 0, -Math.sin(turn));
    const up = new Vector3().crossVectors(back, right);
    const tan = Math.tan(MathUtils.degToRad(FOV_DEG) / 2) * FILL_SHARE;
    const bounds = view === "top" ? this.boundsFromAbove : this.bounds;
    const upright = fit(bounds, this.centre, up, back, tan * this.freeHeightShare());
    const across = fit(bounds, this.centre, right, back, tan * this.camera.aspect);
    const distance = Math.max(upright.distance, across.distance, 1);
    const target = this.centre.clone().addScaledVector(up, upright.shift).addScaledVector(right, across.shift);
    return { position: target.clone().addScaledVector(back, distance), quaternion: null, target, fov: FOV_DEG };
  }

  /** Moves camera and target along the floor by `step`, to stay with someone who walks. */
  translate(step) {
    this.camera.position.add(step);
    this.controls.target.add(step);
  }
}

/** How far along `back` a camera must be, and how far along `axis`, for all points to be evenly within slopes of ±`tan`. */
function fit(bounds, centre, axis, back, tan) {
  let more = -Infinity;
  let less = -Infinity;
  const at = new Vector3();
  for (const point of bounds.points) {
    const along = at.copy(point).sub(centre).dot(axis);
    const deep = at.dot(back);
    more = Math.max(more, (along + bounds.paddingM) / tan + deep);
    less = Math.max(less, (bounds.paddingM - along) / tan + deep);
  }
  return { distance: (more + less) / 2, shift: ((more - less) / 2) * tan };
}
