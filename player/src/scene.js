// The 3D scene around people: lights, a floor with a grid of metres, shadows.
import {
  Color, DirectionalLight, HemisphereLight, Mesh, NoToneMapping, PerspectiveCamera, PlaneGeometry, ShaderMaterial,
  ShadowMaterial, VSMShadowMap, Vector3, WebGLRenderer,
} from "three";
import { UserFacingError } from "./load.js";

const MAX_PIXEL_RATIO = 2; // More is not visible and heats phones.
const LIGHT_PIXEL_RATIO = 0.75; // of a weak machine's picture
const CONTACT_HEIGHT_M = 0.45; // What is lower than this darkens the floor under it.

/** A renderer on `canvas`; `light` makes its work light for weak machines. Throws a UserFacingError where WebGL is missing. */
export function createRenderer(canvas, light) {
  let renderer;
  try {
    renderer = new WebGLRenderer({ canvas, antialias: !light, alpha: true, powerPreference: "high-performance" });
  } catch {
    throw new UserFacingError("This browser cannot draw in 3D: WebGL is missing or switched off. Switch on hardware acceleration, or use another browser.");
  }
  renderer.toneMapping = NoToneMapping; // colours as in the pictures
  renderer.shadowMap.enabled = !light && !drawsInSoftware(renderer);
  renderer.shadowMap.type = VSMShadowMap;
  renderer.shadowMap.autoUpdate = false; // Only when someone moved: turning the picture costs no new shadows.
  renderer.autoClear = false;
  const ratio = Math.min(window.devicePixelRatio || 1, MAX_PIXEL_RATIO);
  renderer.setPixelRatio(light ? Math.min(ratio, 1) * LIGHT_PIXEL_RATIO : ratio);
  return renderer;
}

/** Whether the processor draws, for want of a GPU: soft shadows take it a second a picture. Browsers that do not tell count as having one. */
function drawsInSoftware(renderer) {
  const context = renderer.getContext();
  const told = context.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER;
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(String(context.getParameter(told)));
}

export const createCamera = () => new PerspectiveCamera(30, 1, 0.05, 200);

/** A light at a camera, from the viewer's side, so that no side is dark. */
export function addHeadlight(scene, camera) {
  const headlight = new DirectionalLight(0xffffff, 1.1);
  camera.add(headlight, headlight.target);
  headlight.target.position.set(0, 0, -1);
  scene.add(camera);
  return headlight;
}

/** Adds lights and floor around `box` (metres); the main light comes from the side of `heading`, the front. Returns how to make the floor dark. */
export function addLightsAndFloor(scene, box, heading) {
  const centre = box.getCenter(new Vector3());
  const size = box.getSize(new Vector3());
  const reach = Math.hypot(size.x, size.z) / 2 + 0.6;
  const around = (turn, tilt, distance) => new Vector3().setFromSphericalCoords(distance, (Math.PI / 180) * (90 - tilt), heading + turn).add(centre);
  scene.add(new HemisphereLight(0xffffff, 0xaeb4bd, 1.7));
  const key = new DirectionalLight(0xfffaf2, 1.15);
  key.position.copy(around(0.6, 62, 12));
  castShadows(key, 1024, Math.max(reach, size.y), 0.1, 30, 0.38, 4);
  const rim = new DirectionalLight(0xe8f1ff, 0.9);
  rim.position.copy(around(Math.PI - 0.5, 30, 12));
  // A light so low that only what touches the floor, or nearly, is between them: its shadow marks the contact.
  const contact = new DirectionalLight(0xffffff, 0.12);
  contact.position.set(centre.x, CONTACT_HEIGHT_M, centre.z);
  castShadows(contact, 512, reach, 0, CONTACT_HEIGHT_M + 0.1, 0.75, 5);
  for (const light of [key, rim, contact]) {
    light.target.position.set(centre.x, light === contact ? 0 : centre.y, centre.z);
    scene.add(light, light.target);
  }
  const [grid, shade] = floor(centre, reach);
  scene.add(grid, shade);
  return (dark) => {
    grid.material.uniforms.line.value.setHex(dark ? 0x5d6875 : 0x8c96a2);
    grid.material.uniforms.ground.value.setHex(dark ? 0x2a323c : 0xdee2e7);
    shade.material.color.setHex(dark ? 0x000000 : 0x1b2733);
  };
}

function castShadows(light, pixels, reach, near, far, intensity, radius) {
  light.castShadow = true;
  Object.assign(light.shadow.camera, { left: -reach, right: reach, top: reach, bottom: -reach, near, far });
  light.shadow.mapSize.set(pixels, pixels);
  Object.assign(light.shadow, { intensity, radius, blurSamples: 8, bias: -0.0004, normalBias: 0.02 });
}

function floor(centre, reach) {
  const plane = new PlaneGeometry(120, 120).rotateX(-Math.PI / 2);
  const shade = new Mesh(plane, new ShadowMaterial({ color: 0x1b2733, opacity: 0.55, depthWrite: false }));
  shade.position.set(centre.x, 0, centre.z);
  shade.receiveShadow = true;
  shade.renderOrder = -1;
  const grid = new Mesh(plane, gridMaterial(centre, Math.max(reach * 3, 6)));
  grid.position.copy(shade.position);
  grid.renderOrder = -2;
  return [grid, shade];
}

/** Lines a metre apart, every fifth stronger, as wide as a pixel or two at any distance, fading out towards the haze. */
function gridMaterial(centre, fade) {
  return new ShaderMaterial({
    transparent: true,
    depthWrite: false,
    uniforms: { centre: { value: centre }, fade: { value: fade }, line: { value: new Color(0x8c96a2) }, ground: { value: new Color(0xdee2e7) } },
    vertexShader: "varying vec3 at; void main() { vec4 w = modelMatrix * vec4(position, 1.0); at = w.xyz; gl_Position = projectionMatrix * viewMatrix * w; }",
    fragmentShader: `
      uniform vec3 centre; uniform float fade; uniform vec3 line; uniform vec3 ground; varying vec3 at;
      float lines(vec2 p, float width) {
        vec2 d = fwidth(p);
        vec2 near = abs(fract(p - 0.5) - 0.5) / max(d, 1e-5);
        float wide = max(d.x, d.y);
        return (1.0 - smoothstep(width - 0.5, width + 0.5, min(near.x, near.y))) * (1.0 - smoothstep(0.15, 0.5, wide));
      }
      void main() {
        float far = length(at.xz - centre.xz) / fade;
        float seen = 1.0 - smoothstep(0.25, 1.0, far);
        float strength = max(0.45 * lines(at.xz, 0.8), 0.75 * lines(at.xz / 5.0, 1.0));
        gl_FragColor = vec4(mix(ground, line, strength), seen * (0.75 + 0.25 * strength));
        #include <colorspace_fragment>
      }`,
  });
}
