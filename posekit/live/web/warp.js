// Crops a square out of a frame: `geometry.warp` in JavaScript, for squares that are not rotated.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** An image of half the size, each pixel the mean of four. Width and height must be even. */
function halved({ data, width, height }) {
  const halfWidth = width / 2;
  const halfHeight = height / 2;
  const out = new Uint8ClampedArray(4 * halfWidth * halfHeight);
  let to = 0;
  for (let y = 0; y < halfHeight; y++) {
    let at = 8 * y * width;
    for (let x = 0; x < halfWidth; x++) {
      const below = at + 4 * width;
      for (let c = 0; c < 3; c++) {
        const upper = data[at + c] + data[at + 4 + c];
        const lower = data[below + c] + data[below + 4 + c];
        out[to + c] = (upper + lower + 2) >> 2;
      }
      at += 8;
      to += 4;
    }
  }
  return { data: out, width: halfWidth, height: halfHeight };
}

/** A rectangle of an image. */
function rectangle({ data, width }, left, top, outWidth, outHeight) {
  const out = new Uint8ClampedArray(4 * outWidth * outHeight);
  for (let y = 0; y < outHeight; y++) {
    const from = 4 * ((top + y) * width + left);
    out.set(data.subarray(from, from + 4 * outWidth), 4 * y * outWidth);
  }
  return { data: out, width: outWidth, height: outHeight };
}

/**
 * Crop a square out of a frame: bilinear, black outside. A square that shrinks to a half or less
 * is halved first, as often as it takes, against aliasing.
 *
 * image: {data: RGBA bytes, width, height}. Returns size * size * 3 floats, RGB 0 … 255.
 */
export function cropSquare(image, { center, side }, size) {
  let left = center[0] - side / 2;
  let top = center[1] - side / 2;
  let scale = side / size; // frame pixels per pixel of the crop
  const halvings = Math.floor(Math.log2(scale) + 1e-9);
  if (halvings > 0) {
    const block = 2 ** halvings;
    const edges = [image.width, image.height];
    const low = [];
    const blocks = [];
    [left, top].forEach((start, i) => {
      // pixels -1 and `size` of the crop
      const first = start + 0.5 * scale - scale;
      const last = start + 0.5 * scale + size * scale;
      low[i] = clamp(Math.floor(first) - block, 0, edges[i]);
      const high = clamp(Math.ceil(last) + block + 1, 0, edges[i]);
      blocks[i] = Math.floor((high - low[i]) / block);
    });
    if (blocks[0] > 0 && blocks[1] > 0) {
      image = rectangle(image, low[0], low[1], blocks[0] * block, blocks[1] * block);
      for (let i = 0; i < halvings; i++) image = halved(image);
      left = (left - low[0] + 0.5) / block - 0.5;
      top = (top - low[1] + 0.5) / block - 0.5;
      scale /= block;
    }
  }
  return bilinear(image, left, top, scale, size);
}

function bilinear({ data, width, height }, left, top, scale, size) {
  const out = new Float32Array(3 * size * size);
  let to = 0;
  for (let y = 0; y < size; y++) {
    const v = top + (y + 0.5) * scale;
    const row0 = Math.floor(v);
    const rowShare = v - row0;
    for (let x = 0; x < size; x++) {
      const u = left + (x + 0.5) * scale;
      const column0 = Math.floor(u);
      const columnShare = u - column0;
      let r = 0.5;
      let g = 0.5;
      let b = 0.5;
      for (let dy = 0; dy < 2; dy++) {
        const row = row0 + dy;
        const rowWeight = dy ? rowShare : 1 - rowShare;
        if (row < 0 || row >= height) continue;
        for (let dx = 0; dx < 2; dx++) {
          const column = column0 + dx;
          const weight = rowWeight * (dx ? columnShare : 1 - columnShare);
          if (column < 0 || column >= width) continue;
          const at = 4 * (row * width + column);
          r += weight * data[at];
          g += weight * data[at + 1];
          b += weight * data[at + 2];
        }
      }
      out[to] = Math.floor(r); // rounded to whole numbers, as OpenCV does
      out[to + 1] = Math.floor(g);
      out[to + 2] = Math.floor(b);
      to += 3;
    }
  }
  return out;
}
