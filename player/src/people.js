// The people in the file: meshes, colours, the bounds of their motion, and the paths of their wrists.
import { Box3, Color, Curve, Group, Mesh, MeshBasicMaterial, Quaternion, TubeGeometry, Vector3 } from "three";

const PADDING_M = 0.15; // Joints are inside the body: the crown and the fingertips reach this much farther.
const NUM_SAMPLES = 48; // Frames from which the bounds of the motion are taken.
const TRAIL_S = 1.5; // A swing's downswing and follow-through; longer paths of a long clip are a tangle.
const TRAIL_RADIUS_M = 0.008;
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

export function setVisible(person, visible) {
  person.mesh.visible = visible;
  if (person.trails) person.trails.visible = visible && person.showTrails;
}

const isFollowed = (person) => person.root.getWorldScale(new Vector3()).x > 0.5;

/** Bounds of all motion: `points`, joints at frames spread over the clip, and `box` around bodies and floor; y up, metres. */
export function motionBounds(people, playback) {
  const box = new Box3();
  const points = [];
  const position = new Vector3();
  const count = Math.min(NUM_SAMPLES, playback.times.length);
  for (let i = 0; i < count; i++) {
    playback.showFrame((playback.lastFrame * i) / Math.max(count - 1, 1));
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
