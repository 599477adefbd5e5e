// The 3D part of the page: one drawing surface behind one or two panes, each with its own view of the same people.
import { Color, Group, Scene } from "three";
import { overlayMove } from "./align.js";
import { ClipCamera, drawnCamera, isNear } from "./clip_camera.js";
import { Poser } from "./playback.js";
import {
  buildClouds, buildSkeleton, buildTrails, buildWays, findPeople, groundPosition, haveWrists, initialHeading, motionBounds, setSeeThrough, setVisible,
  updateClouds, updateSkeletons, updateTrails,
} from "./people.js";
import { SlowWatch } from "./quality.js";
import { addHeadlight, addLightsAndFloor, createCamera, createRenderer } from "./scene.js";
import { Views } from "./views.js";

const GHOST_COLOUR = 0xe69f00;
const GHOST_OPACITY = 0.45;

/** One view of the scene, in an element that lies over the drawing surface and takes the hands' movements. */
class Pane {
  constructor(stage, element, options) {
    this.element = element;
    this.camera = createCamera();
    this.headlight = addHeadlight(stage.scene, this.camera);
    this.views = new Views(this.camera, element, options);
    this.views.controls.addEventListener("change", () => stage.wake());
  }

  get shown() {
    return this.element.clientWidth > 0 && this.element.clientHeight > 0;
  }

  fit() {
    this.camera.aspect = this.element.clientWidth / Math.max(this.element.clientHeight, 1);
    this.camera.updateProjectionMatrix();
    this.views.reframe();
  }
}

export class Stage {
  /**
   * `panes`: [{element, margins, onChange}]. `times` are the clip's, null to take the file's. `turns` are directions known of the movement,
   * see Views. `wake` asks for a picture; `onLost` is told a sentence when the browser takes the drawing surface away.
   */
  constructor(canvas, gltf, { panes, times, turns, movement, wake, onLost, onSlow }) {
    Object.assign(this, { canvas, wake, onLost, onSlow, light: false, following: false, ghost: null, sideBySide: false, wanted: null });
    this.scene = new Scene();
    this.scene.add(gltf.scene);
    this.people = findPeople(gltf);
    this.poser = new Poser(gltf, this.people, times);
    this.watch = new SlowWatch();
    this.movement = movement;
    this.bounds = motionBounds(this.people, this.poser);
    const heading = initialHeading(this.people, this.poser);
    this.poser.show(this.poser.times[0]);
    gltf.scene.updateMatrixWorld(true);
    this.renderer = createRenderer(canvas, false);
    this.listen();
    const clip = (this.clip = gltf.cameras[0] ? new ClipCamera(gltf) : null);
    this.ways = clip?.moves ? this.buildWays() : null;
    clip?.show(this.poser.time);
    const places = this.ways?.places ?? (clip ? [clip.pose().position] : []);
    const seenFromAbove = this.ways && isNear(places, this.bounds.box) ? places : [];
    const given = { bounds: this.bounds, heading, turns, clip, places, seenFromAbove };
    this.panes = panes.map(({ element, margins, onChange }) => new Pane(this, element, { ...given, margins, onChange }));
    const setFloorDark = addLightsAndFloor(this.scene, this.bounds.box, this.panes[0].views.heading);
    this.setDark = (dark) => {
      setFloorDark(dark);
      this.ways?.camera.setDark(dark);
    };
    this.has = { camera: Boolean(clip), ways: Boolean(this.ways), wrists: haveWrists(this.people) && this.poser.lastFrame > 0, clouds: this.clouded().length > 0 };
  }

  /** The ways of people and camera, and the camera itself, as other views show them. */
  buildWays() {
    const camera = drawnCamera();
    this.scene.add(camera.drawn);
    return { ...buildWays(this.people, this.poser, this.scene, this.clip.camera), camera, shown: false };
  }

  clouded() {
    const held = this.movement?.people ?? [];
    const of = (person) => held.find((one) => one.person_id === person.extras.person_id && one.clouds?.length);
    return this.people.map((person) => ({ person, held: of(person) })).filter(({ held: found }) => found);
  }

  listen() {
    this.canvas.addEventListener("webglcontextlost", (event) => {
      if (event.target === this.canvas) this.onLost("The browser took the 3D view away, perhaps for want of memory. Load the page again.");
    });
  }

  /** Draws less well and faster, or as well as it can again. Smoothed edges belong to a surface from its beginning, so it gets a new one. */
  setLight(light) {
    if (light === this.light) return;
    this.light = light;
    const canvas = this.canvas.cloneNode(false);
    const old = this.canvas;
    this.canvas = canvas;
    old.replaceWith(canvas);
    this.renderer.dispose();
    this.renderer.forceContextLoss();
    this.renderer = createRenderer(canvas, light);
    this.listen();
    this.shadows = null;
    this.resize();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.renderer.setSize(Math.max(clientWidth, 1), Math.max(clientHeight, 1), false);
    for (const pane of this.panes) if (pane.shown) pane.fit();
    this.wake();
  }

