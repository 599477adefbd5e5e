// The results of this browser as rows: opened by their name, renamed, deleted. On the result page, and on the app's first page.
import { make } from "./dom.js";
import { momentLink } from "./links.js";
import { staysText } from "./runs.js";

const STATES = { new: "not made yet", waiting: "waiting", working: "being made", refused: "could not be made", failed: "could not be made", cancelled: "stopped" };

/** The list; `run` is the one that is open, if any; `home` the app's address; `onChange()` is told after each change. */
export class RunRows {
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
        const about = [here, STATES[one.state], one.added ? new Date(one.added).toLocaleDateString() : null, staysText(one.expires, Date.now())].filter(Boolean).join(" · ");
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
