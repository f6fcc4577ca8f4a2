// "See your own pose": the script of the page (chapter 15).
// It requests only the files in its own folder, and sends nothing.

import { CAMERA_ERRORS, CameraError, listCameras } from "./core/camera.js";
import { drawSkeleton } from "./core/skeleton.js";
import { PageError, cameraFrames, clipFrames, imageFrames } from "./frames.js";
import { NO_REPETITIONS, count, exerciseAngle } from "./repetitions.js";

const FPS_FRAMES = 30; // the frame rate is a mean over so many frames
const IMAGE_TRIES = 4; // an image has no next frame for the other search crops

const CANVAS_TEXT = "The frame with the pose drawn on it";
const POSTER = new URL("poster.webp", import.meta.url).href;
const POSTER_TEXT =
  "A person in front of a camera with a raised hand, the skeleton drawn over head, shoulders and arms";
const HTML = `
  <div class="syp-buttons">
    <button type="button" data-do="camera" class="syp-main">Start the camera</button>
    <button type="button" data-do="stop" disabled>Stop</button>
    <button type="button" data-do="clip">Play the clip</button>
    <label class="syp-file">Choose an image<input type="file" accept="image/*"></label>
  </div>
  <p class="syp-status" role="status" aria-live="polite">
    The network is loaded when you press a button. No image ever leaves this page.
  </p>
  <div class="syp-stage">
    <img class="syp-poster" src="${POSTER}" width="640" height="480" alt="${POSTER_TEXT}">
    <canvas width="640" height="480" role="img" aria-label="${CANVAS_TEXT}">${CANVAS_TEXT}</canvas>
    <p class="syp-count" aria-hidden="true" hidden></p>
    <p class="syp-drop">You can also drop an image here.</p>
  </div>
  <p class="syp-credit">Image: frame of a clip by
    <a href="https://github.com/intel-iot-devkit/sample-videos">Intel IoT DevKit</a>, CC BY 4.0,
    with the pose drawn in by this demo.</p>
  <div class="syp-options">
    <label><input type="checkbox" name="mirror" checked> Mirror the camera</label>
    <label>Count <select name="exercise"><option value="">nothing</option></select></label>
    <label hidden>Camera <select name="device"></select></label>
  </div>
  <p class="syp-legend">
    <span class="syp-left">your own left</span> <span class="syp-right">your own right</span>
  </p>
  <p class="syp-numbers"></p>`;

/** The worker, as promises. */
class Network {
  constructor(model, constants, onBytes) {
    this.pending = new Map();
    this.lastId = 0;
    this.isLoaded = false;
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (data.type === "bytes") {
        onBytes(data.bytes);
        return;
      }
      const { resolve, reject } = this.pending.get(data.id);
      this.pending.delete(data.id);
      if (data.error) reject(new PageError(`The network could not be used: ${data.error}`));
      else resolve(data.pose);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      const detail = event.message || "worker.js";
      for (const { reject } of this.pending.values()) {
        reject(new PageError(`The network could not be loaded (${detail}).`));
      }
      this.pending.clear();
    };
    this.ready = this.ask({ type: "load", model, constants });
  }

  ask(message, transfer = []) {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
      this.worker.postMessage({ ...message, id }, transfer);
    });
  }
}

