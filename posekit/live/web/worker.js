// Runs the network and the tracker in a worker, so that the page stays responsive (chapter 15).
// Messages to it: {type: "load", model, constants}, {type: "reset"}, {type: "frame", …}; each has
// an `id`, and is answered by {type: "answer", id, pose} or {type: "answer", id, error}.

import { InferenceSession, Tensor, env } from "./ort/ort.wasm.bundle.min.mjs";
import { INITIAL_STATE, nextCrop, update } from "./tracker.js";
import { cropSquare } from "./warp.js";

const INPUT_SIZE = 224;
let session = null;
let constants = null;
let state = INITIAL_STATE;
let frameSize = ""; // the state is in pixels: another size begins a new search

/** Fetch a file and report the number of bytes as they arrive. */
async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${new URL(url).pathname}: ${response.status}`);
  const parts = [];
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    postMessage({ type: "bytes", bytes: value.length });
  }
  return new Blob(parts);
}

/** The content of a .gz file, also if the server has unpacked it already. */
async function unzip(blob) {
  const start = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  const isZipped = start[0] === 0x1f && start[1] === 0x8b;
  if (!isZipped) return blob.arrayBuffer();
  return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function load(data) {
  constants = data.constants;
  env.wasm.numThreads = 1; // more need headers that a plain server does not send
  const wasm = new URL("ort/ort-wasm-simd-threaded.wasm.gz", import.meta.url).href;
  const [binary, graph] = await Promise.all([fetchFile(wasm), fetchFile(data.model)]);
  env.wasm.wasmBinary = await unzip(binary);
  const options = { executionProviders: ["wasm"] };
  session = await InferenceSession.create(await graph.arrayBuffer(), options);
}

/** Predict once, in the tracker's next crop, and update the state; adds times to `spent`. */
async function predict(image, seconds, spent) {
  const { width, height } = image;
  const start = performance.now();
  const crop = nextCrop(state, seconds, width, height, constants);
  const pixels = cropSquare(image, crop, INPUT_SIZE);
  const input = new Tensor("float32", pixels, [1, INPUT_SIZE, INPUT_SIZE, 3]);
  const cropped = performance.now();
  const out = await session.run({ image: input });
  spent.crop += cropped - start;
  spent.model += performance.now() - cropped;
  const corner = crop.center.map((c) => c - crop.side / 2);
  const raw = Array.from(out.keypoints.data, (u, i) => corner[i % 2] + (u + 0.5) * crop.side);
  const score = Array.from(out.score.data);
  const presence = out.presence.data[0];
  for (const tensor of [input, ...Object.values(out)]) tensor.dispose();
  state = update(state, raw, score, presence, seconds, width, height, constants);
  const lost = state.mode !== "tracking";
  return { keypoints: lost ? null : state.smoothed.value, raw, score, presence, crop, lost };
}

/** As `posekit.live.Tracker.step`, at most `tries` times while no person is found. */
async function step({ pixels, width, height, seconds, tries }) {
  const image = { data: new Uint8ClampedArray(pixels), width, height };
  if (frameSize !== `${width}x${height}`) {
    state = INITIAL_STATE;
    frameSize = `${width}x${height}`;
  }
  const spent = { crop: 0, model: 0 };
  let pose = null;
  for (let i = 0; i < tries && (!pose || pose.lost); i += 1) {
    pose = await predict(image, seconds, spent);
    if (state.mode === "confirming") pose = await predict(image, seconds, spent);
  }
  return { ...pose, milliseconds: spent };
}

async function answer(data) {
  try {
    if (data.type === "load") await load(data);
    if (data.type === "reset") state = INITIAL_STATE;
    const pose = data.type === "frame" ? await step(data) : null;
    postMessage({ type: "answer", id: data.id, pose });
  } catch (error) {
    postMessage({ type: "answer", id: data.id, error: String(error.message ?? error) });
  }
}

let last = Promise.resolve(); // one by one: a frame of a stopped run may still be in progress
onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};
