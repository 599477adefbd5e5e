// Buttons, the scrub bar and text: everything of the page but the picture.
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

  showProgress(share) {
    this.message.textContent = `Loading the movement: ${Math.round(share * 100)} %`;
  }

  /** Shows why nothing can be displayed. */
  showError(sentence) {
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
    this.scrub.max = this.last.textContent = player.playback.lastFrame;
    this.play.onclick = () => player.toggle();
    this.back.onclick = () => player.stepBy(-1);
    this.next.onclick = () => player.stepBy(1);
    this.connectScrub(player);
    toggleButton(this.loop, (on) => player.setLoop(on));
    toggleButton(this.trails, (on) => player.setTrails(on));
    toggleButton(this.follow, (on) => player.setFollowing(on));
    this.trails.hidden = !player.has.wrists;
    for (const button of this.views) {
      button.hidden = button.dataset.view === "camera" && !player.has.camera;
      button.onclick = () => player.setView(button.dataset.view);
    }
    for (const button of this.speeds) button.onclick = () => this.chooseSpeed(Number(button.dataset.speed));
    this.listPeople(player);
    this.page.addEventListener("keydown", (event) => this.key(event));
    const still = player.playback.lastFrame === 0;
    for (const control of [this.play, this.back, this.next, this.scrub, this.loop]) control.disabled = still;
  }

  connectScrub(player) {
    let resume = false;
    const hold = () => {
      resume ||= player.playback.playing;
      player.playback.pause();
    };
    const release = () => {
      if (resume) player.toggle();
      resume = false;
    };
    this.scrub.addEventListener("pointerdown", hold);
    for (const end of ["pointerup", "pointercancel"]) this.scrub.addEventListener(end, release);
    this.scrub.addEventListener("input", () => {
      player.playback.pause();
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
      toggleButton(button, (on) => player.setVisible(person, on));
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

  /** Shows time, frame and the play button; touches the page only where something changed. */
  showState(playback) {
    const { frame, playing } = playback;
    if (playing !== this.shownPlaying) {
      this.shownPlaying = playing;
      this.body.classList.toggle("playing", playing);
      this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
      this.play.title = playing ? "Pause (space)" : "Play (space)";
    }
    if (frame === this.shownFrame) return;
    this.shownFrame = frame;
    const seconds = playback.times[frame].toFixed(2);
    this.scrub.value = this.frame.textContent = frame;
    this.time.textContent = `${seconds} s`;
    this.scrub.style.setProperty("--share", `${(100 * frame) / Math.max(playback.lastFrame, 1)}%`);
    this.scrub.setAttribute("aria-valuetext", `${seconds} seconds, frame ${frame} of 0 to ${playback.lastFrame}`);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || this.body.dataset.state !== "ready") return;
    const { player } = this;
    const last = player.playback.lastFrame;
    const tenth = Math.max(1, Math.round(last / 10));
    const view = VIEW_KEYS[event.key];
    const button = view && this.views.find((one) => one.dataset.view === view && !one.hidden);
    const action =
      {
        " ": () => player.toggle(),
        ArrowLeft: () => player.stepBy(event.shiftKey ? -tenth : -1),
        ArrowRight: () => player.stepBy(event.shiftKey ? tenth : 1),
        ArrowUp: () => this.changeSpeed(1),
        ArrowDown: () => this.changeSpeed(-1),
        Home: () => player.stepBy(-last),
        End: () => player.stepBy(last),
        l: () => this.loop.click(),
        t: () => !this.trails.hidden && this.trails.click(),
        f: () => this.follow.click(),
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key] ?? (button && (() => button.click()));
    // A focused button handles the space bar itself.
    if (!action || (event.key === " " && event.target.closest?.("button"))) return;
    event.preventDefault();
    action();
  }

  changeSpeed(step) {
    const values = this.speeds.map((button) => Number(button.dataset.speed));
    const index = values.indexOf(this.player.playback.speed) + step;
    if (values[index] !== undefined) this.chooseSpeed(values[index]);
  }
}

/** Makes a button that stays pressed until it is pressed again. */
function toggleButton(button, onChange) {
  button.onclick = () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    onChange(on);
  };
}
