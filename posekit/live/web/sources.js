// Where frames come from: a camera, a picture, the made clip. Each gives canvases, one at a time, with their time in seconds (chapter 12).

const LONGEST = 640; // more pixels cost time to read and help nobody: the network sees 224
const CLIP_RATE = 25;
const PATIENCE = 10; // seconds that a camera may take for a picture

/** What went wrong, in words for the reader. */
export class Trouble extends Error {}

/** The words for a camera that does not come. */
export function wordsFor(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The camera was not allowed. Click the camera or lock symbol beside the page's address, allow the camera, and press the button again. " +
        "In a frame inside another page (or in an editor) there is no camera: open this page in a browser's own tab.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No camera was found. Plug one in and press the button again, or use a picture or the clip.";
    case "NotReadableError":
    case "AbortError":
      return "The camera is there, but gives no picture: another program may be using it. Close that program and press the button again.";
    default:
      return `The camera could not be started (${error.name}: ${error.message}).`;
  }
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  return canvas;
}

function painted(image, width, height, canvas = canvasOf(width, height)) {
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** What a camera promises, or its trouble if it lets us wait: a second counts only where the page is seen. */
async function inTime(promise) {
  let left = PATIENCE, timer;
  const late = new Promise((_, reject) => {
    timer = setInterval(() => document.hidden || --left || reject(new DOMException("no picture", "NotReadableError")), 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } catch (error) {
    throw new Trouble(wordsFor(error));
  } finally {
    clearInterval(timer);
  }
}

/** A camera. `gone` is called if it is unplugged; `hold`, as soon as it is on, with what switches it off. */
export async function camera(deviceId, gone, hold) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Trouble(
      "Browsers give the camera only to pages that come over https, or from this very computer. Open this page over https, or from " +
        "http://localhost; a picture and the clip work here, too.",
    );
  }
  const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, ...(deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" }) };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  } catch (error) {
    throw new Trouble(wordsFor(error));
  }
  const stop = () => stream.getTracks().forEach((track) => track.stop());
  hold(stop);
  stream.getVideoTracks()[0].addEventListener("ended", gone);
  const video = document.createElement("video");
  Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
  try {
    await inTime(video.play());
  } catch (error) {
    stop();
    throw error;
  }
  let canvas = null;
  const nextFrame = () =>
    new Promise((resolve) => {
      if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve);
      else requestAnimationFrame(resolve);
    });
  return {
    kind: "camera",
    deviceId: stream.getVideoTracks()[0].getSettings().deviceId,
    stop,
    async next() {
      await inTime(nextFrame());
      if (!canvas || canvas.seen !== `${video.videoWidth}x${video.videoHeight}`) {
        canvas = canvasOf(video.videoWidth, video.videoHeight); // a phone that is turned changes it
        canvas.seen = `${video.videoWidth}x${video.videoHeight}`;
      }
      return { canvas: painted(video, 0, 0, canvas), seconds: performance.now() / 1000 };
    },
  };
}

/** One picture, from a file that the reader chose. */
export async function picture(file) {
  let image;
  try {
    image = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Trouble(`${file.name || "This"} is no picture that the browser can read. Take a JPEG or a PNG.`);
  }
  let shown = false;
  return {
    kind: "picture",
    stop: () => image.close(),
    async next() {
      if (shown) return null;
      shown = true;
      return { canvas: painted(image, image.width, image.height), seconds: 0 };
    },
  };
}

/** Where each JPEG of an .mjpeg file begins and ends. */
export function cutApart(bytes) {
  const frames = [];
  for (let i = 0, start = -1; i + 1 < bytes.length; i++) {
    if (bytes[i] !== 0xff) continue;
    if (bytes[i + 1] === 0xd8 && start < 0) start = i;
    if (bytes[i + 1] === 0xd9 && start >= 0) {
      frames.push([start, i + 2]);
      start = -1;
    }
  }
  return frames;
}

/** The made clip, over and over, in its own time; frames that come too late are left out. */
export async function clip(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Trouble(`The clip could not be loaded (${response.status}).`);
  const bytes = new Uint8Array(await response.arrayBuffer()), frames = cutApart(bytes);
  let begin = null, last = -1, canvas = null;
  return {
    kind: "clip",
    stop: () => {},
    async next() {
      await new Promise(requestAnimationFrame);
      begin ??= performance.now();
      let number = Math.floor(((performance.now() - begin) / 1000) * CLIP_RATE);
      if (number === last) {
        await new Promise((resolve) => setTimeout(resolve, 1000 / CLIP_RATE));
        number = last + 1;
      }
      last = number;
      const [from, to] = frames[number % frames.length];
      const image = await createImageBitmap(new Blob([bytes.subarray(from, to)], { type: "image/jpeg" }));
      canvas = painted(image, image.width, image.height, canvas ?? undefined);
      image.close();
      return { canvas, seconds: number / CLIP_RATE, number: number % frames.length };
    },
  };
}
