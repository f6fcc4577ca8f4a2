// Joint angles and repetitions: posekit/live/repetitions.py in JavaScript (chapter 15).
// An exercise is a value of the key `exercises` of core/constants.json.

export const NO_REPETITIONS = Object.freeze({ done: 0, ready: false });

/** The angle at joint b between a and c, degrees; keypoints are flat [x0, y0, x1, y1, …]. */
export function angle(keypoints, [a, b, c]) {
  const vector = (j) => [0, 1].map((axis) => keypoints[2 * j + axis] - keypoints[2 * b + axis]);
  const [ax, ay] = vector(a);
  const [cx, cy] = vector(c);
  return (Math.abs(Math.atan2(ax * cy - ay * cx, ax * cx + ay * cy)) * 180) / Math.PI;
}

/** The mean angle of the exercise's corners whose joints reach the threshold; null without any. */
export function exerciseAngle(keypoints, score, exercise, threshold) {
  const seen = exercise.corners.filter((corner) => corner.every((j) => score[j] >= threshold));
  if (!seen.length) return null;
  return seen.reduce((sum, corner) => sum + angle(keypoints, corner), 0) / seen.length;
}

/** The counter after one more angle; between restAngle and targetAngle nothing changes. */
export function count(before, degrees, { restAngle, targetAngle }) {
  if (degrees === null) return before;
  const sign = targetAngle > restAngle ? 1 : -1;
  if (sign * (degrees - restAngle) <= 0) return { done: before.done, ready: true };
  if (before.ready && sign * (degrees - targetAngle) >= 0) {
    return { done: before.done + 1, ready: false };
  }
  return before;
}
