// Where the GLB comes from, and sentences for when it does not come.
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";

/** Something a visitor is told in one sentence: what was wrong and what to do. */
export class Sentence extends Error {}

/** The GLB's bytes: from the page's own data block (a single-file page), else from ?glb=, which must be of this server. */
export async function fetchGlb(page, onShare) {
  const block = page.getElementById("glb");
  if (block) return fromBase64(block.textContent.trim());
  const asked = new URLSearchParams(page.location.search).get("glb");
  if (!asked) throw new Sentence("No file was named: open this page as ?glb=<address of a GLB on this server>.");
  let url;
  try {
    url = new URL(asked, page.location.href);
  } catch {
    throw new Sentence("The address after ?glb= is not one: give the address of a GLB on this server.");
  }
  // A page that fetched from anywhere could be made to show a stranger's file under this server's name.
  if (url.origin !== page.location.origin) throw new Sentence("The file lies on another server: only files of this server are opened.");
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw new Sentence("The movement could not be fetched: the server did not answer. Check the connection and load the page again.");
  }
  if (!answer.ok) throw new Sentence(`The movement could not be fetched: the server answered ${answer.status}. The link may be out of date.`);
  return await readAll(answer, onShare);
}

async function readAll(answer, onShare) {
  const total = Number(answer.headers.get("content-length"));
  const parts = [];
  let size = 0;
  const reader = answer.body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      size += part.value.length;
      if (total) onShare(Math.min(size / total, 1));
    }
  } catch {
    throw new Sentence("The movement came only in part: the connection was cut. Load the page again.");
  }
  return await new Blob(parts).arrayBuffer();
}

function fromBase64(text) {
  let letters;
  try {
    letters = atob(text);
  } catch {
    throw new Sentence("The movement inside this page is damaged: export the run to html anew.");
  }
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0)).buffer;
}

/** The parsed file. Bytes that are no GLB, or hold nobody, are a Sentence. */
export async function parseGlb(bytes) {
  const broken = new Sentence("This file is no GLB that can be opened: it is damaged or of another kind. Export the run to glb anew.");
  if (bytes.byteLength < 20 || new DataView(bytes).getUint32(0, true) !== 0x46546c67) throw broken;
  let gltf;
  try {
    gltf = await new GLTFLoader().parseAsync(bytes, "");
  } catch (error) {
    console.warn(error);
    throw broken;
  }
  let skins = 0;
  gltf.scene.traverse((node) => (skins += node.isSkinnedMesh ? 1 : 0));
  if (!skins) throw new Sentence("There is nobody in this file: no body with a skeleton was found. Export the run to glb anew.");
  return gltf;
}
