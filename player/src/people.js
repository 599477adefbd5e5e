// The people in the file: meshes, colours, the bounds of their motion, and the paths of their wrists.
import {
  Box3, Color, Curve, CylinderGeometry, DynamicDrawUsage, Group, InstancedMesh, Matrix4, Mesh, MeshBasicMaterial, MeshLambertMaterial,
  Quaternion, SphereGeometry, TubeGeometry, Vector3,
} from "three";

const PADDING_M = 0.15; // Joints are inside the body: the crown and the fingertips reach this much farther.
const NUM_SAMPLES = 48; // Frames from which the bounds of the motion are taken.
const TRAIL_S = 1.5; // A swing's downswing and follow-through; longer paths of a long clip are a tangle.
const TRAIL_RADIUS_M = 0.008;
const WAY_RADIUS_M = 0.01;
const CAMERA_COLOUR = 0x808a96;
const NUM_WAY_POINTS = 1200; // A tube of more is nothing but heavier.
const SEE_THROUGH = 0.35;
const BONE_RADIUS_M = 0.012;
const NUM_BONE_SIDES = 6;
const MIN_CLOUD_M = 0.006;
const CLOUD_COLOURS = [[20, 0x35b06f], [50, 0xe0a800], [Infinity, 0xd9534f]]; // up to this many millimetres
const MIN_UPRIGHT_SHARE = 0.35; // With less of the heading in the floor's plane somebody is lying and has no heading.

/** People in the file's order: the node that shows or hides them, their mesh and their root joint. */
export function findPeople(gltf) {
  const people = [];
  gltf.scene.traverse((node) => {
    if (!node.isSkinnedMesh) return;
    node.frustumCulled = false; // Its box is that of the rest pose.
    node.castShadow = node.receiveShadow = true;
    node.material.transparent = true; // Drawn after the floor, so that a foot a centimetre too low is not cut off by it.
    const root = node.skeleton.bones[0];
    const extras = node.userData;
    const name = extras.person_id === undefined ? `Person ${people.length + 1}` : `Person ${extras.person_id}`;
    people.push({ name, mesh: node, root, extras, colour: node.material.color.clone() });
  });
  return people;
}

/** Shows or hides a person with all that belongs to them, as their switches say. */
export function setVisible(person, visible) {
  person.mesh.visible = visible;
  if (person.trails) person.trails.visible = visible && Boolean(person.showTrails);
  if (person.way) person.way.visible = visible && Boolean(person.showWay);
  if (person.skeleton) person.skeleton.visible = visible && Boolean(person.showSkeleton);
  if (person.clouds) person.clouds.visible = visible && Boolean(person.showClouds);
}

/** Makes a body see-through, so that what is behind and inside it is seen. */
export function setSeeThrough(person, on) {
  Object.assign(person.mesh.material, { opacity: on ? SEE_THROUGH : 1, depthWrite: !on });
}

const isFollowed = (person) => person.root.getWorldScale(new Vector3()).x > 0.5;

/** Bounds of all motion: `points`, joints at frames spread over the clip, and `box` around bodies and floor; y up, metres. */
export function motionBounds(people, playback) {
  const box = new Box3();
  const points = [];
  const position = new Vector3();
  const count = Math.min(NUM_SAMPLES, playback.times.length);
  for (let i = 0; i < count; i++) {
    playback.showFrame(Math.round((playback.lastFrame * i) / Math.max(count - 1, 1)));
    for (const person of people) {
      person.root.updateWorldMatrix(true, true);
      if (isFollowed(person)) for (const bone of person.mesh.skeleton.bones) points.push(position.setFromMatrixPosition(bone.matrixWorld).clone());
    }
  }
  if (!points.length) points.push(new Vector3(-0.5, 0, 0), new Vector3(0.5, 1.7, 0));
  box.setFromPoints(points);
  box.expandByScalar(PADDING_M);
  box.min.y = Math.min(Math.max(box.min.y, -PADDING_M), 0);
  return { box, points, paddingM: PADDING_M };
}

/** The direction that the first person faces in the first pose, as an angle about the floor's normal (0: +z); null where there is none. */
export function initialHeading(people, playback) {
  playback.show(playback.times[people[0].extras.first_frame ?? 0] ?? 0);
  people[0].root.updateWorldMatrix(true, false);
  const direction = new Vector3(0, 0, 1).applyQuaternion(people[0].root.getWorldQuaternion(new Quaternion()));
  return Math.hypot(direction.x, direction.z) < MIN_UPRIGHT_SHARE ? null : Math.atan2(direction.x, direction.z);
}

