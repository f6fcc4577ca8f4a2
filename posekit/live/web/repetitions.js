// Angles from joints, and exercises counted with hysteresis: posekit/live/repetitions.py in JavaScript, held equal by test vectors (chapter 12).

export const EXERCISES = {
  "arm raises": { corners: [[11, 5, 7], [12, 6, 8]], start: 45, goal: 110 },
  squats: { corners: [[11, 13, 15], [12, 14, 16]], start: 158, goal: 138 },
};
export const NONE_YET = Object.freeze({ done: 0, ready: false });

/** The angle at joint b between the ways to a and to c, degrees; keypoints are flat [x0, y0, x1, y1, …]. */
export function angle(keypoints, [a, b, c]) {
  const [ax, ay, cx, cy] = [a, c].flatMap((j) => [keypoints[2 * j] - keypoints[2 * b], keypoints[2 * j + 1] - keypoints[2 * b + 1]]);
  return (Math.abs(Math.atan2(ax * cy - ay * cx, ax * cx + ay * cy)) * 180) / Math.PI;
}

/** The exercise's angle in a pose: the mean of the corners whose three joints are seen; null where none is. */
export function measure(keypoints, score, exercise, least = 0.3) {
  const seen = exercise.corners.filter((corner) => corner.every((j) => score[j] >= least)).map((corner) => angle(keypoints, corner));
  return seen.length ? seen.reduce((a, b) => a + b, 0) / seen.length : null;
}

/** Take in one angle; between start and goal nothing changes, so jitter at either cannot count twice. */
export function count(before, degrees, { start, goal }) {
  if (degrees === null) return before;
  const sign = goal > start ? 1 : -1;
  if (sign * (degrees - start) <= 0) return { done: before.done, ready: true };
  if (before.ready && sign * (degrees - goal) >= 0) return { done: before.done + 1, ready: false };
  return before;
}
