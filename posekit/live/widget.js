// The camera in JupyterLab: browser camera -> JPEG -> kernel -> pose, drawn over the very frame that was scored. No library, and no
// request but the kernel's own. posekit/live/widget.py holds the other end; the messages are listed there.

const TELL = 3000; // ms without an answer after which the reader is told that the kernel is busy
const SILENT = 10; // seconds that a camera may take for its first picture
const FAILED = {
  denied: "This page may not use the camera: permission was denied. Allow it at the camera symbol in the browser's address bar, then press Start again.",
  none: "No camera was found. Plug one in, then press Start again. posekit.live.run works on a clip meanwhile.",
  taken: "The camera does not start: another program may be using it. Close that program, then press Start again.",
  unplugged: "The camera went away: it was unplugged, or another program took it. Plug it in, then press Start again.",
  insecure: "Browsers give the camera only to pages that came over https or from localhost, and this one came from {host}. On a remote machine, open a tunnel (ssh -L 8888:localhost:8888 {name}) and use http://localhost:8888.",
  vscode: "VS Code gives no camera to its notebooks. Open this notebook in JupyterLab, in a browser (make lab).",
  kernel: "The kernel was restarted or is gone, and the model with it. Run this cell again.",
  busy: "The kernel has not answered for {seconds} seconds: it is busy with another cell, or gone. Press Start when it is free.",
  score: "The kernel could not work on a frame: {text}.",
  other: "The camera does not start: {text}.",
};
const REASON = {
  NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "none", OverconstrainedError: "none",
  NotReadableError: "taken", AbortError: "taken",
};

const inVsCode = () => location.protocol === "vscode-webview:" || "vscodeThemeKind" in (document.body?.dataset ?? {});

function make(tag, attributes, parent) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent?.append(node);
  return node;
}

function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// What a camera promises, unless it lets us wait: a second counts only where the page is seen.
function inTime(promise) {
  let left = SILENT, timer;
  const late = new Promise((_, reject) => {
    timer = setInterval(() => document.hidden || --left || reject(new DOMException("no picture", "NotReadableError")), 1000);
  });
  return Promise.race([promise, late]).finally(() => clearInterval(timer));
}

// One skeleton on a picture `scale` times as large as the one that was scored. A pixel's centre is at integers there, at halves here.
function skeleton(context, pose, scale, model) {
  if (!pose.keypoints) return;
  const [limbs, colours, threshold] = ["limbs", "colours", "threshold"].map((name) => model.get(name));
  const unit = Math.max(1, Math.min(context.canvas.width, context.canvas.height) / 220);
  const at = (k) => pose.keypoints[k].map((v) => (v + 0.5) * scale);
  const sure = (k) => pose.score[k] >= threshold;
  context.lineCap = "round";
  for (const [width, plain] of [[3.6, "#FFFFFF"], [2, null]]) {
    for (const [a, b, colour] of limbs) {
      if (!sure(a) || !sure(b)) continue;
      context.beginPath();
      context.moveTo(...at(a));
      context.lineTo(...at(b));
      context.lineWidth = width * unit;
      context.strokeStyle = plain ?? colour;
      context.stroke();
    }
  }
  colours.forEach((colour, k) => {
    if (!sure(k)) return;
    for (const [radius, fill] of [[3.4, "#FFFFFF"], [2.3, colour]]) {
      context.beginPath();
      context.arc(...at(k), radius * unit, 0, 2 * Math.PI);
      context.fillStyle = fill;
      context.fill();
    }
  });
}

