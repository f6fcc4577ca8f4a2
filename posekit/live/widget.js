// The camera widget of JupyterLab: camera -> JPEG -> kernel -> pose, drawn on the frame that was
// scored. Its only requests are messages to the kernel; posekit/live/widget.py lists them, and
// puts the files imported here into one module with this one.

import { CameraError, listCameras, openCamera } from "./web/core/camera.js";
import constants from "./web/core/constants.json" with { type: "json" };
import { drawSkeleton } from "./web/core/skeleton.js";

const BUSY_MS = 3000; // without an answer after which the reader is told that the kernel is busy
const LOADING_FACTOR = 10; // the kernel may take so much longer while it loads a model
const LOST_MS = 1000; // without a person after which the reader is told
const KERNEL_ERRORS = {
  vscode:
    "VS Code gives its notebooks no camera. Open this notebook in JupyterLab, in a browser " +
    "(make lab).",
  kernel: "The kernel was restarted or is gone, and the model with it. Run this cell again.",
  busy:
    "The kernel has not answered for {seconds} seconds: it is busy with another cell, or gone. " +
    "Press Start when it is free.",
  score: "The kernel could not process a frame: {text}.",
};

function isVsCode() {
  const isWebview = location.protocol === "vscode-webview:";
  return isWebview || "vscodeThemeKind" in (document.body?.dataset ?? {});
}

function makeElement(tag, attributes, parent) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent?.append(element);
  return element;
}

