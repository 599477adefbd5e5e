// Saving and sharing: downloads, links to a moment, stretches in slow motion.
import { make, offer } from "./dom.js";
import { momentLink } from "./links.js";

const COPIED_MS = 1800;

const sizeText = (bytes) => (bytes >= 1e5 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`);

/** The tab of downloads, links and stretches of one run. `moment()` is {frame, view}; `base` the run's address; `home` the app's. */
export class ShareTab {
  constructor(page, { run, result, base, home, moment, clock, stretch }) {
    Object.assign(this, { page, run, result, base, home, moment, clock, stretch });
    for (const id of ["downloads", "share", "link", "link-here", "copied", "make-mp4", "make-gif", "stretch-speed", "stretch-about", "stretch-state"]) this[id] = page.getElementById(id);
    this.listDownloads();
    this.connectLinks();
    for (const kind of ["mp4", "gif"]) this[`make-${kind}`].onclick = () => this.makeStretch(kind);
    this.update();
  }

  listDownloads() {
    const { page } = this;
    this.downloads.replaceChildren(
      ...this.result.files.map(({ name, kind, title, bytes }) => {
        const href = new URL(`${name}?download=1`, this.base).href;
        const attributes = { href, download: "", "data-file": name, class: name.endsWith(".zip") ? "all" : null };
        return make(page, "a", attributes, make(page, "b", {}, kind), make(page, "span", {}, title), make(page, "small", {}, sizeText(bytes)));
      }),
    );
  }

  /** The link to what is shown now: the moment, the view. */
  href() {
    const here = this["link-here"].checked;
    return momentLink(this.home, { run: this.run, ...(here ? this.moment() : {}) });
  }

  connectLinks() {
    this["link-here"].onchange = () => this.update();
    this.link.onfocus = () => this.link.select();
    this.share.onclick = async () => {
      const href = this.href();
      const onPhone = matchMedia("(pointer: coarse)").matches && navigator.share;
      try {
        if (onPhone) await navigator.share({ title: `${this.result.name} in 3D`, url: href });
        else await this.copy(href);
      } catch (error) {
        if (error.name !== "AbortError") await this.copy(href);
      }
    };
  }

  async copy(href) {
    this.link.value = href;
    try {
      await navigator.clipboard.writeText(href);
    } catch {
      this.link.select();
      this.page.execCommand("copy");
    }
    this.copied.textContent = "Copied";
    setTimeout(() => (this.copied.textContent = ""), COPIED_MS);
  }

  update() {
    const href = this.href();
    if (this.link.value !== href && this.page.activeElement !== this.link) this.link.value = href;
    const { from, to, what } = this.stretch();
    const about = `${what}: frames ${from} to ${to}`;
    if (about !== this.shownAbout) this["stretch-about"].textContent = this.shownAbout = about;
  }

  async makeStretch(kind) {
    const { from, to } = this.stretch();
    const buttons = [this["make-mp4"], this["make-gif"]];
    const speed = this["stretch-speed"].value;
    for (const button of buttons) button.disabled = true;
    this["stretch-state"].textContent = `Making the ${kind.toUpperCase()}…`;
    try {
      const response = await fetch(new URL(`stretch.${kind}?first=${from}&last=${to}&speed=${speed}`, this.base));
      if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? `The server answered ${response.status}.`);
      offer(this.page, await response.blob(), `slow_motion_${from}-${to}.${kind}`);
      this["stretch-state"].textContent = "Done: it is among your downloads.";
    } catch (error) {
      this["stretch-state"].textContent = error instanceof TypeError ? "The server did not answer. Check the connection and try again." : error.message;
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }
}
