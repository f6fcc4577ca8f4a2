// Sources of frames for the page: a camera, an image file, the clip (chapter 15).
// Each has `next`, which gives a canvas and its time in seconds, and `stop`.

import { openCamera, waitForImage } from "./core/camera.js";

const MAX_SIDE = 640; // larger frames only cost time: the network sees 224 pixels
const CLIP_FPS = 25;

/** A problem that the reader can understand; its message is shown. */
export class PageError extends Error {}

function makeCanvas(width, height) {
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  return canvas;
}

function drawInto(canvas, image) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Wait for frames of a video; one that came while the caller was busy is not waited for. */
function newFrames(video) {
  let isNew = false;
  let isStopped = false;
  let wake = () => {};
  const ask = () => {
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(arrive);
    else requestAnimationFrame(arrive);
  };
  const arrive = () => {
    if (isStopped) return;
    isNew = true;
    wake();
    ask();
  };
  ask();
  return {
    async next() {
      if (!isNew) await new Promise((resolve) => (wake = resolve));
      isNew = false;
    },
    stop() {
      isStopped = true;
    },
  };
}

/** A camera; arguments as in `openCamera`. Throws a CameraError. */
export async function cameraFrames(options) {
  const { video, deviceId, stop } = await openCamera(options);
  const frames = newFrames(video);
  let canvas = null;
  let size = "";
  return {
    kind: "camera",
    deviceId,
    stop() {
      frames.stop();
      stop();
    },
    async next() {
      await waitForImage(frames.next());
      const { videoWidth, videoHeight } = video;
      if (size !== `${videoWidth}x${videoHeight}`) {
        size = `${videoWidth}x${videoHeight}`; // changes when a phone is turned
        canvas = makeCanvas(videoWidth, videoHeight);
      }
      return { canvas: drawInto(canvas, video), seconds: performance.now() / 1000 };
    },
  };
}

/** One image, from a file that the reader chose. */
export async function imageFrames(file) {
  let image;
  try {
    image = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new PageError(
      `${file.name || "This file"} is no image that the browser can read. Choose a JPEG or a PNG.`,
    );
  }
  let isDone = false;
  return {
    kind: "image",
    stop: () => image.close(),
    async next() {
      if (isDone) return null;
      isDone = true;
      return { canvas: drawInto(makeCanvas(image.width, image.height), image), seconds: 0 };
    },
  };
}

/** The [begin, end] of each JPEG in the bytes of an .mjpeg file. */
export function splitMjpeg(bytes) {
  const frames = [];
  let start = -1;
  for (let i = 0; i + 1 < bytes.length; i++) {
    if (bytes[i] !== 0xff) continue;
    if (bytes[i + 1] === 0xd8 && start < 0) start = i;
    if (bytes[i + 1] === 0xd9 && start >= 0) {
      frames.push([start, i + 2]);
      start = -1;
    }
  }
  return frames;
}

/** The clip, in a loop and at its own rate; frames that would come too late are skipped. */
export async function clipFrames(url) {
  const response = await fetch(url);
  if (!response.ok) throw new PageError(`The clip could not be loaded (${response.status}).`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const frames = splitMjpeg(bytes);
  let begin = null;
  let last = -1;
  let canvas = null;
  return {
    kind: "clip",
    stop: () => {},
    async next() {
      await new Promise(requestAnimationFrame);
      begin ??= performance.now();
      let number = Math.floor(((performance.now() - begin) / 1000) * CLIP_FPS);
      if (number === last) {
        await new Promise((resolve) => setTimeout(resolve, 1000 / CLIP_FPS));
        number = last + 1;
      }
      last = number;
      const [from, to] = frames[number % frames.length];
      const jpeg = new Blob([bytes.subarray(from, to)], { type: "image/jpeg" });
      const image = await createImageBitmap(jpeg);
      canvas ??= makeCanvas(image.width, image.height);
      drawInto(canvas, image);
      image.close();
      return { canvas, seconds: number / CLIP_FPS, number: number % frames.length };
    },
  };
}
