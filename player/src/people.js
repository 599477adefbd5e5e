// Who is in the file: meshes, colours, where everybody goes, and the paths of their wrists.
import { Box3, Color, Curve, Group, Mesh, MeshBasicMaterial, Quaternion, TubeGeometry, Vector3 } from "three";

const AROUND_M = 0.15; // Joints lie within the body: the crown and the fingertips reach this much farther.
const SAMPLES = 48; // Moments looked at to find the room that the movement takes.
const TRAIL_S = 1.5; // A swing's way down and through; longer paths of a long clip are a tangle.
const TRAIL_RADIUS_M = 0.008;
const UPRIGHT = 0.35; // Below this share of the facing lies in the floor's plane, someone lies, and faces nowhere.

/** People in the file's order: the node that shows or hides them, their mesh and their root joint. */
export function peopleOf(gltf) {
  const people = [];
  gltf.scene.traverse((node) => {
    if (!node.isSkinnedMesh) return;
    node.frustumCulled = false; // Its box is that of the rest pose.
    node.castShadow = node.receiveShadow = true;
    node.material.transparent = true; // Drawn after the floor, so that a foot a centimetre too deep stands on it and is not cut.
    const root = node.skeleton.bones[0];
    const extras = node.userData;
    const name = extras.person_id === undefined ? `Person ${people.length + 1}` : `Person ${extras.person_id}`;
    people.push({ name, mesh: node, root, extras, colour: node.material.color.clone() });
  });
  return people;
}

export function setShown(person, shown) {
  person.mesh.visible = shown;
  if (person.trails) person.trails.visible = shown && person.trailsWanted;
}

const isThere = (person) => person.root.getWorldScale(new Vector3()).x > 0.5;

/** All that moves: `points`, joints at moments spread over the clip, and `box` around bodies and floor; y up, metres. */
export function roomOf(people, movement) {
  const box = new Box3();
  const points = [];
  const at = new Vector3();
  const count = Math.min(SAMPLES, movement.times.length);
  for (let i = 0; i < count; i++) {
    movement.showFrame((movement.lastFrame * i) / Math.max(count - 1, 1));
    for (const person of people) {
      person.root.updateWorldMatrix(true, true);
      if (isThere(person)) for (const bone of person.mesh.skeleton.bones) points.push(at.setFromMatrixPosition(bone.matrixWorld).clone());
    }
  }
  if (!points.length) points.push(new Vector3(-0.5, 0, 0), new Vector3(0.5, 1.7, 0));
  box.setFromPoints(points);
  box.expandByScalar(AROUND_M);
  box.min.y = Math.min(Math.max(box.min.y, -AROUND_M), 0);
  return { box, points, around: AROUND_M };
}

/** Where the first person faces in the first pose, as an angle about the floor's normal (0: +z); null where it cannot be told. */
export function facingOf(people, movement) {
  movement.show(movement.times[people[0].extras.first_frame ?? 0] ?? 0);
  people[0].root.updateWorldMatrix(true, false);
  const ahead = new Vector3(0, 0, 1).applyQuaternion(people[0].root.getWorldQuaternion(new Quaternion()));
  return Math.hypot(ahead.x, ahead.z) < UPRIGHT ? null : Math.atan2(ahead.x, ahead.z);
}

/** Where the first person stands now, on the floor. */
export function standOf(people) {
  const person = people.find((one) => one.mesh.visible && isThere(one));
  return person ? new Vector3().setFromMatrixPosition(person.root.matrixWorld).setY(0) : null;
}

/** A path through the clip's frames, frame by frame: steps are of time, not of length. */
class FramesCurve extends Curve {
  constructor(points) {
    super();
    this.points = points;
  }

  getPoint(share, into = new Vector3()) {
    const place = share * (this.points.length - 1);
    const left = Math.min(Math.floor(place), this.points.length - 2);
    return into.lerpVectors(this.points[left], this.points[left + 1], place - left);
  }

  getPointAt(share, into) {
    return this.getPoint(share, into);
  }

  getTangentAt(share, into) {
    return this.getTangent(share, into);
  }
}

const wristsOf = (person) => person.mesh.skeleton.bones.filter((bone) => /wrist(\.[lr])?$/i.test(bone.userData.name ?? bone.name));

export const hasWrists = (people) => people.some((person) => wristsOf(person).length > 0);

/** Builds everybody's wrist paths into `scene`; the movement is left where it was. */
export function buildTrails(people, movement, scene) {
  const back = movement.time;
  const tracked = people.flatMap((person) => wristsOf(person).map((bone, i) => ({ person, bone, i, points: [], there: [] })));
  for (const time of movement.times) {
    movement.show(time);
    for (const one of tracked) {
      one.person.root.updateWorldMatrix(true, true);
      one.points.push(new Vector3().setFromMatrixPosition(one.bone.matrixWorld));
      one.there.push(isThere(one.person));
    }
  }
  movement.show(back);
  for (const { person, i, points, there } of tracked) {
    if (points.length < 2) continue;
    const geometry = new TubeGeometry(new FramesCurve(points), points.length - 1, TRAIL_RADIUS_M, 6);
    const shade = person.colour.clone().lerp(new Color(i % 2 ? 0xffffff : 0x000000), 0.4); // the two hands differ
    const tube = new Mesh(geometry, new MeshBasicMaterial({ color: shade }));
    tube.frustumCulled = false;
    tube.userData = { indicesPerFrame: geometry.index.count / (points.length - 1), there };
    person.trails ??= scene.add(new Group()).children.at(-1);
    person.trails.add(tube);
  }
}

/** Shows the last moments of each path, back to where the person was last away. */
export function updateTrails(people, movement) {
  const now = movement.frame;
  for (const tube of people.flatMap((person) => person.trails?.children ?? [])) {
    let first = now;
    while (first > 0 && tube.userData.there[first - 1] && movement.times[now] - movement.times[first - 1] <= TRAIL_S) first--;
    const step = tube.userData.indicesPerFrame;
    tube.geometry.setDrawRange(first * step, (tube.userData.there[now] ? now - first : 0) * step);
  }
}
