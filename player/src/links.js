// Addresses: of a run, of a moment and a view in it, and what somebody pasted.

const TOKEN = /^[A-Za-z0-9_-]{32}$/;

export const VIEWS = ["free", "camera", "front", "side", "top"];
const VIEW_NAMES = { "face-on": "front", "down-the-line": "side" };

/** The view that an address means, null for none: golfers' names count too. */
export function viewOf(name) {
  const view = VIEW_NAMES[name] ?? name;
  return VIEWS.includes(view) ? view : null;
}

/** What an address asks for: {run, frame, view}, each null where it does not. */
export function readMoment(search) {
  const query = new URLSearchParams(search);
  const frame = query.get("frame");
  const run = query.get("run");
  return { run: TOKEN.test(run ?? "") ? run : null, frame: /^\d{1,7}$/.test(frame ?? "") ? Number(frame) : null, view: viewOf(query.get("view")) };
}

/** The address of a moment on `page`, the app's own address. */
export function momentLink(page, { run, frame = null, view = null }) {
  const url = new URL(page);
  url.search = "";
  url.hash = "";
  if (run) url.searchParams.set("run", run);
  if (frame !== null) url.searchParams.set("frame", frame);
  if (view && view !== "free") url.searchParams.set("view", view);
  return url.href;
}

/** The token in a link or text that somebody pasted, null where it is of another server or none. */
export function pastedToken(text, origin) {
  const trimmed = text.trim();
  if (TOKEN.test(trimmed)) return trimmed;
  try {
    const url = new URL(trimmed);
    return url.origin === origin ? readMoment(url.search).run : null;
  } catch {
    return null;
  }
}
