// Fetching and parsing the GLB, with an error for the user where that fails.
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import { readLens } from "./clip_camera.js";

/** An error whose message is shown to the user: what is wrong and what to do. */
export class UserFacingError extends Error {}

/** The GLB's bytes: from the page's own data block (a single-file page), else from `address`, else from ?glb=, which must be of this server. */
export async function fetchGlb(page, onProgress, address = null) {
  const block = page.getElementById("glb");
  if (block) return fromBase64(block.textContent.trim());
  return await readAll(await fetched(address ?? askedFor(page)), onProgress);
}

function askedFor(page) {
  const address = new URLSearchParams(page.location.search).get("glb");
  if (!address) throw new UserFacingError("No file was named: open this page as ?glb=<address of a GLB on this server>.");
  let url;
  try {
    url = new URL(address, page.location.href);
  } catch {
    throw new UserFacingError("The address after ?glb= is not one: give the address of a GLB on this server.");
  }
  // A page that fetched from anywhere could be made to show a stranger's file as this server's own.
  if (url.origin !== page.location.origin) throw new UserFacingError("The file lies on another server: only files of this server are opened.");
  return url;
}

async function fetched(url) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new UserFacingError("The movement could not be fetched: the server did not answer. Check the connection and load the page again.");
  }
  if (!response.ok) throw new UserFacingError(`The movement could not be fetched: the server answered ${response.status}. The link may be out of date.`);
  return response;
}

/** JSON of this server; what is not there, or is no JSON, is null where `needed` is false, else a UserFacingError. */
export async function fetchJson(url, needed = false) {
  try {
    return await (await fetched(url)).json();
  } catch (error) {
    if (!needed) return null;
    throw error instanceof UserFacingError ? error : new UserFacingError("The result could not be read. Load the page again.");
  }
}

/** What movement.json holds, from the page's own data block; null where there is none. */
export function movementBlock(page) {
  const block = page.getElementById("movement");
  try {
    return block ? JSON.parse(block.textContent) : null;
  } catch {
    return null;
  }
}

async function readAll(response, onProgress) {
  const total = Number(response.headers.get("content-length"));
  const parts = [];
  let size = 0;
  const reader = response.body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      size += part.value.length;
      if (total) onProgress(Math.min(size / total, 1));
    }
  } catch {
    throw new UserFacingError("The movement came only in part: the connection was cut. Load the page again.");
  }
  return await new Blob(parts).arrayBuffer();
}

function fromBase64(text) {
  let letters;
  try {
    letters = atob(text);
  } catch {
    throw new UserFacingError("The movement inside this page is damaged: export the run to html anew.");
  }
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0)).buffer;
}

/** The parsed file. Bytes that are no GLB, or hold nobody, are a UserFacingError. */
export async function parseGlb(bytes) {
  const broken = new UserFacingError("This file is no GLB that can be opened: it is damaged or of another kind. Export the run to glb anew.");
  if (bytes.byteLength < 20 || new DataView(bytes).getUint32(0, true) !== 0x46546c67) throw broken;
  let gltf;
  try {
    gltf = await new GLTFLoader().parseAsync(bytes, "");
  } catch (error) {
    console.warn(error);
    throw broken;
  }
  gltf.lens = await readLens(gltf);
  let skins = 0;
  gltf.scene.traverse((node) => (skins += node.isSkinnedMesh ? 1 : 0));
  if (!skins) throw new UserFacingError("There is nobody in this file: no body with a skeleton was found. Export the run to glb anew.");
  return gltf;
}
