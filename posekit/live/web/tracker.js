// Pose tracking between frames: posekit/live/tracking.py in JavaScript (chapter 15).
// Shared test vectors keep the two equal. `constants` is the key `tracker` of core/constants.json.
// Keypoints are flat arrays [x0, y0, x1, y1, …] of COCO's 17 joints, in pixels of the frame,
// pixel centres at integers.

import { smooth } from "./one_euro.js";

export const INITIAL_STATE = Object.freeze({
  mode: "searching",
  center: null,
  side: 0,
  velocity: null,
  torsoLength: 1,
  seconds: 0,
  lowSince: null,
  smoothed: null,
  searchCount: 0,
});

const clip = (value, low, high) => Math.min(Math.max(value, low), high);

/** The smallest square around a frame. */
export function fullFrame(width, height) {
  return { center: [(width - 1) / 2, (height - 1) / 2], side: Math.max(width, height) };
}

/** The crop in which to search: the whole frame, or smaller squares along its longer side. */
export function searchCrop(searchCount, width, height, constants) {
  if (searchCount % 4 === 0) return fullFrame(width, height);
  const side = constants.searchCropShare * Math.min(width, height);
  const free = Math.max(width, height) - side;
  const position = side / 2 + (free * ((searchCount % 4) - 1)) / 2 - 0.5;
  const center = width >= height ? [position, (height - 1) / 2] : [(width - 1) / 2, position];
  return { center, side };
}

/** The crop to predict in: {center, side}, frame pixels. */
export function nextCrop(state, seconds, width, height, constants) {
  if (state.mode === "searching") return searchCrop(state.searchCount, width, height, constants);
  const ahead = clip(seconds - state.seconds, 0, constants.maxExtrapolationS);
  return { center: state.center.map((c, i) => c + state.velocity[i] * ahead), side: state.side };
}

/** Score that a person is in the crop: presence, or the mean of the best joints if it is less. */
export function personScore(presence, score, constants) {
  const best = [...score].sort((a, b) => b - a).slice(0, constants.personScoreJoints);
  return Math.min(presence, best.reduce((a, b) => a + b, 0) / best.length);
}

function extent(keypoints, counted) {
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  counted.forEach((isCounted, j) => {
    if (!isCounted) return;
    for (const axis of [0, 1]) {
      low[axis] = Math.min(low[axis], keypoints[2 * j + axis]);
      high[axis] = Math.max(high[axis], keypoints[2 * j + axis]);
    }
  });
  return [low, high];
}

/** Estimated distance from a shoulder to the opposite hip, pixels, at least 1. */
export function estimatedTorsoLength(keypoints, counted, constants) {
  const lengths = constants.torsoEstimates
    .filter(([a, b]) => counted[a] && counted[b])
    .map(([a, b, factor]) => {
      const dx = keypoints[2 * a] - keypoints[2 * b];
      const dy = keypoints[2 * a + 1] - keypoints[2 * b + 1];
      return factor * Math.hypot(dx, dy);
    });
  if (lengths.length) return Math.max(1, ...lengths);
  const [low, high] = extent(keypoints, counted);
  return Math.max(1, high[0] - low[0], high[1] - low[1]);
}

/** The square around a body, as training crops it. */
export function squareAround(keypoints, counted, torsoLength, width, height, constants) {
  const [jointsLow, jointsHigh] = extent(keypoints, counted);
  const margin = constants.bodyMargin * torsoLength;
  const bottom = constants.ankles.some((j) => counted[j])
    ? 0
    : constants.unseenLegsMargin * torsoLength;
  const edges = [width - 0.5, height - 0.5];
  const low = jointsLow.map((v, i) => clip(v - margin, -0.5, edges[i]));
  const high = jointsHigh.map((v, i) => clip(v + margin + (i ? bottom : 0), -0.5, edges[i]));
  const length = Math.max(high[0] - low[0], high[1] - low[1]);
  const frameSide = Math.max(width, height);
  const side = Math.max(constants.padding * length, constants.minCropShare * frameSide);
  return {
    center: [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2],
    side: Math.min(side, constants.padding * frameSide),
  };
}

/** The state with all its times moved back so far that none is later than `seconds`. */
function movedBack(state, seconds) {
  if (state.mode === "searching") return state;
  const last = Math.max(state.seconds, state.lowSince ?? state.seconds);
  const shift = Math.min(seconds - last, 0);
  if (shift === 0) return state;
  const { smoothed } = state;
  return {
    ...state,
    seconds: state.seconds + shift,
    lowSince: state.lowSince === null ? null : state.lowSince + shift,
    smoothed: smoothed && { ...smoothed, seconds: smoothed.seconds + shift },
  };
}

/** The state after a prediction in the crop of `nextCrop`; a pure function. */
export function update(before, keypoints, score, presence, seconds, width, height, constants) {
  const state = movedBack(before, seconds);
  const counted = Array.from(score, (s) => s >= constants.cropJointThreshold);
  const isTracking = state.mode === "tracking";
  const threshold = isTracking ? constants.keepThreshold : constants.acquireThreshold;
  if (personScore(presence, score, constants) < threshold || !counted.includes(true)) {
    if (!isTracking) return { ...INITIAL_STATE, searchCount: state.searchCount + 1 };
    const lowSince = state.lowSince ?? seconds;
    if (seconds - lowSince >= constants.lostAfterS) return INITIAL_STATE;
    return { ...state, lowSince };
  }
  let torsoLength = estimatedTorsoLength(keypoints, counted, constants);
  let { center, side } = squareAround(keypoints, counted, torsoLength, width, height, constants);
  if (state.mode === "searching") {
    const { searchCount } = state;
    const found = { mode: "confirming", center, side, velocity: [0, 0], torsoLength, seconds };
    return { ...INITIAL_STATE, ...found, searchCount };
  }
  const elapsed = seconds - state.seconds;
  let velocity = state.velocity;
  if (elapsed > 0 && isTracking) {
    const weight = 1 - Math.exp(-elapsed / constants.velocityTimeS);
    const shrink = Math.exp(-elapsed / constants.shrinkTimeS);
    velocity = velocity.map((v, i) => v + weight * ((center[i] - state.center[i]) / elapsed - v));
    side = Math.max(side, state.side * shrink);
    torsoLength = Math.max(torsoLength, state.torsoLength * shrink);
  }
  const smoothed = smooth(state.smoothed, keypoints, seconds, constants.filter, torsoLength);
  const tracked = { mode: "tracking", center, side, velocity, torsoLength, seconds, smoothed };
  return { ...INITIAL_STATE, ...tracked };
}
