// The page: loads a GLB, shows it, and connects buttons and keys. Reads ?glb= ?view= ?frame= ?play=0.
import { fetchGlb, parseGlb, UserFacingError } from "./load.js";
import { Panel } from "./panel.js";
import { Playback } from "./playback.js";
import { buildTrails, findPeople, groundPosition, haveWrists, initialHeading, motionBounds, setVisible, updateTrails } from "./people.js";
import { addLightsAndFloor, createScene } from "./scene.js";
import { Views } from "./views.js";

const MAX_STEP_S = 0.25; // Playback does not jump when a hidden tab becomes visible again.

class Player {
  constructor(view3d, gltf, panel) {
    Object.assign(this, view3d, { panel, following: false, previousClock: null });
    this.scene.add(gltf.scene);
    this.people = findPeople(gltf);
    this.playback = new Playback(gltf, this.people);
    const bounds = motionBounds(this.people, this.playback);
    const heading = initialHeading(this.people, this.playback);
    this.playback.show(0);
    gltf.scene.updateMatrixWorld(true);
    const element = this.renderer.domElement;
    this.fitToElement();
    this.views = new Views(this.camera, element, {
      bounds,
      heading,
      clipCamera: gltf.cameras[0] ?? null,
      margins: () => panel.margins(),
      onChange: (view) => panel.showView(view),
    });
    this.views.controls.addEventListener("change", () => this.draw());
    addLightsAndFloor(this.scene, this.camera, bounds.box, this.views.heading);
    new ResizeObserver(() => this.resize()).observe(element);
    panel.connect(this);
  }

  fitToElement() {
    const { clientWidth: width, clientHeight: height } = this.renderer.domElement;
    this.renderer.setSize(Math.max(width, 1), Math.max(height, 1), false);
    this.camera.aspect = Math.max(width, 1) / Math.max(height, 1);
    this.camera.updateProjectionMatrix();
  }

  resize() {
    this.fitToElement();
    this.views.reframe();
    this.draw();
  }

  /** Requests one picture; while something moves, each requests the next. Nothing is drawn while nothing changes. */
  draw() {
    this.pendingFrame ??= requestAnimationFrame((clock) => this.tick(clock));
  }

  tick(clock) {
    this.pendingFrame = null;
    const seconds = Math.min((clock - (this.previousClock ?? clock)) / 1000, MAX_STEP_S);
    const moved = this.playback.advance(seconds);
    if (this.following && moved) this.follow();
    const inTransition = this.views.step(clock);
    updateTrails(this.people, this.playback);
    const shadows = [this.playback.time, ...this.people.map((person) => person.mesh.visible)].join();
    this.renderer.shadowMap.needsUpdate = shadows !== this.shadows;
    this.shadows = shadows;
    this.renderer.render(this.scene, this.camera);
    this.panel.showState(this.playback);
    const continues = this.playback.playing || inTransition || this.views.transition;
    this.previousClock = continues ? clock : null;
    if (continues) this.draw();
  }

  follow() {
    this.scene.updateMatrixWorld(true);
    const position = groundPosition(this.people);
    if (position && this.position) this.views.translate(position.clone().sub(this.position));
    this.position = position ?? this.position;
  }

  // What buttons and keys do.

  toggle() {
    if (this.playback.playing) this.playback.pause();
    else this.playback.play();
    this.panel.showState(this.playback); // at once, however long the next picture takes
    this.draw();
  }

  seek(frame) {
    this.playback.showFrame(frame);
    if (this.following) this.follow();
    this.draw();
  }

  stepBy(frames) {
    this.playback.pause();
    this.seek(this.playback.frame + frames);
  }

  setSpeed(speed) {
    this.playback.speed = speed;
  }

  setLoop(loop) {
    this.playback.loop = loop;
  }

  setView(view) {
    this.views.show(view);
    this.draw();
  }

  setFollowing(following) {
    this.following = following;
    this.scene.updateMatrixWorld(true);
    this.position = groundPosition(this.people);
  }

  setTrails(enabled) {
    if (enabled && !this.people.some((person) => person.trails)) buildTrails(this.people, this.playback, this.scene);
    for (const person of this.people) {
      person.showTrails = enabled;
      setVisible(person, person.mesh.visible);
    }
    this.draw();
  }

  setVisible(person, shown) {
    setVisible(person, shown);
    this.draw();
  }

  get has() {
    return { camera: Boolean(this.views.clipCamera), wrists: haveWrists(this.people) && this.playback.lastFrame > 0 };
  }
}

async function open() {
  const panel = new Panel(document);
  const query = new URLSearchParams(location.search);
  try {
    const canvas = document.getElementById("canvas");
    const view3d = createScene(canvas);
    canvas.addEventListener("webglcontextlost", () => panel.showError("The browser took the 3D view away, perhaps for want of memory. Load the page again."));
    const gltf = await parseGlb(await fetchGlb(document, (share) => panel.showProgress(share)));
    const player = new Player(view3d, gltf, panel);
    player.views.reframe();
    const view = query.get("view");
    player.views.show(["camera", "front", "side", "top"].includes(view) ? view : "free", true);
    if (query.has("frame")) player.seek(Number(query.get("frame")) || 0);
    const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (query.get("play") !== "0" && !reducedMotion) player.playback.play();
    panel.ready();
    player.draw();
  } catch (error) {
    if (!(error instanceof UserFacingError)) console.error(error);
    panel.showError(error instanceof UserFacingError ? error.message : "The movement could not be shown: something in this page failed. Load it again, or open the GLB in another viewer.");
  }
}

open();