  /** Shows the moment `time` of the clip; `frame` is its frame. True while a view is still turning. */
  draw(clockMs, time, playing) {
    this.rest(clockMs, playing);
    const moved = this.poser.time !== time;
    this.poser.show(time);
    this.clip?.show(this.poser.time);
    this.ways?.camera.update(this.clip);
    if (this.following && moved) this.follow();
    const { frame } = this.poser;
    if (this.ghost) this.ghost.poser.show(this.ghost.timeOf(frame));
    this.scene.updateMatrixWorld();
    updateTrails(this.people, this.poser);
    updateSkeletons(this.people);
    updateClouds(this.people, frame);
    const turning = this.panes.map((pane) => pane.shown && (pane.views.step(clockMs) || pane.views.transition)).some(Boolean);
    const shadows = [time, this.sideBySide, Boolean(this.ghost), ...this.people.map((person) => person.mesh.visible)].join();
    this.renderer.shadowMap.needsUpdate = shadows !== this.shadows && !this.light;
    this.shadows = shadows;
    this.render();
    this.canvas.dataset.frame = frame;
    return turning;
  }

  /** Notes that a turn went by, drawn or not: where turns are slow while something plays, the machine is. */
  rest(clockMs, playing) {
    if (!playing || !this.onSlow) return this.watch.reset();
    if (!this.watch.add(clockMs)) return;
    const told = this.onSlow;
    this.onSlow = null;
    told();
  }

  render() {
    const { renderer } = this;
    const surface = this.canvas.getBoundingClientRect();
    renderer.setScissorTest(false);
    renderer.setViewport(0, 0, surface.width, surface.height);
    renderer.clear();
    renderer.setScissorTest(true);
    const shown = this.panes.filter((pane) => pane.shown);
    for (const pane of shown) {
      const box = pane.element.getBoundingClientRect();
      const place = [box.left - surface.left, surface.bottom - box.bottom, box.width, box.height];
      renderer.setViewport(...place);
      renderer.setScissor(...place);
      for (const other of this.panes) other.headlight.visible = other === pane;
      if (this.ways) for (const object of [this.ways.camera.drawn, this.ways.cameraWay]) object.visible = this.ways.shown && pane.views.view !== "camera";
      const restore = this.sideBySide && this.ghost && shown.length > 1 ? this.divide(pane === shown[1]) : null;
      if (restore) renderer.shadowMap.needsUpdate = !this.light;
      renderer.render(this.scene, pane.camera);
      restore?.();
    }
  }

  /** Side by side: one pane shows the people of this clip, the other those of the one compared with. */
  divide(other) {
    const hidden = other ? [...this.people.flatMap((p) => [p.mesh, p.trails, p.way, p.skeleton, p.clouds]), null] : [this.ghost.group];
    const were = hidden.filter(Boolean).map((object) => [object, object.visible]);
    for (const [object] of were) object.visible = false;
    return () => {
      for (const [object, visible] of were) object.visible = visible;
    };
  }

  follow() {
    this.scene.updateMatrixWorld(true);
    const position = groundPosition(this.people);
    if (position && this.position) for (const pane of this.panes) pane.views.translate(position.clone().sub(this.position));
    this.position = position ?? this.position;
  }

  // Switches.

  setFollowing(following) {
    this.following = following;
    this.scene.updateMatrixWorld(true);
    this.position = groundPosition(this.people);
  }

  setTrails(on) {
    if (on && !this.people.some((person) => person.trails)) buildTrails(this.people, this.poser, this.scene);
    this.setOfAll("showTrails", on);
  }

  setWays(on) {
    if (!this.ways) return;
    this.ways.shown = on;
    this.setOfAll("showWay", on);
  }

  setSkeleton(on) {
    if (on) for (const person of this.people) if (!person.skeleton) buildSkeleton(person, this.scene);
    this.setOfAll("showSkeleton", on);
  }

  setClouds(on) {
    if (on) for (const { person, held } of this.clouded()) if (!person.clouds) buildClouds(person, held, this.scene);
    this.setOfAll("showClouds", on);
  }

  setOfAll(name, on) {
    for (const person of this.people) {
      person[name] = on;
      setVisible(person, person.mesh.visible);
    }
    this.wake();
  }

  setSeeThrough(on) {
    for (const person of this.people) setSeeThrough(person, on);
    this.wake();
  }

  setVisible(person, shown) {
    setVisible(person, shown);
    this.wake();
  }

  /**
   * Shows another clip's people too, laid over ours; null for none. `timeOf(frame)` is the other's time for a frame of ours; `mine` and
   * `other` are both swings' directions.
   */
  setGhost(given) {
    if (this.ghost) this.scene.remove(this.ghost.group);
    this.ghost = null;
    if (given) {
      const group = new Group();
      group.add(given.gltf.scene);
      const { turn, shift } = overlayMove(given.mine, given.other);
      group.rotation.y = turn;
      group.position.set(...shift);
      const people = findPeople(given.gltf);
      for (const { mesh, extras } of people) {
        mesh.visible = extras.person_id === undefined || extras.person_id === given.person;
        mesh.castShadow = false;
        mesh.material.color = new Color(GHOST_COLOUR);
        Object.assign(mesh.material, { opacity: GHOST_OPACITY, depthWrite: false });
      }
      this.scene.add(group);
      const poser = new Poser(given.gltf, people, given.times);
      this.ghost = { group, poser, timeOf: (frame) => given.timeOf(frame, poser.timeline), people };
    }
    this.wake();
  }

  /** The ghost in a pane of its own instead of over ours. */
  setSideBySide(on) {
    this.sideBySide = on;
    for (const { mesh } of this.ghost?.people ?? []) Object.assign(mesh.material, { opacity: on ? 1 : GHOST_OPACITY, depthWrite: on });
    this.wake();
  }
}
