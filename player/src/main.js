// The page: loads a GLB, puts it on the stage, and ties buttons and keys to it. Reads ?glb= ?view= ?frame= ?play=0.
import { fetchGlb, parseGlb, Sentence } from "./load.js";
import { Movement } from "./movement.js";
import { Panel } from "./panel.js";
import { buildTrails, facingOf, hasWrists, peopleOf, roomOf, setShown, standOf, updateTrails } from "./people.js";
import { furnish, makeStage } from "./stage.js";
import { Views } from "./views.js";

const LONGEST_STEP_S = 0.25; // A tab that comes back does not leap.

class Player {
  constructor(stage, gltf, panel) {
    Object.assign(this, stage, { panel, following: false, before: null });
    this.scene.add(gltf.scene);
    this.people = peopleOf(gltf);
    this.movement = new Movement(gltf, this.people);
    const room = roomOf(this.people, this.movement);
    const facing = facingOf(this.people, this.movement);
    this.movement.show(0);
    gltf.scene.updateMatrixWorld(true);
    const element = this.renderer.domElement;
    this.fit();
    this.views = new Views(this.camera, element, {
      room,
      facing,
      clipCamera: gltf.cameras[0] ?? null,
      margins: () => panel.margins(),
      onChange: (view) => panel.showView(view),
    });
    this.views.controls.addEventListener("change", () => this.draw());
    furnish(this.scene, this.camera, room.box, this.views.ahead);
    new ResizeObserver(() => this.resize()).observe(element);
    panel.connect(this);
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.renderer.domElement;
    this.renderer.setSize(Math.max(width, 1), Math.max(height, 1), false);
    this.camera.aspect = Math.max(width, 1) / Math.max(height, 1);
    this.camera.updateProjectionMatrix();
  }

  resize() {
    this.fit();
    this.views.reframe();
    this.draw();
  }

  /** Asks for one picture; while something moves, each asks for the next. Nothing is drawn while nothing changes. */
  draw() {
    this.asked ??= requestAnimationFrame((clock) => this.tick(clock));
  }

  tick(clock) {
    this.asked = null;
    const seconds = Math.min((clock - (this.before ?? clock)) / 1000, LONGEST_STEP_S);
    const moved = this.movement.advance(seconds);
    if (this.following && moved) this.follow();
    const gliding = this.views.step(clock);
    updateTrails(this.people, this.movement);
    const shadows = [this.movement.time, ...this.people.map((person) => person.mesh.visible)].join();
    this.renderer.shadowMap.needsUpdate = shadows !== this.shadows;
    this.shadows = shadows;
    this.renderer.render(this.scene, this.camera);
    this.panel.showMoment(this.movement);
    const goesOn = this.movement.playing || gliding || this.views.glide;
    this.before = goesOn ? clock : null;
    if (goesOn) this.draw();
  }

  follow() {
    this.scene.updateMatrixWorld(true);
    const stand = standOf(this.people);
    if (stand && this.stand) this.views.carry(stand.clone().sub(this.stand));
    this.stand = stand ?? this.stand;
  }

  // What buttons and keys do.

  toggle() {
    if (this.movement.playing) this.movement.pause();
    else this.movement.play();
    this.panel.showMoment(this.movement); // at once, however long the next picture takes
    this.draw();
  }

  seek(frame) {
    this.movement.showFrame(frame);
    if (this.following) this.follow();
    this.draw();
  }

  stepBy(frames) {
    this.movement.pause();
    this.seek(this.movement.frame + frames);
  }

  setSpeed(speed) {
    this.movement.speed = speed;
  }

  setLoop(loop) {
    this.movement.loop = loop;
  }

  setView(view) {
    this.views.go(view);
    this.draw();
  }

  setFollowing(following) {
    this.following = following;
    this.scene.updateMatrixWorld(true);
    this.stand = standOf(this.people);
  }

  setTrails(wanted) {
    if (wanted && !this.people.some((person) => person.trails)) buildTrails(this.people, this.movement, this.scene);
    for (const person of this.people) {
      person.trailsWanted = wanted;
      setShown(person, person.mesh.visible);
    }
    this.draw();
  }

  setShown(person, shown) {
    setShown(person, shown);
    this.draw();
  }

  get has() {
    return { camera: Boolean(this.views.clipCamera), wrists: hasWrists(this.people) && this.movement.lastFrame > 0 };
  }
}

async function open() {
  const panel = new Panel(document);
  const asked = new URLSearchParams(location.search);
  try {
    const canvas = document.getElementById("canvas");
    const stage = makeStage(canvas);
    canvas.addEventListener("webglcontextlost", () => panel.say("The browser took the 3D view away, perhaps for want of memory. Load the page again."));
    const gltf = await parseGlb(await fetchGlb(document, (share) => panel.loading(share)));
    const player = new Player(stage, gltf, panel);
    player.views.reframe();
    const view = asked.get("view");
    player.views.go(["camera", "front", "side", "top"].includes(view) ? view : "free", true);
    if (asked.has("frame")) player.seek(Number(asked.get("frame")) || 0);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (asked.get("play") !== "0" && !calm) player.movement.play();
    panel.ready();
    player.draw();
  } catch (error) {
    if (!(error instanceof Sentence)) console.error(error);
    panel.say(error instanceof Sentence ? error.message : "The movement could not be shown: something in this page failed. Load it again, or open the GLB in another viewer.");
  }
}

open();