/** The point of the floor under the first visible person now; null where nobody is followed. */
export function groundPosition(people) {
  const person = people.find((one) => one.mesh.visible && isFollowed(one));
  return person ? new Vector3().setFromMatrixPosition(person.root.matrixWorld).setY(0) : null;
}

/** A path parametrised by the clip's frames, not by its length. */
class FramesCurve extends Curve {
  constructor(points) {
    super();
    this.points = points;
  }

  getPoint(share, target = new Vector3()) {
    const index = share * (this.points.length - 1);
    const left = Math.min(Math.floor(index), this.points.length - 2);
    return target.lerpVectors(this.points[left], this.points[left + 1], index - left);
  }

  getPointAt(share, target) {
    return this.getPoint(share, target);
  }

  getTangentAt(share, target) {
    return this.getTangent(share, target);
  }
}

const wristBones = (person) => person.mesh.skeleton.bones.filter((bone) => /wrist(\.[lr])?$/i.test(bone.userData.name ?? bone.name));

export const haveWrists = (people) => people.some((person) => wristBones(person).length > 0);

/**
 * Adds to `scene` the way over the floor of everybody, `person.way`, and that of the clip's camera. Returns the camera's places and its way,
 * which is shown or hidden whole; the playback stays at its time.
 */
export function buildWays(people, playback, scene, camera) {
  const startTime = playback.time;
  const places = [];
  const stretches = new Map(people.map((person) => [person, [[]]]));
  for (const time of spreadTimes(playback.times)) {
    playback.show(time);
    camera.updateWorldMatrix(true, false);
    places.push(new Vector3().setFromMatrixPosition(camera.matrixWorld));
    for (const [person, found] of stretches) {
      person.root.updateWorldMatrix(true, false);
      if (isFollowed(person)) found.at(-1).push(new Vector3().setFromMatrixPosition(person.root.matrixWorld).setY(WAY_RADIUS_M));
      else if (found.at(-1).length) found.push([]);
    }
  }
  playback.show(startTime);
  for (const [person, found] of stretches) {
    person.way = new Group();
    for (const points of found.filter(({ length }) => length > 1)) person.way.add(wayOf(points, person.colour));
    scene.add(person.way);
  }
  const cameraWay = new Group();
  const leaves = places.some((place) => place.distanceTo(places[0]) > WAY_RADIUS_M); // one on a tripod stays where it is
  if (leaves) cameraWay.add(wayOf(places, new Color(CAMERA_COLOUR)));
  scene.add(cameraWay);
  return { places, cameraWay };
}

function wayOf(points, colour) {
  const way = new Mesh(new TubeGeometry(new FramesCurve(points), points.length - 1, WAY_RADIUS_M, 5), new MeshBasicMaterial({ color: colour }));
  way.frustumCulled = false;
  return way;
}

/** All times, or as many of them as a way needs. */
function spreadTimes(times) {
  const count = Math.min(times.length, NUM_WAY_POINTS);
  return Array.from({ length: count }, (_, i) => times[Math.round(((times.length - 1) * i) / Math.max(count - 1, 1))]);
}

/** Adds everybody's wrist paths to `scene`; the playback stays at its time. */
export function buildTrails(people, playback, scene) {
  const startTime = playback.time;
  const tracked = people.flatMap((person) => wristBones(person).map((bone, i) => ({ person, bone, i, points: [], followed: [] })));
  for (const time of playback.times) {
    playback.show(time);
    for (const one of tracked) {
      one.person.root.updateWorldMatrix(true, true);
      one.points.push(new Vector3().setFromMatrixPosition(one.bone.matrixWorld));
      one.followed.push(isFollowed(one.person));
    }
  }
  playback.show(startTime);
  for (const { person, i, points, followed } of tracked) {
    if (points.length < 2) continue;
    const geometry = new TubeGeometry(new FramesCurve(points), points.length - 1, TRAIL_RADIUS_M, 6);
    const shade = person.colour.clone().lerp(new Color(i % 2 ? 0xffffff : 0x000000), 0.4); // the two hands differ
    const tube = new Mesh(geometry, new MeshBasicMaterial({ color: shade }));
    tube.frustumCulled = false;
    tube.userData = { indicesPerFrame: geometry.index.count / (points.length - 1), followed };
    person.trails ??= scene.add(new Group()).children.at(-1);
    person.trails.add(tube);
  }
}

