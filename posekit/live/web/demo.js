// "See your own pose": the page's script. It asks for nothing but the files beside it, and sends nothing anywhere (chapter 12).

import { EXERCISES, NONE_YET, count, measure } from "./repetitions.js";
import { Trouble, camera, clip, picture } from "./sources.js";

const LEFT = "#E69F00", RIGHT = "#0072B2", MIDDLE = "#6B6B6B"; // as posekit.viz
const LIMBS = [[0, 1], [0, 2], [1, 3], [2, 4], [5, 6], [5, 7], [7, 9], [6, 8], [8, 10], [5, 11], [6, 12], [11, 12], [11, 13], [13, 15], [12, 14], [14, 16]];
const SEEN = 0.3; // score from which a joint is drawn
const sideOf = (joint) => (joint === 0 ? MIDDLE : joint % 2 ? LEFT : RIGHT);

const HTML = `
  <div class="syp-buttons">
    <button type="button" data-do="camera" class="syp-main">Start the camera</button>
    <button type="button" data-do="stop" disabled>Stop</button>
    <button type="button" data-do="clip">Play the made clip</button>
    <label class="syp-file">Choose a picture<input type="file" accept="image/*"></label>
  </div>
  <p class="syp-status" role="status" aria-live="polite">Nothing is loaded before you press a button. No picture ever leaves this page.</p>
  <div class="syp-stage">
    <canvas width="640" height="480" role="img" aria-label="The picture with the pose drawn on it">The picture with the pose drawn on it</canvas>
    <p class="syp-count" aria-hidden="true" hidden></p>
    <p class="syp-drop">A picture can be dropped here, too.</p>
  </div>
  <div class="syp-options">
    <label><input type="checkbox" name="mirror" checked> Mirror the camera's picture</label>
    <label>Count <select name="exercise"><option value="">nothing</option></select></label>
    <label hidden>Camera <select name="device"></select></label>
  </div>
  <p class="syp-legend"><span class="syp-left">your own left</span> <span class="syp-right">your own right</span></p>
  <p class="syp-numbers"></p>`;

/** The worker, asked one question at a time. */
class Network {
  constructor(model, progress) {
    this.waiting = new Map();
    this.last = 0;
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if (data.type === "bytes") return progress(data.bytes);
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) reject(new Trouble(`The network could not be used: ${data.error}`));
      else resolve(data.pose);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      for (const { reject } of this.waiting.values()) reject(new Trouble(`The network could not be loaded (${event.message || "worker.js"}).`));
      this.waiting.clear();
    };
    this.ready = this.ask({ type: "load", model });
  }

  ask(message, transfer = []) {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...message, id }, transfer);
    });
  }
}