function download(blob, name) {
  const link = makeElement("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Set a canvas' size if it differs (which clears it), and return its context. */
function resized(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return canvas.getContext("2d");
}

export default () => {
  let model; // the widget's model: the traits of `CameraWidget`
  let video = null;
  let closeCamera = null;
  let recorder = null;
  let watchdog = 0;
  let lastId = 0; // of the frames sent
  let lastSeen = 0; // when a person was last tracked
  let session = ""; // of one run of the camera; messages of other sessions are ignored
  let isReady = false; // the kernel has loaded the model
  let isFresh = false; // the video shows a frame that was not sent
  let state = "off";
  let sentence = "";
  let figures = "";
  const views = new Set();
  const pending = new Map(); // frames that were sent, by id; and "start"
  const spare = []; // canvases of earlier frames, used again
  const times = []; // milliseconds of the frames of the last second

  // ---- what the reader sees --------------------------------------------------------------------

  function say(newState, newSentence) {
    if (state === newState && sentence === newSentence) return;
    state = newState;
    sentence = newSentence;
    views.forEach(show);
  }

  function show(view) {
    view.root.dataset.state = state;
    view.sentence.textContent = sentence;
    view.figures.textContent = figures;
  }

  function sayOff() {
    say(
      "off",
      "The camera is off. Press Start: the frames go from this browser to your kernel, and " +
        "nowhere else.",
    );
  }

  /** Switch the camera off and say why. */
  function fail(reason, text) {
    stop();
    say(`failed ${reason}`, `${text} The camera is off.`);
  }

  function failKernel(reason, values = {}) {
    fail(reason, KERNEL_ERRORS[reason].replace(/{(\w+)}/g, (_, name) => values[name] ?? ""));
  }

  // ---- the camera ------------------------------------------------------------------------------

  async function start() {
    release();
    const mine = crypto.getRandomValues(new Uint32Array(2)).join("-");
    session = mine;
    setLabel("Stop");
    // Let the click that led here end first: `running` cannot be changed within it.
    await new Promise((resolve) => setTimeout(resolve));
    if (mine !== session) return;
    if (isVsCode()) return failKernel("vscode");
    say("asking", "Asking the browser for the camera …");
    try {
      const camera = await openCamera({
        deviceId: model.get("camera"),
        onOpen: (close) => {
          if (mine === session) closeCamera = close;
          else close();
        },
        onEnded: () => {
          if (mine !== session) return;
          const error = new CameraError("unplugged");
          fail(error.reason, error.message);
        },
      });
      if (mine !== session) return;
      video = camera.video;
      const cameras = await listCameras();
      if (mine !== session) return;
      set({ cameras: cameras.map(({ label, deviceId }) => [label, deviceId]) });
    } catch (error) {
      const { reason, message } = CameraError.from(error);
      if (mine === session) fail(reason, message);
      return;
    }
    say("loading", "The camera is on. Waiting for the kernel …");
    pending.set("start", { sent: performance.now() });
    watchdog = setInterval(checkKernel, 500);
    send({ kind: "start" });
  }

  function release() {
    session = "";
    isReady = false;
    clearInterval(watchdog);
    if (recorder) recorder.stop();
    closeCamera?.();
    closeCamera = null;
    video = null;
    spare.push(...[...pending.values()].filter((slot) => slot.shown));
    pending.clear();
    times.length = 0;
    figures = "";
  }

  function stop() {
    const stopped = session;
    release();
    set({ running: false, recording: false });
    setLabel("Start");
    if (stopped) trySend({ kind: "stop", session: stopped });
    sayOff();
    views.forEach(show);
  }

  // ---- to the kernel ---------------------------------------------------------------------------

  function set(traits) {
    for (const [name, value] of Object.entries(traits)) model.set(name, value);
    try {
      model.save_changes();
    } catch {
      // there is no kernel
    }
  }

  // Later: within its own click a button does not show a new label.
  const setLabel = (action) => setTimeout(() => set({ action }));

  function trySend(content, buffers) {
    try {
      model.send(content, undefined, buffers);
      return true;
    } catch {
      return false;
    }
  }

  function send(content, buffers) {
    if (!trySend({ session, ...content }, buffers)) failKernel("kernel");
  }

  /** Twice a second: does the kernel still answer? */
  function checkKernel() {
    const oldest = Math.min(...[...pending.values()].map((slot) => slot.sent));
    const elapsed = performance.now() - oldest;
    const factor = pending.get("start")?.isLoading ? LOADING_FACTOR : 1;
    if (elapsed > 1000 * model.get("kernel_timeout_s") * factor) {
      failKernel("busy", { seconds: Math.round(elapsed / 1000) });
    } else if (elapsed > BUSY_MS && isReady) {
      say("busy", "The kernel is busy with another cell. The camera waits for it.");
    }
  }

  /** Once for each frame of the camera. */
  function onVideoFrame(mine) {
    if (mine !== session) return;
    video.requestVideoFrameCallback(() => onVideoFrame(mine));
    isFresh = true;
    sendFrame();
  }

  /** Send the newest frame, unless it was sent or enough are on their way: then it is skipped. */
  function sendFrame() {
    if (!isReady || !isFresh || pending.size >= model.get("max_in_flight")) return;
    isFresh = false;
    lastId += 1;
    const slot = spare.pop() ?? {
      shown: makeElement("canvas", {}),
      small: makeElement("canvas", {}),
    };
    const { videoWidth, videoHeight } = video;
    const scale = Math.min(1, model.get("side") / Math.max(videoWidth, videoHeight));
    const width = Math.round(videoWidth * scale);
    const height = Math.round(videoHeight * scale);
    resized(slot.shown, videoWidth, videoHeight).drawImage(video, 0, 0, videoWidth, videoHeight);
    resized(slot.small, width, height).drawImage(slot.shown, 0, 0, width, height);
    slot.sent = performance.now();
    pending.set(lastId, slot);
    // Not toBlob: it waits until the page is idle, much longer than encoding takes.
    const base64 = slot.small.toDataURL("image/jpeg", 0.9).split(",")[1];
    const jpeg = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    slot.encode = performance.now() - slot.sent;
    const frame = { kind: "frame", id: lastId, seconds: slot.sent / 1000 };
    send(frame, [new DataView(jpeg.buffer)]);
  }

  // ---- from the kernel -------------------------------------------------------------------------

  function receive(content) {
    if (content.kind === "snapshot") return snapshot();
    if (!session || content.session !== session) return;
    if (content.kind === "loading") {
      // at the start, and when another model is chosen
      pending.set("start", { sent: performance.now(), isLoading: true });
      say("loading", "The camera is on. The kernel loads the model …");
    } else if (content.kind === "error") {
      failKernel("score", content);
    } else if (content.kind === "ready") {
      pending.delete("start");
      lastSeen = performance.now();
      if (isReady) return sendFrame();
      isReady = true;
      onVideoFrame(session);
    } else if (pending.has(content.id)) {
      const slot = pending.get(content.id);
      pending.delete(content.id);
      spare.push(slot);
      if (content.kind === "pose") showPose(content, slot);
      sendFrame();
    }
  }

  function drawPose(view, pose, { shown, small }) {
    const context = resized(view.canvas, shown.width, shown.height);
    context.save();
    if (model.get("mirror")) {
      // only the finished drawing is mirrored: left and right stay the person's own
      context.translate(shown.width, 0);
      context.scale(-1, 1);
    }
    context.drawImage(shown, 0, 0);
    if (pose.keypoints) {
      const options = { threshold: model.get("threshold"), scale: shown.width / small.width };
      drawSkeleton(context, pose.keypoints.flat(), pose.score, constants, options);
    }
    context.restore();
    view.canvas.dataset.frame = pose.id;
  }

  function showPose(pose, slot) {
    const begin = performance.now();
    views.forEach((view) => drawPose(view, pose, slot));
    const now = performance.now();
    const { kernel } = pose.milliseconds;
    const wire = begin - slot.sent - slot.encode - kernel;
    times.push({ at: now, encode: slot.encode, wire, model: kernel, draw: now - begin });
    while (times[0].at < now - 1000) times.shift();
    if (!pose.lost) lastSeen = now;
    say(
      "on",
      now - lastSeen > LOST_MS
        ? "The camera is on. No person was found: searching the whole frame and parts of it."
        : "The camera is on. Orange is your own left, blue your own right.",
    );
    if (pose.id % 10 === 0) showTimes();
  }

  function showTimes() {
    const mean = (part) => times.reduce((sum, row) => sum + row[part], 0) / times.length;
    const parts = ["encode", "wire", "model", "draw"];
    const text = parts.map((part) => `${part} ${mean(part).toFixed(0)}`).join(" + ");
    figures = `${times.length} frames per second · ${text} ms`;
    views.forEach(show);
  }

  // ---- snapshots and recordings ----------------------------------------------------------------

  const firstCanvas = () => [...views][0]?.canvas;
  const timestamp = () => new Date().toISOString().slice(0, 19).replace(/\D/g, "-");

  function snapshot() {
    if (!isReady) return;
    firstCanvas()?.toBlob((blob) => download(blob, `pose-${timestamp()}.png`));
  }

  function record() {
    if (!model.get("recording")) return recorder?.stop();
    if (recorder) return;
    if (!isReady || !window.MediaRecorder) return set({ recording: false });
    const parts = [];
    const mine = new MediaRecorder(firstCanvas().captureStream(30));
    recorder = mine;
    mine.ondataavailable = (event) => parts.push(event.data);
    mine.onstop = () => {
      mine.stream.getTracks().forEach((track) => track.stop());
      const extension = mine.mimeType.includes("mp4") ? "mp4" : "webm";
      const blob = new Blob(parts, { type: mine.mimeType });
      download(blob, `pose-${timestamp()}.${extension}`);
      if (recorder === mine) recorder = null;
    };
    mine.start();
  }

  return {
    initialize(given) {
      model = given.model;
      sayOff();
      // After a reload of the page, Start has not been pressed on it.
      if (model.get("running")) set({ running: false, action: "Start" });
      model.on("change:running", () => {
        if (!model.get("running")) stop();
        // Only on this page: a second window with the same widget must not open its camera.
        else if (views.size && navigator.userActivation?.isActive !== false) start();
      });
      model.on("change:camera", () => session && start());
      model.on("change:recording", record);
      model.on("comm_live_update", () => session && failKernel("kernel"));
      model.on("msg:custom", receive);
      const leave = () => session && stop();
      window.addEventListener("pagehide", leave);
      return () => {
        window.removeEventListener("pagehide", leave);
        release();
      };
    },
    render({ el }) {
      const root = makeElement("div", { class: "posekit-webcam" }, el);
      const label = "The frame of your camera with the skeleton drawn on it";
      const canvas = { width: 640, height: 480, role: "img", "aria-label": label };
      const view = {
        root,
        canvas: makeElement("canvas", canvas, root),
        sentence: makeElement("p", { role: "status", "aria-live": "polite" }, root),
        figures: makeElement("p", { class: "posekit-webcam-figures" }, root),
      };
      views.add(view);
      show(view);
      return () => {
        views.delete(view);
        if (!views.size && session) stop();
      };
    },
  };
};
