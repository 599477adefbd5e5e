// The clip's own camera: where it is at any time and with which lens, its whole way, and what is drawn of it in other views.
import { BufferAttribute, BufferGeometry, Group, LineSegments, LineBasicMaterial, MathUtils, Matrix4, Mesh, MeshBasicMaterial, Quaternion, Vector3 } from "three";
import { valueBetween } from "./timeline.js";

const FOV_POINTER = /^\/cameras\/0\/perspective\/yfov$/;
const DRAWN_M = 0.3; // Length of the pyramid that stands for the camera.
const MAX_GROWTH = 3; // A view from above is at most so many times wider for the camera's sake, …
const ALWAYS_SHOWN_M = 8; // … or so wide.
const DARK = 0x343a42;
const LIGHT = 0xc9d1da;

/** The field of view over time, {times, values} in seconds and radians, of a file whose camera zooms; null of any other. */
export async function readLens(gltf) {
  const { json } = gltf.parser;
  for (const { channels, samplers } of json.animations ?? []) {
    const channel = channels.find(({ target }) => FOV_POINTER.test(target.extensions?.KHR_animation_pointer?.pointer ?? ""));
    if (!channel) continue;
    const { input, output } = samplers[channel.sampler];
    const [times, values] = await Promise.all([input, output].map((index) => gltf.parser.getDependency("accessor", index)));
    return { times: times.array, values: values.array };
  }
  return null;
}

export class ClipCamera {
  constructor(gltf) {
    this.camera = gltf.cameras[0];
    this.lens = gltf.lens ?? null;
    this.moves = Boolean(gltf.animations[0]?.tracks.some(({ name }) => name.startsWith(`${this.camera.name}.`)));
  }

  /** Sets the lens of `time`; the place is set by the movement's player, of which the camera is a part. */
  show(time) {
    if (!this.lens) return;
    this.camera.fov = MathUtils.radToDeg(valueBetween(this.lens.times, this.lens.values, time));
    this.camera.updateProjectionMatrix();
  }

  /** Position and rotation in the scene now. */
  pose() {
    return { position: this.camera.getWorldPosition(new Vector3()), quaternion: this.camera.getWorldQuaternion(new Quaternion()) };
  }
}

/** Whether a camera with these `places` is near enough to people within `box` to be in one picture with them. */
export function isNear(places, box) {
  const size = box.getSize(new Vector3());
  const whole = places.reduce((grown, place) => grown.expandByPoint(place), box.clone()).getSize(new Vector3());
  return Math.max(whole.x, whole.z) <= Math.max(MAX_GROWTH * Math.max(size.x, size.z), ALWAYS_SHOWN_M);
}

/** A small pyramid in the shape of what the camera sees. `update(camera)` puts it where the camera is. */
export function drawnCamera() {
  const corners = [[0, 0, 0], [-1, 1, -1], [1, 1, -1], [1, -1, -1], [-1, -1, -1]];
  const part = (indices) => {
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(new Float32Array(indices.flatMap((index) => corners[index])), 3));
    return geometry;
  };
  const edges = new LineSegments(part([0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 2, 3, 3, 4, 4, 1]), new LineBasicMaterial({ color: DARK }));
  const sides = new Mesh(part([0, 2, 1, 0, 3, 2, 0, 4, 3, 0, 1, 4]), new MeshBasicMaterial({ color: DARK, transparent: true, opacity: 0.3, side: 2, depthWrite: false }));
  const drawn = new Group().add(edges, sides);
  for (const object of [drawn, edges, sides]) object.frustumCulled = false;
  drawn.matrixAutoUpdate = false;
  const shape = new Matrix4();
  return {
    drawn,
    setDark: (dark) => [edges, sides].forEach(({ material }) => material.color.setHex(dark ? LIGHT : DARK)),
    update: ({ camera }) => {
      const half = DRAWN_M * Math.tan(MathUtils.degToRad(camera.fov) / 2);
      camera.updateWorldMatrix(true, false);
      drawn.matrix.copy(camera.matrixWorld).multiply(shape.makeScale(half * camera.aspect, half, DRAWN_M));
      drawn.matrixWorldNeedsUpdate = true;
    },
  };
}
