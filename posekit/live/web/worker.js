// The network and the tracker, beside the page's own thread, so that the page stays alive while they work (chapter 12).

import { InferenceSession, Tensor, env } from "./ort/ort.wasm.bundle.min.mjs";
import { NOBODY, SETTINGS, nextCrop, update } from "./tracker.js";
import { cut } from "./warp.js";

const SIZE = 224;
let session = null, state = NOBODY;

/** A file's bytes, telling the page how many there are so far. */
async function read(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${new URL(url).pathname}: ${response.status}`);
  const parts = [], reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    postMessage({ type: "bytes", bytes: value.length });
  }
  return new Blob(parts);
}

/** The bytes of what a .gz file holds; a server that unpacks it on the way is fine, too. */
async function unpacked(blob) {
  const start = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  const packed = start[0] === 0x1f && start[1] === 0x8b;
  return new Response(packed ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob).arrayBuffer();
}

async function load(model) {
  env.wasm.numThreads = 1; // more need headers that a plain server does not send
  const [wasm, graph] = await Promise.all([read(new URL("ort/ort-wasm-simd-threaded.wasm.gz", import.meta.url).href), read(model)]);
  env.wasm.wasmBinary = await unpacked(wasm);
  session = await InferenceSession.create(await graph.arrayBuffer(), { executionProviders: ["wasm"] });
}

async function look(image, seconds, spent) {
  const { width, height } = image, crop = nextCrop(state, seconds, width, height);
  const t0 = performance.now();
  const input = new Tensor("float32", cut(image, crop, SIZE), [1, SIZE, SIZE, 3]);
  const t1 = performance.now();
  const out = await session.run({ image: input });
  const t2 = performance.now();
  spent.crop += t1 - t0;
  spent.model += t2 - t1;
  const left = crop.center[0] - crop.side / 2, top = crop.center[1] - crop.side / 2;
  const keypoints = Array.from(out.keypoints.data, (u, i) => (i % 2 ? top : left) + (u + 0.5) * crop.side);
  const score = Array.from(out.score.data), presence = out.presence.data[0];
  for (const tensor of [input, ...Object.values(out)]) tensor.dispose();
  state = update(state, keypoints, score, presence, seconds, width, height, SETTINGS);
  return { keypoints: state.mode === "kept" ? state.smoothed.value : null, raw: keypoints, score, presence, crop, lost: state.mode !== "kept" };
}

/** As `posekit.live.Tracker.step`, as often as `tries` while nobody is found: once around the last pose; or in a square to search and then,
 *  where somebody is, from close. */
async function step({ pixels, width, height, seconds, tries }) {
  const image = { data: new Uint8ClampedArray(pixels), width, height }, spent = { crop: 0, model: 0 };
  let pose;
  for (let i = 0; i < tries && pose?.lost !== false; i += 1) {
    pose = await look(image, seconds, spent);
    if (state.mode === "found") pose = await look(image, seconds, spent);
  }
  return { ...pose, milliseconds: spent };
}

async function answer(data) {
  try {
    if (data.type === "load") await load(data.model);
    if (data.type === "reset") state = NOBODY;
    const pose = data.type === "frame" ? await step(data) : null;
    postMessage({ type: "answer", id: data.id, pose });
  } catch (error) {
    postMessage({ type: "answer", id: data.id, error: String(error.message ?? error) });
  }
}

let last = Promise.resolve(); // one after the other: a frame of a run that was stopped may still be at work
onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};