/** Put the demo into an element. */
export function mount(root) {
  root.innerHTML = HTML;
  root.classList.add("syp");
  const $ = (selector) => root.querySelector(selector);
  const canvas = $("canvas"), context = canvas.getContext("2d"), status = $(".syp-status"), numbers = $(".syp-numbers"), counter = $(".syp-count");
  const buttons = Object.fromEntries([...root.querySelectorAll("[data-do]")].map((b) => [b.dataset.do, b]));
  const options = { mirror: $("[name=mirror]"), exercise: $("[name=exercise]"), device: $("[name=device]") };
  for (const name of Object.keys(EXERCISES)) options.exercise.add(new Option(name, name));
  const model = new URL(root.dataset.model || "model.onnx", import.meta.url).href;
  let network = null, run = null, shown = null, counted = NONE_YET, pressed = buttons.camera;

  const say = (text, wrong = false) => {
    if (status.textContent !== text) status.textContent = text;
    status.classList.toggle("syp-wrong", wrong);
  };

  async function ready() {
    if (!network) {
      let bytes = 0;
      network = new Network(model, (more) => {
        bytes += more;
        const text = `Loading the network: ${(bytes / 1e6).toFixed(0)} MB …`;
        if (network && !network.loaded) say(text);
      });
    }
    const mine = network;
    try {
      await mine.ready;
      mine.loaded = true;
    } catch (error) {
      mine.worker.terminate();
      if (network === mine) network = null;
      throw error;
    }
  }

  function draw() {
    if (!shown?.frame) return;
    const { frame, pose, mirrored } = shown;
    canvas.width = frame.width;
    canvas.height = frame.height;
    context.setTransform(mirrored ? -1 : 1, 0, 0, 1, mirrored ? frame.width : 0, 0);
    context.drawImage(frame, 0, 0);
    if (pose.lost) return;
    const at = (j) => [pose.keypoints[2 * j] + 0.5, pose.keypoints[2 * j + 1] + 0.5], seen = (j) => pose.score[j] >= SEEN;
    const unit = Math.max(1, Math.min(frame.width, frame.height) / 220);
    context.lineCap = "round";
    for (const [width, plain] of [[3.6, "#fff"], [2, null]]) {
      for (const [a, b] of LIMBS.filter(([a, b]) => seen(a) && seen(b))) {
        context.beginPath();
        context.moveTo(...at(a));
        context.lineTo(...at(b));
        context.lineWidth = width * unit;
        context.strokeStyle = plain ?? (sideOf(a) === sideOf(b) || a === 0 ? sideOf(b) : MIDDLE);
        context.stroke();
      }
    }
    for (let j = 0; j < 17; j++) {
      for (const [radius, colour] of seen(j) ? [[3.2, "#fff"], [2.2, sideOf(j)]] : []) {
        context.beginPath();
        context.arc(...at(j), radius * unit, 0, 2 * Math.PI);
        context.fillStyle = colour;
        context.fill();
      }
    }
  }

  function exercise(pose) {
    const chosen = EXERCISES[options.exercise.value];
    counter.hidden = !chosen;
    if (!chosen) return "";
    if (!pose.lost) {
      const before = counted.done;
      counted = count(counted, measure(pose.keypoints, pose.score, chosen, SEEN), chosen);
      if (counted.done > before) return `${counted.done} ${options.exercise.value}.`;
    }
    return "";
  }

  function tell(pose, kind) {
    const done = exercise(pose);
    counter.textContent = counted.done;
    if (done) return say(done);
    if (shown.lost === pose.lost && kind !== "picture") return;
    if (!pose.lost) say(kind === "picture" ? "Somebody was found; the pose is drawn on the picture." : "Somebody is there: following.");
    else if (kind === "picture") say("Nobody was found in this picture. One person, whole or from head to hips, works best.");
    else say("Looking for somebody. Step back until your head and hips are in the picture.");
  }

  function running(on) { // a button that goes grey loses the keyboard's place: it hands it on
    const held = document.activeElement;
    root.classList.toggle("syp-running", on);
    buttons.stop.disabled = !on;
    buttons.camera.disabled = buttons.clip.disabled = on;
    if (!on && held === buttons.stop) pressed.focus();
    if (!on || (held !== buttons.camera && held !== buttons.clip)) return;
    pressed = held;
    buttons.stop.focus();
  }

  function stop(words) {
    if (run) run.source?.stop();
    run = null;
    running(false);
    if (words) say(words);
  }

  async function start(open) {
    stop();
    const mine = (run = { source: null });
    const gone = () => run === mine && stop("The camera was unplugged or switched off. Plug it in and press the button again.");
    const hold = (release) => (run === mine ? (mine.source = { stop: release }) : release());
    running(true);
    try {
      say(network?.loaded ? "Starting …" : "Loading the network …");
      mine.source = await open(gone, hold);
      if (run !== mine) return mine.source.stop();
      await ready();
      if (run !== mine) return;
      await network.ask({ type: "reset" });
      counted = NONE_YET;
      shown = { lost: null };
      await follow(mine);
    } catch (error) {
      if (run !== mine) return mine.source?.stop();
      stop();
      say(error instanceof Trouble ? error.message : `Something went wrong here: ${error.message}`, true);
    }
  }

  async function follow(mine) {
    const times = [], kind = mine.source.kind;
    for (;;) {
      const got = await mine.source.next();
      if (run !== mine) return;
      if (!got) return stop();
      const t0 = performance.now(), { width, height } = got.canvas;
      const pixels = got.canvas.getContext("2d").getImageData(0, 0, width, height).data.buffer;
      const t1 = performance.now();
      const tries = kind === "picture" ? 4 : 1; // there is no next frame in which to look elsewhere
      const pose = await network.ask({ type: "frame", pixels, width, height, seconds: got.seconds, tries }, [pixels]);
      if (run !== mine) return;
      const t2 = performance.now();
      tell(pose, kind);
      shown = { frame: got.canvas, pose, lost: pose.lost, mirrored: kind === "camera" && options.mirror.checked };
      draw();
      const t3 = performance.now();
      times.push(t3);
      while (times.length > 30) times.shift();
      const fps = times.length > 1 ? (1000 * (times.length - 1)) / (t3 - times[0]) : 0;
      const { crop, model } = pose.milliseconds;
      numbers.textContent =
        (kind === "picture" ? "This picture took" : `${fps.toFixed(0)} frames a second; one takes`) +
        ` ${(t3 - t0).toFixed(0)} ms: ${(t1 - t0).toFixed(0)} reading, ${crop.toFixed(0)} cutting, ` +
        `${model.toFixed(0)} network, ${(t3 - t2).toFixed(0)} drawing`;
      root.dispatchEvent(new CustomEvent("pose", { detail: { pose, frame: got.canvas, number: got.number, fps, kind, counted } }));
    }
  }

  const startCamera = () =>
    start(async (gone, hold) => {
      const source = await camera(options.device.value, gone, hold);
      const devices = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "videoinput");
      options.device.replaceChildren(...devices.map((d, i) => new Option(d.label || `camera ${i + 1}`, d.deviceId, false, d.deviceId === source.deviceId)));
      options.device.closest("label").hidden = devices.length < 2;
      return source;
    });
  const startPicture = (file) => file && start(() => picture(file));

  buttons.camera.addEventListener("click", startCamera);
  buttons.clip.addEventListener("click", () => start(() => clip(new URL("clip.mjpeg", import.meta.url))));
  buttons.stop.addEventListener("click", () => stop("Stopped. The camera is off."));
  options.device.addEventListener("change", () => run?.source?.kind === "camera" && startCamera());
  options.exercise.addEventListener("change", () => {
    counted = NONE_YET;
    counter.hidden = !options.exercise.value;
    counter.textContent = 0;
  });
  options.mirror.addEventListener("change", () => {
    if (shown?.frame) shown.mirrored = run?.source?.kind === "camera" && options.mirror.checked;
    draw();
  });
  const input = $("input[type=file]");
  input.addEventListener("change", () => {
    startPicture(input.files[0]);
    input.value = "";
  });
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    root.addEventListener(type, (event) => {
      event.preventDefault();
      root.classList.toggle("syp-over", type === "dragenter" || type === "dragover");
      if (type === "drop") startPicture(event.dataTransfer.files[0]);
    });
  }
  addEventListener("pagehide", () => stop());
}

const root = document.getElementById("see-your-pose");
if (root) mount(root);
