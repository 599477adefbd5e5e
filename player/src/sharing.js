// Saving and sharing: downloads, links to a moment, stretches in slow motion, and the results of this browser.
import { make, offer } from "./dom.js";
import { momentLink } from "./links.js";
import { staysText } from "./runs.js";

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

/** The tab of this browser's results. `onOpen(token)` opens one, `onChange()` is told after each change. */
export class RunsTab {
  constructor(page, { list, server, run, home, onChange }) {
    Object.assign(this, { page, list, server, run, home, onChange });
    this.element = page.getElementById("runs");
    this.state = page.getElementById("runs-state");
  }

  /** Asks the server what is left of the list, and shows it; without an answer, what the browser knows. */
  async refresh() {
    this.show(this.list.read());
    const known = this.list.read();
    if (!known.length) return;
    try {
      const rows = await this.server.list(known.map((one) => one.token));
      for (const row of rows) {
        if (row.state === "gone") this.list.forget(row.run);
        else this.list.remember(row.run, { name: row.name, expires: row.expires_s ?? null, state: row.state });
      }
      this.show(this.list.read());
      this.onChange();
    } catch {
      // An older server, or none at the moment: names and links are still worth showing.
    }
  }

  show(runs) {
    const { page } = this;
    page.getElementById("no-runs").hidden = runs.length > 0;
    this.element.replaceChildren(
      ...runs.map((one) => {
        const name = make(page, "a", { href: momentLink(this.home, { run: one.token }), target: "_top" }, one.name ?? "A result");
        const here = one.token === this.run ? "this one" : null;
        const about = [here, one.added ? new Date(one.added).toLocaleDateString() : null, staysText(one.expires, Date.now())].filter(Boolean).join(" · ");
        const rename = make(page, "button", { type: "button", class: "plain", "aria-label": `Rename ${one.name}` }, "Rename");
        rename.onclick = () => this.rename(one, row);
        const remove = make(page, "button", { type: "button", class: "plain danger", "aria-label": `Delete ${one.name}` }, "Delete");
        remove.onclick = () => this.confirm(one, remove);
        const row = make(page, "li", { "data-run": one.token }, make(page, "span", { class: "name" }, name, make(page, "small", {}, about)), rename, remove);
        return row;
      }),
    );
  }

  rename(one, row) {
    const { page } = this;
    const field = make(page, "input", { value: one.name ?? "", maxlength: 60, "aria-label": "New name" });
    const keep = make(page, "button", { type: "submit", class: "plain" }, "Save");
    const form = make(page, "form", { class: "name" }, field, keep);
    form.onsubmit = async (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (!name) return;
      try {
        const answer = await this.server.rename(one.token, name);
        this.list.remember(one.token, { name: answer.name ?? name });
        this.state.textContent = "";
      } catch {
        this.list.remember(one.token, { name });
        this.state.textContent = "The name is kept in this browser only: the server did not take it.";
      }
      this.show(this.list.read());
      this.onChange();
    };
    row.querySelector(".name").replaceWith(form);
    field.select();
  }

  /** Deleting asks once more, on the button itself. */
  confirm(one, button) {
    if (button.dataset.sure) return this.remove(one);
    button.dataset.sure = "1";
    button.textContent = "Really delete?";
    setTimeout(() => {
      delete button.dataset.sure;
      button.textContent = "Delete";
    }, 5000);
  }

  async remove(one) {
    try {
      await this.server.remove(one.token);
      this.state.textContent = "Deleted, at the server too.";
    } catch (error) {
      if (error.status !== 404) {
        this.state.textContent = "It could not be deleted at the server. Try again.";
        return;
      }
      this.state.textContent = "It was no longer there.";
    }
    this.list.forget(one.token);
    this.show(this.list.read());
    this.onChange();
  }
}