/** Put the demo into an element. `constants`: the content of core/constants.json. */
export function mount(root, constants) {
  root.innerHTML = HTML;
  root.classList.add("syp");
  const $ = (selector) => root.querySelector(selector);
  const canvas = $("canvas");
  const context = canvas.getContext("2d");
  const status = $(".syp-status");
  const numbers = $(".syp-numbers");
  const counter = $(".syp-count");
  const doButtons = [...root.querySelectorAll("[data-do]")];
  const buttons = Object.fromEntries(doButtons.map((button) => [button.dataset.do, button]));
  const mirror = $("[name=mirror]");
  const exerciseChoice = $("[name=exercise]");
  const deviceChoice = $("[name=device]");
  for (const name of Object.keys(constants.exercises)) exerciseChoice.add(new Option(name, name));
  const model = new URL(root.dataset.model || "model.onnx", import.meta.url).href;
  let network = null;
  let run = null; // {source} of the run in progress
  let shown = null; // the frame on the canvas and its pose
  let repetitions = NO_REPETITIONS;
  let pressed = buttons.camera; // the button that gets the focus back after Stop

  function say(text, isError = false) {
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("syp-wrong", isError);
  }

  // ---- the network -----------------------------------------------------------------------------

  async function loadNetwork() {
    if (!network) {
      let total = 0;
      network = new Network(model, constants.tracker, (bytes) => {
        total += bytes;
        const isLoading = network && !network.isLoaded;
        if (isLoading) say(`Loading the network: ${(total / 1e6).toFixed(0)} MB …`);
      });
    }
    const mine = network;
    try {
      await mine.ready;
      mine.isLoaded = true;
    } catch (error) {
      mine.worker.terminate();
      if (network === mine) network = null;
      throw error;
    }
  }

  // ---- what the reader sees --------------------------------------------------------------------

  function draw() {
    if (!shown?.frame) return;
    const { frame, pose, isMirrored } = shown;
    canvas.width = frame.width;
    canvas.height = frame.height;
    if (isMirrored) context.setTransform(-1, 0, 0, 1, frame.width, 0);
    context.drawImage(frame, 0, 0);
    if (!pose.lost) drawSkeleton(context, pose.keypoints, pose.score, constants);
  }

  /** Count on; returns the sentence for a repetition that was just completed, or "". */
  function countExercise(pose) {
    const name = exerciseChoice.value;
    const exercise = constants.exercises[name];
    counter.hidden = !exercise;
    if (!exercise || pose.lost) return "";
    const before = repetitions.done;
    const { keypoints, score } = pose;
    const degrees = exerciseAngle(keypoints, score, exercise, constants.drawThreshold);
    repetitions = count(repetitions, degrees, exercise);
    return repetitions.done > before ? `${name}: ${repetitions.done}` : "";
  }

  function describe(pose, kind) {
    const completed = countExercise(pose);
    counter.textContent = repetitions.done;
    if (completed) say(completed);
    else if (kind === "image") {
      say(
        pose.lost
          ? "No person was found in this image. One person from head to hips works best."
          : "A person was found; the pose is drawn on the image.",
      );
    } else if (shown.lost !== pose.lost) {
      say(
        pose.lost
          ? "Searching for a person. Step back until your head and hips are in the frame."
          : "A person was found: tracking.",
      );
    }
  }

  function describeTimes(kind, milliseconds, fps) {
    const part = (name) => `${milliseconds[name].toFixed(0)}`;
    const start = kind === "image" ? "This image took" : `${fps.toFixed(0)} frames/s; one takes`;
    numbers.textContent =
      `${start} ${part("total")} ms: ${part("read")} reading, ${part("crop")} cropping, ` +
      `${part("model")} network, ${part("draw")} drawing`;
  }

  // A button that is disabled loses the keyboard's focus, so it is passed on.
  // `input`: the button whose input is running, "camera", "clip" or ""; the other can be started.
  function setRunning(isRunning, input = "") {
    const focused = document.activeElement;
    root.classList.toggle("syp-running", isRunning);
    if (isRunning) root.classList.add("syp-started");
    buttons.stop.disabled = !isRunning;
    buttons.camera.disabled = input === "camera";
    buttons.clip.disabled = input === "clip";
    if (!isRunning && focused === buttons.stop) pressed.focus();
    if (focused === buttons[input]) {
      pressed = focused;
      buttons.stop.focus();
    }
  }

  // ---- a run -----------------------------------------------------------------------------------

  function stop(sentence = "", isError = false) {
    if (run) run.source?.stop();
    run = null;
    setRunning(false);
    if (sentence) say(sentence, isError);
  }

  /** The sentence for an error; a camera that fails leaves the image and the clip. */
  function sentenceFor(error) {
    if (error instanceof CameraError) return `${error.message} An image or the clip also works.`;
    if (error instanceof PageError) return error.message;
    return `Something went wrong on this page: ${error.message}`;
  }

  /**
   * Start a run, and end the one in progress.
   *
   * `input`: see `setRunning`. `open` gets {onOpen, onEnded} and returns a source of frames.
   */
  async function start(input, open) {
    stop();
    const mine = { source: null };
    run = mine;
    const onEnded = () => {
      if (run === mine) stop(CAMERA_ERRORS.unplugged, true);
    };
    const onOpen = (release) => {
      if (run === mine) mine.source = { stop: release };
      else release();
    };
    setRunning(true, input);
    try {
      say(network?.isLoaded ? "Starting …" : "Loading the network …");
      mine.source = await open({ onOpen, onEnded });
      if (run !== mine) return mine.source.stop();
      await loadNetwork();
      if (run !== mine) return;
      await network.ask({ type: "reset" });
      repetitions = NO_REPETITIONS;
      shown = { lost: null };
      await follow(mine);
    } catch (error) {
      if (run !== mine) return mine.source?.stop();
      stop(sentenceFor(error), true);
    }
  }

  /** Predict in frame after frame until the run is stopped or has no more frames. */
  async function follow(mine) {
    const { kind } = mine.source;
    const tries = kind === "image" ? IMAGE_TRIES : 1;
    const ends = []; // times at which the last frames were drawn
    for (;;) {
      const next = await mine.source.next();
      if (run !== mine) return;
      if (!next) return stop();
      const frame = next.canvas;
      const { width, height } = frame;
      const begin = performance.now();
      const pixels = frame.getContext("2d").getImageData(0, 0, width, height).data.buffer;
      const read = performance.now();
      const message = { type: "frame", pixels, width, height, seconds: next.seconds, tries };
      const pose = await network.ask(message, [pixels]);
      if (run !== mine) return;
      const predicted = performance.now();
      describe(pose, kind);
      const isMirrored = kind === "camera" && mirror.checked;
      shown = { frame, pose, lost: pose.lost, isMirrored };
      draw();
      const end = performance.now();
      ends.push(end);
      if (ends.length > FPS_FRAMES) ends.shift();
      const fps = ends.length > 1 ? (1000 * (ends.length - 1)) / (end - ends[0]) : 0;
      const spent = { total: end - begin, read: read - begin, draw: end - predicted };
      describeTimes(kind, { ...pose.milliseconds, ...spent }, fps);
      const detail = { pose, frame, number: next.number, fps, kind, repetitions };
      root.dispatchEvent(new CustomEvent("pose", { detail }));
    }
  }

  async function openSelectedCamera(callbacks) {
    const source = await cameraFrames({ deviceId: deviceChoice.value, ...callbacks });
    const cameras = await listCameras();
    const options = cameras.map(
      ({ label, deviceId }) => new Option(label, deviceId, false, deviceId === source.deviceId),
    );
    deviceChoice.replaceChildren(...options);
    deviceChoice.closest("label").hidden = cameras.length < 2;
    return source;
  }

  const startCamera = () => start("camera", openSelectedCamera);
  const startClip = () => start("clip", () => clipFrames(new URL("clip.mjpeg", import.meta.url)));
  const startImage = (file) => file && start("", () => imageFrames(file));

  // ---- controls --------------------------------------------------------------------------------

  buttons.camera.addEventListener("click", startCamera);
  buttons.clip.addEventListener("click", startClip);
  buttons.stop.addEventListener("click", () => stop("Stopped. The camera is off."));
  deviceChoice.addEventListener("change", () => {
    if (run?.source?.kind === "camera") startCamera();
  });
  exerciseChoice.addEventListener("change", () => {
    repetitions = NO_REPETITIONS;
    counter.hidden = !exerciseChoice.value;
    counter.textContent = 0;
  });
  mirror.addEventListener("change", () => {
    if (shown?.frame) shown.isMirrored = run?.source?.kind === "camera" && mirror.checked;
    draw();
  });
  const input = $("input[type=file]");
  input.addEventListener("change", () => {
    startImage(input.files[0]);
    input.value = "";
  });
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    root.addEventListener(type, (event) => {
      event.preventDefault();
      root.classList.toggle("syp-over", type === "dragenter" || type === "dragover");
      if (type === "drop") startImage(event.dataTransfer.files[0]);
    });
  }
  addEventListener("pagehide", () => stop());
}

const element = document.getElementById("see-your-pose");
if (element) {
  const response = await fetch(new URL("core/constants.json", import.meta.url));
  if (response.ok) mount(element, await response.json());
  else element.textContent = `core/constants.json could not be loaded (${response.status}).`;
}
