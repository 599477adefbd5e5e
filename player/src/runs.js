// The results that this browser knows: kept here by their tokens, looked up at the server, renamed and deleted there.

const KEY = "body4d.runs";
const MAX_KEPT = 200;

/** The list in `storage`, newest first; what cannot be read is an empty list. */
export class RunList {
  constructor(storage) {
    this.storage = storage;
  }

  read() {
    try {
      const list = JSON.parse(this.storage.getItem(KEY) ?? "[]");
      return Array.isArray(list) ? list.filter((run) => typeof run?.token === "string") : [];
    } catch {
      return [];
    }
  }

  write(list) {
    try {
      this.storage.setItem(KEY, JSON.stringify(list.slice(0, MAX_KEPT)));
    } catch {
      // A browser that keeps nothing, or is full: the page works without the list.
    }
  }

  /** Puts a run in front, or changes what is known of it. */
  remember(token, known) {
    const list = this.read();
    const before = list.find((run) => run.token === token);
    const run = { added: Date.now(), ...before, ...known, token };
    this.write(before ? list.map((one) => (one === before ? run : one)) : [run, ...list]);
  }

  forget(token) {
    this.write(this.read().filter((run) => run.token !== token));
  }
}

async function asked(url, method, content) {
  const response = await fetch(url, { method, headers: content ? { "content-type": "application/json" } : {}, body: content ? JSON.stringify(content) : undefined });
  if (!response.ok) throw Object.assign(new Error(`the server answered ${response.status}`), { status: response.status });
  return await response.json();
}

/** The server's routes; `base` is the app's address. Each throws where the server refuses or has no such route. */
export const server = (base) => ({
  list: async (tokens) => (await asked(new URL("my-runs", base), "POST", { tokens })).runs,
  rename: (token, name) => asked(new URL(`runs/${token}`, base), "PATCH", { name }),
  remove: (token) => asked(new URL(`runs/${token}`, base), "DELETE"),
});

/** The browser's storage, or one that keeps nothing where the browser refuses. */
export function storage() {
  try {
    return window.localStorage;
  } catch {
    return { getItem: () => null, setItem: () => {} };
  }
}

/** How long something still stays, in words; "" where it is not known. */
export function staysText(expiresS, nowMs) {
  if (typeof expiresS !== "number") return "";
  const hours = (expiresS - nowMs / 1000) / 3600;
  if (hours <= 0) return "about to be deleted";
  if (hours < 1) return "stays for less than an hour";
  return hours < 48 ? `stays for ${Math.floor(hours)} h, longer if opened again` : `stays for ${Math.floor(hours / 24)} days, longer if opened again`;
}
