// Buttons, the scrub bar, words: everything of the page that is not the picture.
const VIEW_KEYS = { 1: "free", 2: "camera", 3: "front", 4: "side", 5: "top" };

export class Panel {
  constructor(page) {
    this.page = page;
    this.body = page.body;
    for (const id of ["message", "play", "back", "next", "scrub", "time", "frame", "last", "loop", "people", "trails", "follow", "top", "bar"]) {
      this[id] = page.getElementById(id);
    }
    this.views = [...page.querySelectorAll("[data-view]")];
    this.speeds = [...page.querySelectorAll("[data-speed]")];
  }

  loading(share) {
    this.message.textContent = `Loading the movement: ${Math.round(share * 100)} %`;
  }

  /** Tells why there is nothing to see. */
  say(sentence) {
    this.body.dataset.state = "failed";
    this.message.setAttribute("role", "alert");
    this.message.textContent = sentence;
  }

  ready() {
    this.body.dataset.state = "ready";
    this.message.textContent = "";
  }

  /** Pixels covered above and below the picture's free middle. */
  margins() {
    return { top: this.top.offsetTop + this.top.offsetHeight, bottom: this.page.documentElement.clientHeight - this.bar.offsetTop };
  }

  connect(player) {
    this.player = player;
    this.scrub.max = this.last.textContent = player.movement.lastFrame;
    this.play.onclick = () => player.toggle();
    this.back.onclick = () => player.stepBy(-1);
    this.next.onclick = () => player.stepBy(1);
    this.connectScrub(player);
    press(this.loop, (on) => player.setLoop(on));
    press(this.trails, (on) => player.setTrails(on));
    press(this.follow, (on) => player.setFollowing(on));
    this.trails.hidden = !player.has.wrists;
    for (const button of this.views) {
      button.hidden = button.dataset.view === "camera" && !player.has.camera;
      button.onclick = () => player.setView(button.dataset.view);
    }
    for (const button of this.speeds) button.onclick = () => this.chooseSpeed(Number(button.dataset.speed));
    this.listPeople(player);
    this.page.addEventListener("keydown", (event) => this.key(event));
    const still = player.movement.lastFrame === 0;
    for (const control of [this.play, this.back, this.next, this.scrub, this.loop]) control.disabled = still;
  }

  connectScrub(player) {
    let resume = false;
    const hold = () => {
      resume ||= player.movement.playing;
      player.movement.pause();
    };
    const release = () => {
      if (resume) player.toggle();
      resume = false;
    };
    this.scrub.addEventListener("pointerdown", hold);
    for (const end of ["pointerup", "pointercancel"]) this.scrub.addEventListener(end, release);
    this.scrub.addEventListener("input", () => {
      player.movement.pause();
      player.seek(Number(this.scrub.value));
    });
  }

  listPeople(player) {
    if (player.people.length < 2) return;
    this.people.hidden = false;
    for (const person of player.people) {
      const button = this.page.createElement("button");
      const dot = this.page.createElement("i");
      dot.style.background = `#${person.colour.getHexString()}`;
      button.type = "button";
      button.append(dot, person.name);
      button.title = `Show or hide ${person.name}`;
      button.setAttribute("aria-pressed", "true");
      press(button, (on) => player.setShown(person, on));
      this.people.append(button);
    }
  }

  chooseSpeed(speed) {
    this.player.setSpeed(speed);
    for (const button of this.speeds) button.setAttribute("aria-pressed", String(Number(button.dataset.speed) === speed));
  }

  showView(view) {
    for (const button of this.views) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  }

  /** Time, frame and the play button, as the movement has them; touches the page only where something changed. */
  showMoment(movement) {
    const { frame, playing } = movement;
    if (playing !== this.shownPlaying) {
      this.shownPlaying = playing;
      this.body.classList.toggle("playing", playing);
      this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
      this.play.title = playing ? "Pause (space)" : "Play (space)";
    }
    if (frame === this.shownFrame) return;
    this.shownFrame = frame;
    const seconds = movement.times[frame].toFixed(2);
    this.scrub.value = this.frame.textContent = frame;
    this.time.textContent = `${seconds} s`;
    this.scrub.style.setProperty("--share", `${(100 * frame) / Math.max(movement.lastFrame, 1)}%`);
    this.scrub.setAttribute("aria-valuetext", `${seconds} seconds, frame ${frame} of 0 to ${movement.lastFrame}`);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.body.dataset.state !== "ready") return;
    const { player } = this;
    const last = player.movement.lastFrame;
    const tenth = Math.max(1, Math.round(last / 10));
    const wanted = VIEW_KEYS[event.key];
    const button = wanted && this.views.find((one) => one.dataset.view === wanted && !one.hidden);
    const deed =
      {
        " ": () => player.toggle(),
        ArrowLeft: () => player.stepBy(event.shiftKey ? -tenth : -1),
        ArrowRight: () => player.stepBy(event.shiftKey ? tenth : 1),
        ArrowUp: () => this.faster(1),
        ArrowDown: () => this.faster(-1),
        Home: () => player.stepBy(-last),
        End: () => player.stepBy(last),
        l: () => this.loop.click(),
        t: () => !this.trails.hidden && this.trails.click(),
        f: () => this.follow.click(),
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key] ?? (button && (() => button.click()));
    // A focused button hears the space bar itself.
    if (!deed || (event.key === " " && event.target.closest?.("button"))) return;
    event.preventDefault();
    deed();
  }

  faster(way) {
    const values = this.speeds.map((button) => Number(button.dataset.speed));
    const place = values.indexOf(this.player.movement.speed) + way;
    if (values[place] !== undefined) this.chooseSpeed(values[place]);
  }
}

/** A button that stays in when pressed. */
function press(button, onChange) {
  button.onclick = () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    onChange(on);
  };
}
