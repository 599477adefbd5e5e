// Where the picture is taken from: the clip's camera, fixed sides, and the visitor's own hand.
import { MathUtils, Quaternion, Spherical, Vector3 } from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";

const FOV_DEG = 30; // A longish lens: limbs near and far can be compared.
const FILL = 0.97; // Share of the free part of the picture that the movement takes.
const GLIDE_MS = 450;
const HOME_TURN = MathUtils.degToRad(32); // A three-quarter view shows depth and the face.
const TILT = { free: 12, front: 4, side: 4, top: 89.9 };

export class Views {
  /** `margins` () => pixels {top, bottom} that buttons cover. `onChange(view)` hears of every change, by button or by hand. */
  constructor(camera, element, { room, facing, clipCamera, margins, onChange }) {
    Object.assign(this, { camera, element, room, clipCamera, margins, onChange });
    this.centre = room.box.getCenter(new Vector3());
    this.ahead = facing ?? this.cameraSide();
    this.glide = null;
    this.view = "free";
    this.touched = false;
    this.controls = new OrbitControls(camera, element);
    Object.assign(this.controls, { enableDamping: false, zoomToCursor: false, maxPolarAngle: Math.PI * 0.62, minDistance: 0.3, maxDistance: 60 });
    this.controls.addEventListener("start", () => this.takeByHand());
  }

  /** The angle about the floor's normal from which the clip was filmed. */
  cameraSide() {
    if (!this.clipCamera) return 0;
    const away = this.clipCamera.getWorldPosition(new Vector3()).sub(this.centre);
    return Math.atan2(away.x, away.z);
  }

  takeByHand() {
    this.glide = null;
    this.touched = true;
    if (this.view === "free") return;
    this.view = "free";
    this.onChange("free");
  }

  /** Goes to a view: "free", "front", "side", "top" or "camera"; at once, or gliding. */
  go(view, atOnce = false) {
    this.view = view;
    this.touched = false;
    const goal = view === "camera" && this.clipCamera ? this.asFilmed() : this.around(view);
    this.onChange(view);
    const still = atOnce || matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still) return this.take(goal, 1, goal);
    this.glide = { goal, from: this.now(), begun: null };
  }

  /** The share of the picture's height that no button covers. */
  free() {
    const { top, bottom } = this.margins();
    return Math.max(1 - (top + bottom) / (this.element.clientHeight || 1), 0.3);
  }

  /** After the window changed: a view nobody touched is framed anew. */
  reframe() {
    // The middle of what buttons leave free is the middle of the picture: what is turned about stays in sight.
    const { clientWidth: width, clientHeight: height } = this.element;
    const { top, bottom } = this.margins();
    this.camera.setViewOffset(width || 1, height || 1, 0, (bottom - top) / 2, width || 1, height || 1);
    if (this.touched) this.camera.updateProjectionMatrix();
    else this.go(this.view, true);
  }

  now() {
    const { position, quaternion, fov } = this.camera;
    return { position: position.clone(), quaternion: quaternion.clone(), target: this.controls.target.clone(), fov };
  }

  /** One step of the glide at `clock` milliseconds; true while the picture changes. */
  step(clock) {
    if (!this.glide) return false;
    this.glide.begun ??= clock;
    const share = Math.min((clock - this.glide.begun) / GLIDE_MS, 1);
    const { from, goal } = this.glide;
    this.take(from, share < 1 ? share * share * (3 - 2 * share) : 1, goal);
    if (share >= 1) this.glide = null;
    return true;
  }

  take(from, share, goal) {
    this.controls.target.lerpVectors(from.target, goal.target, share);
    const a = new Spherical().setFromVector3(from.position.clone().sub(from.target));
    const b = new Spherical().setFromVector3(goal.position.clone().sub(goal.target));
    const turn = Math.atan2(Math.sin(b.theta - a.theta), Math.cos(b.theta - a.theta)); // the short way round
    const between = new Spherical(a.radius + (b.radius - a.radius) * share, a.phi + (b.phi - a.phi) * share, a.theta + turn * share);
    this.camera.position.setFromSpherical(between).add(this.controls.target);
    this.camera.fov = from.fov + (goal.fov - from.fov) * share;
    this.camera.updateProjectionMatrix();
    this.controls.update();
    // The clip's camera may be rolled; orbiting keeps the horizon level, so its own turn is set beside the controls.
    if (goal.quaternion) this.camera.quaternion.slerp(goal.quaternion, share);
  }

  /** The clip's camera with its own lens, the whole of its picture in the window. */
  asFilmed() {
    const position = this.clipCamera.getWorldPosition(new Vector3());
    const quaternion = this.clipCamera.getWorldQuaternion(new Quaternion());
    const forward = new Vector3(0, 0, -1).applyQuaternion(quaternion);
    const depth = Math.max(this.centre.clone().sub(position).dot(forward), 0.5);
    const half = Math.tan(MathUtils.degToRad(this.clipCamera.fov) / 2);
    const fov = 2 * MathUtils.radToDeg(Math.atan(half * Math.max(1 / this.free(), this.clipCamera.aspect / this.camera.aspect)));
    return { position, quaternion, target: position.clone().addScaledVector(forward, depth), fov };
  }

  /** A view around the movement, as near as all of it stays in the picture. */
  around(view) {
    const turn = { free: this.ahead + HOME_TURN, front: this.ahead, side: this.ahead - Math.PI / 2, top: this.cameraSide() }[view] ?? this.ahead;
    const phi = MathUtils.degToRad(90 - (TILT[view] ?? TILT.free));
    const back = new Vector3().setFromSphericalCoords(1, phi, turn);
    const right = new Vector3(Math.cos(turn), 0, -Math.sin(turn));
    const up = new Vector3().crossVectors(back, right);
    const tan = Math.tan(MathUtils.degToRad(FOV_DEG) / 2) * FILL;
    const upright = span(this.room, this.centre, up, back, tan * this.free());
    const across = span(this.room, this.centre, right, back, tan * this.camera.aspect);
    const distance = Math.max(upright.distance, across.distance, 1);
    const target = this.centre.clone().addScaledVector(up, upright.shift).addScaledVector(right, across.shift);
    return { position: target.clone().addScaledVector(back, distance), quaternion: null, target, fov: FOV_DEG };
  }

  /** Moves camera and target along the floor by `step`, to stay with someone who walks. */
  carry(step) {
    this.camera.position.add(step);
    this.controls.target.add(step);
  }
}

/** How far back along `back` a camera must stand, and how far along `axis`, for all points to lie evenly within slopes of ±`tan`. */
function span(room, centre, axis, back, tan) {
  let more = -Infinity;
  let less = -Infinity;
  const at = new Vector3();
  for (const point of room.points) {
    const along = at.copy(point).sub(centre).dot(axis);
    const deep = at.dot(back);
    more = Math.max(more, (along + room.around) / tan + deep);
    less = Math.max(less, (room.around - along) / tan + deep);
  }
  return { distance: (more + less) / 2, shift: ((more - less) / 2) * tan };
}
