// Opens a camera and says in one sentence why it cannot, for the page and for the widget.

const FIRST_IMAGE_S = 10; // longest wait for an image

/** The sentence for each reason. {origin}, {host}, {port} and {detail} are filled in. */
export const CAMERA_ERRORS = {
  denied:
    "Permission to use the camera was denied. Allow it at the camera symbol in the browser's " +
    "address bar, then press Start again. A frame inside another page, or an editor, gets no " +
    "camera: open this page in a browser tab of its own.",
  not_found: "No camera was found. Connect one, then press Start again.",
  in_use:
    "The camera gives no image: another program may be using it. Close that program, then " +
    "press Start again.",
  unplugged:
    "The camera was unplugged, or another program took it over. Connect it, then press Start " +
    "again.",
  insecure:
    "Browsers allow the camera only on pages from https or from localhost, and this page came " +
    "from {origin}. Use https, or open a tunnel to the remote machine " +
    "(ssh -L {port}:localhost:{port} {host}) and use http://localhost:{port}.",
  other: "The camera could not be started: {detail}.",
};

const REASONS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "not_found",
  OverconstrainedError: "not_found",
  NotReadableError: "in_use",
  AbortError: "in_use",
};

/** A camera that cannot be used. `reason` is a key of CAMERA_ERRORS, `message` its sentence. */
export class CameraError extends Error {
  constructor(reason, detail = "") {
    const values = { detail };
    if (reason === "insecure") {
      values.origin = location.origin;
      values.host = location.hostname;
      values.port = location.port || "80";
    }
    super(CAMERA_ERRORS[reason].replace(/{(\w+)}/g, (_, name) => values[name] ?? ""));
    this.reason = reason;
  }

  /** From what `getUserMedia` or `play` throws. */
  static from(error) {
    if (error instanceof CameraError) return error;
    return new CameraError(REASONS[error.name] ?? "other", `${error.name}: ${error.message}`);
  }
}

/**
 * Wait for an image of a camera; reject with a CameraError after FIRST_IMAGE_S seconds.
 * Seconds in which the page is hidden do not count: a hidden page gets no images.
 */
export async function waitForImage(promise) {
  let secondsLeft = FIRST_IMAGE_S;
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setInterval(() => {
      if (!document.hidden) secondsLeft -= 1;
      if (secondsLeft <= 0) reject(new CameraError("in_use"));
    }, 1000);
  });
  try {
    return await Promise.race([promise, timeout]);
  } catch (error) {
    throw CameraError.from(error);
  } finally {
    clearInterval(timer);
  }
}

/**
 * Open a camera and wait for its first image.
 *
 * deviceId: of the camera; "" takes the browser's choice.
 * onOpen: called with a function that switches the camera off, as soon as it is on.
 * onEnded: called if the camera is unplugged.
 * Returns {video, deviceId, stop}. Throws a CameraError, with the camera off.
 */
export async function openCamera({ deviceId, onOpen, onEnded }) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new CameraError(window.isSecureContext ? "not_found" : "insecure");
  }
  const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
  if (deviceId) wanted.deviceId = { exact: deviceId };
  else wanted.facingMode = "user";
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  } catch (error) {
    throw CameraError.from(error);
  }
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  onOpen(stop);
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", onEnded);
  const video = document.createElement("video");
  Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
  try {
    await waitForImage(video.play());
  } catch (error) {
    stop();
    throw error;
  }
  return { video, deviceId: track.getSettings().deviceId, stop };
}

/** List the cameras as {label, deviceId}; labels are known once a camera was allowed. */
export async function listCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter((device) => device.kind === "videoinput")
    .map(({ label, deviceId }, k) => ({ label: label || `camera ${k + 1}`, deviceId }));
}