export default () => {
  let model, stream = null, recorder = null, watch = 0, number = 0, seen = 0;
  let session = ""; // names one run of the camera; whatever belongs to another is dropped
  let ready = false, fresh = false, told = "off", words = "", figures = "";
  const video = Object.assign(make("video", {}), { muted: true, playsInline: true });
  const views = new Set(), waiting = new Map(), spare = [], times = [];

  // ---- what the reader sees ----------------------------------------------------------------------------------------------
  function say(state, sentence) {
    if (told === state && words === sentence) return;
    [told, words] = [state, sentence];
    views.forEach(show);
  }
  function show(view) {
    view.root.dataset.state = told;
    view.words.textContent = words;
    view.figures.textContent = figures;
  }
  const resting = () => say("off", "The camera is off. Press Start: the frames go from this browser to your kernel, and nowhere else.");

  function fail(reason, more = {}) {
    const sentence = FAILED[reason].replace(/{(\w+)}/g, (_, name) => more[name] ?? "");
    stop();
    say(`failed ${reason}`, `${sentence} The camera is off.`);
  }

  // ---- the camera --------------------------------------------------------------------------------------------------------
  async function start() {
    release();
    const mine = (session = crypto.getRandomValues(new Uint32Array(2)).join("-"));
    label("Stop");
    await new Promise((done) => setTimeout(done)); // let the click that led here end: nothing can undo it from within
    if (mine !== session) return;
    if (inVsCode()) return fail("vscode");
    if (!navigator.mediaDevices?.getUserMedia)
      return fail(window.isSecureContext ? "none" : "insecure", { host: location.origin, name: location.hostname });
    say("asking", "Asking the browser for the camera …");
    let got = null;
    try {
      const wish = { width: { ideal: 640 }, frameRate: { ideal: 30 } };
      if (model.get("camera")) wish.deviceId = { exact: model.get("camera") };
      got = await navigator.mediaDevices.getUserMedia({ audio: false, video: wish });
      if (mine !== session) return got.getTracks().forEach((track) => track.stop());
      stream = got;
      stream.getTracks().forEach((track) => track.addEventListener("ended", () => mine === session && fail("unplugged")));
      video.srcObject = stream;
      await inTime(video.play());
      const devices = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
      if (mine !== session) return;
      set({ cameras: devices.map((one, k) => [one.label || `camera ${k + 1}`, one.deviceId]) });
    } catch (error) {
      if (mine === session) fail(REASON[error.name] ?? "other", { text: `${error.name}: ${error.message}` });
      return;
    }
    say("loading", "The camera is on. Waiting for the kernel …");
    waiting.set("start", { sent: performance.now() });
    watch = setInterval(look, 500);
    send({ kind: "start" });
  }

  function release() {
    session = "";
    ready = false;
    clearInterval(watch);
    if (recorder) recorder.stop();
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
    spare.push(...[...waiting.values()].filter((one) => one.shown));
    waiting.clear();
    times.length = 0;
    figures = "";
  }
  function stop() {
    const was = session;
    release();
    set({ running: false, recording: false });
    label("Start");
    if (was) tell({ kind: "stop", session: was });
    resting();
    views.forEach(show);
  }

  // ---- to the kernel -----------------------------------------------------------------------------------------------------
  function set(state) {
    for (const [name, value] of Object.entries(state)) model.set(name, value);
    try { model.save_changes(); } catch { /* no kernel to tell */ }
  }
  const label = (action) => setTimeout(() => set({ action })); // later: within its own click a button does not show a new word
  function tell(content, buffers) {
    try { model.send(content, undefined, buffers); return true; } catch { return false; }
  }
  function send(content, buffers) {
    if (!tell({ session, ...content }, buffers)) fail("kernel");
  }

  function look() { // twice a second: is the kernel still answering?
    const oldest = Math.min(...[...waiting.values()].map((one) => one.sent));
    const since = performance.now() - oldest, patience = 1000 * model.get("patience") * (waiting.get("start")?.loading ? 10 : 1);
    if (since > patience) fail("busy", { seconds: Math.round(since / 1000) });
    else if (since > TELL && ready) say("busy", "The kernel is busy with another cell. The camera waits for it.");
  }

  function next(mine) { // once for each frame of the camera
    if (mine !== session) return;
    video.requestVideoFrameCallback(() => next(mine));
    fresh = true;
    pump();
  }
  function pump() { // sends the newest frame, unless it was sent or enough are under way: then it is left out
    if (!ready || !fresh || waiting.size >= model.get("max_in_flight")) return;
    fresh = false;
    const id = ++number, slot = spare.pop() ?? { shown: make("canvas", {}), sent: 0, small: make("canvas", {}) };
    const { videoWidth: w, videoHeight: h } = video, scale = Math.min(1, model.get("side") / Math.max(w, h));
    fit(slot.shown, w, h).drawImage(video, 0, 0, w, h);
    fit(slot.small, Math.round(w * scale), Math.round(h * scale)).drawImage(slot.shown, 0, 0, slot.small.width, slot.small.height);
    slot.sent = performance.now();
    waiting.set(id, slot);
    // toBlob would wait until the page is idle: much longer than the work takes
    const jpeg = Uint8Array.from(atob(slot.small.toDataURL("image/jpeg", 0.9).split(",")[1]), (c) => c.charCodeAt(0));
    slot.encode = performance.now() - slot.sent;
    send({ kind: "frame", id, seconds: slot.sent / 1000 }, [new DataView(jpeg.buffer)]);
  }
  function fit(canvas, w, h) {
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    return canvas.getContext("2d");
  }

  // ---- from the kernel ---------------------------------------------------------------------------------------------------
  function receive(content) {
    if (content.kind === "snapshot") return snapshot();
    if (!session || content.session !== session) return;
    if (content.kind === "loading") { // at the start, and when another model is chosen
      waiting.set("start", { sent: performance.now(), loading: true });
      say("loading", "The camera is on. The kernel gets the model ready …");
    } else if (content.kind === "error") fail("score", content);
    else if (content.kind === "ready") {
      waiting.delete("start");
      seen = performance.now();
      if (ready) return pump();
      ready = true;
      next(session);
    } else if (waiting.has(content.id)) {
      const slot = waiting.get(content.id);
      waiting.delete(content.id);
      spare.push(slot);
      if (content.kind === "pose") draw(content, slot);
      pump();
    }
  }

  function draw(pose, slot) {
    const begun = performance.now();
    views.forEach((view) => {
      const context = fit(view.canvas, slot.shown.width, slot.shown.height), mirror = model.get("mirror");
      context.save();
      if (mirror) { // of the picture and what is drawn on it: the labels stay the person's own
        context.translate(slot.shown.width, 0);
        context.scale(-1, 1);
      }
      context.drawImage(slot.shown, 0, 0);
      skeleton(context, pose, slot.shown.width / slot.small.width, model);
      context.restore();
      view.canvas.dataset.frame = pose.id;
    });
    const now = performance.now(), kernel = pose.milliseconds.kernel;
    times.push({ at: now, encode: slot.encode, wire: begun - slot.sent - slot.encode - kernel, model: kernel, draw: now - begun });
    while (times[0].at < now - 1000) times.shift();
    if (!pose.lost) seen = now;
    say("on", now - seen > 1000 ? "The camera is on. Nobody is found: the tracker looks at the whole picture and at parts of it."
      : "The camera is on. Orange is your own left, blue your own right.");
    if (pose.id % 10 === 0) {
      const mean = (part) => times.reduce((sum, one) => sum + one[part], 0) / times.length;
      const parts = ["encode", "wire", "model", "draw"].map((part) => `${part} ${mean(part).toFixed(0)}`);
      figures = `${times.length} frames a second · ${parts.join(" + ")} ms`;
      views.forEach(show);
    }
  }

  // ---- keeping -----------------------------------------------------------------------------------------------------------
  const canvas = () => [...views][0]?.canvas;
  const stamp = () => new Date().toISOString().slice(0, 19).replace(/\D/g, "-");
  function snapshot() {
    if (ready) canvas()?.toBlob((blob) => download(blob, `pose-${stamp()}.png`));
  }
  function record() {
    if (!model.get("recording")) return recorder?.stop();
    if (recorder) return;
    if (!ready || !window.MediaRecorder) return set({ recording: false });
    const parts = [], mine = (recorder = new MediaRecorder(canvas().captureStream(30)));
    mine.ondataavailable = (event) => parts.push(event.data);
    mine.onstop = () => {
      mine.stream.getTracks().forEach((track) => track.stop());
      download(new Blob(parts, { type: mine.mimeType }), `pose-${stamp()}.${mine.mimeType.includes("mp4") ? "mp4" : "webm"}`);
      if (recorder === mine) recorder = null;
    };
    mine.start();
  }

  return {
    initialize(given) {
      model = given.model;
      resting();
      if (model.get("running")) set({ running: false, action: "Start" }); // the page was loaded anew: nobody has pressed Start on it
      // The press must have been on this page: another window that shows the same widget does not switch on its camera.
      model.on("change:running", () => {
        if (!model.get("running")) stop();
        else if (views.size && navigator.userActivation?.isActive !== false) start();
      });
      model.on("change:camera", () => session && start());
      model.on("change:recording", record);
      model.on("comm_live_update", () => session && fail("kernel"));
      model.on("msg:custom", receive);
      const leave = () => session && stop();
      window.addEventListener("pagehide", leave);
      return () => {
        window.removeEventListener("pagehide", leave);
        release();
      };
    },
    render({ el }) {
      const root = make("div", { class: "posekit-webcam" }, el);
      const view = {
        root,
        canvas: make("canvas", { width: 640, height: 480, role: "img", "aria-label": "Your camera's picture with the skeleton that was found" }, root),
        words: make("p", { role: "status", "aria-live": "polite" }, root),
        figures: make("p", { class: "posekit-webcam-figures" }, root),
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
