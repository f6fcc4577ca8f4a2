// Cutting the network's square out of a frame: `geometry.warp` in JavaScript, for squares that are not turned.

/** Halve a picture, each pixel the mean of four. Width and height must be even. */
function halved({ data, width, height }) {
  const w = width / 2, h = height / 2, out = new Uint8ClampedArray(4 * w * h);
  for (let y = 0, to = 0; y < h; y++) {
    for (let x = 0, at = 8 * y * width; x < w; x++, at += 8, to += 4) {
      const below = at + 4 * width;
      for (let c = 0; c < 3; c++) out[to + c] = (data[at + c] + data[at + 4 + c] + data[below + c] + data[below + 4 + c] + 2) >> 2;
    }
  }
  return { data: out, width: w, height: h };
}

/** A rectangle of a picture. */
function part({ data, width }, left, top, w, h) {
  const out = new Uint8ClampedArray(4 * w * h);
  for (let y = 0; y < h; y++) {
    const from = 4 * ((top + y) * width + left);
    out.set(data.subarray(from, from + 4 * w), 4 * y * w);
  }
  return { data: out, width: w, height: h };
}

/**
 * Cut a square out of a frame: bilinear, black outside; first halved as often as it takes where it shrinks to half and less.
 * image: {data: RGBA bytes, width, height}; gives size * size * 3 floats, RGB 0 … 255.
 */
export function cut(image, { center, side }, size) {
  let left = center[0] - side / 2, top = center[1] - side / 2;
  let scale = side / size; // frame pixels for one of the square's
  const halvings = Math.floor(Math.log2(scale) + 1e-9);
  if (halvings > 0) {
    const block = 2 ** halvings, edges = [image.width, image.height], low = [], blocks = [];
    [left, top].forEach((start, i) => {
      const first = start + 0.5 * scale - scale, last = start + 0.5 * scale + size * scale; // pixels -1 and `size` of the square
      low[i] = clamp(Math.floor(first) - block, 0, edges[i]);
      blocks[i] = Math.floor((clamp(Math.ceil(last) + block + 1, 0, edges[i]) - low[i]) / block);
    });
    if (blocks[0] > 0 && blocks[1] > 0) {
      image = part(image, low[0], low[1], blocks[0] * block, blocks[1] * block);
      for (let i = 0; i < halvings; i++) image = halved(image);
      left = (left - low[0] + 0.5) / block - 0.5;
      top = (top - low[1] + 0.5) / block - 0.5;
      scale /= block;
    }
  }
  return bilinear(image, left, top, scale, size);
}

const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

function bilinear({ data, width, height }, left, top, scale, size) {
  const out = new Float32Array(3 * size * size);
  for (let y = 0, to = 0; y < size; y++) {
    const v = top + (y + 0.5) * scale, y0 = Math.floor(v), fy = v - y0;
    for (let x = 0; x < size; x++, to += 3) {
      const u = left + (x + 0.5) * scale, x0 = Math.floor(u), fx = u - x0;
      let r = 0.5, g = 0.5, b = 0.5;
      for (let dy = 0; dy < 2; dy++) {
        const row = y0 + dy, wy = dy ? fy : 1 - fy;
        if (row < 0 || row >= height) continue;
        for (let dx = 0; dx < 2; dx++) {
          const column = x0 + dx, weight = wy * (dx ? fx : 1 - fx);
          if (column < 0 || column >= width) continue;
          const at = 4 * (row * width + column);
          r += weight * data[at];
          g += weight * data[at + 1];
          b += weight * data[at + 2];
        }
      }
      out[to] = Math.floor(r); // whole numbers, as OpenCV's
      out[to + 1] = Math.floor(g);
      out[to + 2] = Math.floor(b);
    }
  }
  return out;
}