/** Shows the last TRAIL_S of each path, back to where the person was last not followed. */
export function updateTrails(people, playback) {
  const frame = playback.frame;
  for (const tube of people.flatMap((person) => person.trails?.children ?? [])) {
    let first = frame;
    while (first > 0 && tube.userData.followed[first - 1] && playback.times[frame] - playback.times[first - 1] <= TRAIL_S) first--;
    const step = tube.userData.indicesPerFrame;
    tube.geometry.setDrawRange(first * step, (tube.userData.followed[frame] ? frame - first : 0) * step);
  }
}

/** Adds a stick for each bone to `scene`, drawn over the body. */
export function buildSkeleton(person, scene) {
  const { bones } = person.mesh.skeleton;
  const pairs = bones.filter((bone) => bone.parent?.isBone).map((bone) => [bone.parent, bone]);
  const shape = new CylinderGeometry(BONE_RADIUS_M * 0.6, BONE_RADIUS_M, 1, NUM_BONE_SIDES).translate(0, 0.5, 0);
  const colour = person.colour.clone().lerp(new Color(0x000000), 0.35);
  const sticks = new InstancedMesh(shape, new MeshBasicMaterial({ color: colour, depthTest: false, transparent: true }), pairs.length);
  Object.assign(sticks, { frustumCulled: false, renderOrder: 2 });
  sticks.instanceMatrix.setUsage(DynamicDrawUsage);
  sticks.userData.pairs = pairs;
  person.skeleton = scene.add(sticks).children.at(-1);
}

const UP = new Vector3(0, 1, 0);

/** Puts the sticks where the bones are now. The scene's world matrices must be up to date. */
export function updateSkeletons(people) {
  const [from, to, along, scale] = [new Vector3(), new Vector3(), new Vector3(), new Vector3()];
  const turn = new Quaternion();
  const matrix = new Matrix4();
  for (const { skeleton } of people) {
    if (!skeleton?.visible) continue;
    skeleton.userData.pairs.forEach(([parent, child], i) => {
      from.setFromMatrixPosition(parent.matrixWorld);
      along.copy(to.setFromMatrixPosition(child.matrixWorld)).sub(from);
      const length = along.length();
      if (length > 1e-5) turn.setFromUnitVectors(UP, along.divideScalar(length));
      const wide = Math.min(1, length / 0.08); // fingers are thinner than thighs
      skeleton.setMatrixAt(i, matrix.compose(from, turn, scale.set(wide, Math.max(length, 1e-6), wide)));
    });
    skeleton.instanceMatrix.needsUpdate = true;
  }
}

/** Adds a sphere around each main joint, as large as its error. `movement` is what movement.json holds of the person. */
export function buildClouds(person, movement, scene) {
  const clouds = movement.clouds ?? [];
  const material = new MeshLambertMaterial({ transparent: true, opacity: 0.5, depthTest: false });
  const spheres = new InstancedMesh(new SphereGeometry(1, 16, 12), material, clouds.length);
  Object.assign(spheres, { frustumCulled: false, renderOrder: 3 });
  spheres.userData = { clouds, rowOf: new Map(movement.frames.map((frame, row) => [frame, row])) };
  person.clouds = scene.add(spheres).children.at(-1);
}

export function updateClouds(people, frame) {
  const matrix = new Matrix4();
  const colour = new Color();
  for (const { clouds: spheres } of people) {
    if (!spheres?.visible) continue;
    const row = spheres.userData.rowOf.get(frame);
    spheres.userData.clouds.forEach((cloud, i) => {
      const error = row === undefined ? -1 : cloud.error_mm[row];
      const radius = error < 0 ? 0 : Math.max(error / 1000, MIN_CLOUD_M);
      const place = row === undefined ? [0, 0, 0] : cloud.places_mm.slice(3 * row, 3 * row + 3).map((mm) => mm / 1000);
      spheres.setMatrixAt(i, matrix.makeScale(radius, radius, radius).setPosition(...place));
      spheres.setColorAt(i, colour.setHex(CLOUD_COLOURS.find(([most]) => error <= most)[1]));
    });
    spheres.instanceMatrix.needsUpdate = true;
    if (spheres.instanceColor) spheres.instanceColor.needsUpdate = true;
  }
}
