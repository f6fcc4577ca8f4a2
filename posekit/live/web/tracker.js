// Where to look next, and whether anybody is there: posekit/live/tracking.py in JavaScript, held equal by test vectors (chapter 12).
// Keypoints are flat arrays [x0, y0, x1, y1, …] of COCO's 17 joints, in pixels of the frame, centres at integers.

import { ONE_EURO, smooth } from "./one_euro.js";

export const SETTINGS = { found: 0.3, kept: 0.2, patience: 0.4, joint: 0.15, filter: ONE_EURO };
export const NOBODY = Object.freeze({
  mode: "lost", center: null, side: 0, velocity: null, unit: 1, seconds: 0, doubt: null, smoothed: null, looks: 0,
});

const SURE_JOINTS = 5, SPEED_SECONDS = 0.2, SHRINK_SECONDS = 0.3, AHEAD_SECONDS = 0.2;
const NEARER = 3 / 4, LEAST = 1 / 8, MARGIN = 0.35, BELOW = 0.8, PADDING = 1.25;
const TORSOS = [[5, 12, 1.0], [6, 11, 1.0], [5, 6, 1.4], [3, 4, 3.2]];
const LEFT_ANKLE = 15, RIGHT_ANKLE = 16;
const clip = (v, low, high) => Math.min(Math.max(v, low), high);

/** The smallest square around a frame. */
export const whole = (width, height) => ({ center: [(width - 1) / 2, (height - 1) / 2], side: Math.max(width, height) });

/** Where to look for somebody: the whole frame, then nearer squares along its longer side, in turn. */
export function search(looks, width, height) {
  if (looks % 4 === 0) return whole(width, height);
  const side = NEARER * Math.min(width, height);
  const along = side / 2 + ((Math.max(width, height) - side) * ((looks % 4) - 1)) / 2 - 0.5;
  return { center: width >= height ? [along, (height - 1) / 2] : [(width - 1) / 2, along], side };
}

/** The square to look at: {center, side} in frame pixels. */
export function nextCrop(state, seconds, width, height) {
  if (state.mode === "lost") return search(state.looks, width, height);
  const ahead = clip(seconds - state.seconds, 0, AHEAD_SECONDS);
  return { center: state.center.map((c, i) => c + state.velocity[i] * ahead), side: state.side };
}

/** How sure one may be that somebody is there: presence, or the mean of the five best joints if that is less. */
export function belief(presence, score) {
  const best = [...score].sort((a, b) => b - a).slice(0, SURE_JOINTS);
  return Math.min(presence, best.reduce((a, b) => a + b, 0) / best.length);
}

function extent(keypoints, counts) {
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  counts.forEach((counted, j) => {
    for (const axis of counted ? [0, 1] : []) {
      low[axis] = Math.min(low[axis], keypoints[2 * j + axis]);
      high[axis] = Math.max(high[axis], keypoints[2 * j + axis]);
    }
  });
  return [low, high];
}

/** Length of the torso in pixels, at least 1. */
export function torso(keypoints, counts) {
  const spans = TORSOS.filter(([a, b]) => counts[a] && counts[b]).map(
    ([a, b, times]) => times * Math.hypot(keypoints[2 * a] - keypoints[2 * b], keypoints[2 * a + 1] - keypoints[2 * b + 1]),
  );
  if (spans.length) return Math.max(1, ...spans);
  const [low, high] = extent(keypoints, counts);
  return Math.max(1, high[0] - low[0], high[1] - low[1]);
}

/** The square around a body, as training cuts it. */
export function around(keypoints, counts, unit, width, height) {
  let [low, high] = extent(keypoints, counts);
  low = low.map((v) => v - MARGIN * unit);
  high = high.map((v) => v + MARGIN * unit);
  if (!counts[LEFT_ANKLE] && !counts[RIGHT_ANKLE]) high[1] += BELOW * unit;
  const edges = [width - 0.5, height - 0.5];
  low = low.map((v, i) => clip(v, -0.5, edges[i]));
  high = high.map((v, i) => clip(v, -0.5, edges[i]));
  const length = Math.max(high[0] - low[0], high[1] - low[1]);
  const longest = Math.max(width, height);
  const side = Math.min(Math.max(PADDING * length, LEAST * longest), PADDING * longest);
  return { center: [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2], side };
}

/** Take in what the network said about the crop of `nextCrop`; gives the state after, and changes nothing. */
export function update(state, keypoints, score, presence, seconds, width, height, settings = SETTINGS) {
  const sure = belief(presence, score), counts = Array.from(score, (s) => s >= settings.joint);
  if (sure < (state.mode === "kept" ? settings.kept : settings.found) || !counts.includes(true)) {
    const since = state.doubt ?? seconds;
    if (state.mode !== "kept" || seconds - since >= settings.patience) {
      return { ...NOBODY, looks: state.mode === "kept" ? 0 : state.looks + 1 };
    }
    return { ...state, doubt: since };
  }
  let unit = torso(keypoints, counts);
  let { center, side } = around(keypoints, counts, unit, width, height);
  if (state.mode === "lost") return { ...NOBODY, mode: "found", center, side, velocity: [0, 0], unit, seconds, looks: state.looks };
  const passed = seconds - state.seconds;
  let velocity = state.velocity;
  if (passed > 0 && state.mode === "kept") {
    const share = 1 - Math.exp(-passed / SPEED_SECONDS), least = Math.exp(-passed / SHRINK_SECONDS);
    velocity = velocity.map((v, i) => v + share * ((center[i] - state.center[i]) / passed - v));
    side = Math.max(side, state.side * least);
    unit = Math.max(unit, state.unit * least);
  }
  const smoothed = smooth(state.smoothed, keypoints, seconds, settings.filter, unit);
  return { mode: "kept", center, side, velocity, unit, seconds, doubt: null, smoothed, looks: 0 };
}
