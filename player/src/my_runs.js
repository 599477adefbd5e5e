// This browser's results on the app's first page, which does without the player. `app.js` there uses `window.b4Runs`.
import { RunRows } from "./run_rows.js";
import { RunList, server, storage } from "./runs.js";

const list = new RunList(storage());
let rows = null;

window.b4Runs = {
  /** Keeps a run, so that it is found again also where this page is closed before it is done. */
  remember: (token, known) => list.remember(token, known),
  /** Shows the list, where there is one, in the section `place`. */
  show(place) {
    const home = new URL(location.pathname, location.origin);
    rows ??= new RunRows(document, { list, server: server(home), run: null, home, onChange: () => {} });
    place.hidden = list.read().length === 0;
    if (!place.hidden) rows.refresh();
  },
};
