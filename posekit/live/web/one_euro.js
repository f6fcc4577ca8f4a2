// The One-Euro filter: posekit/live/one_euro.py in JavaScript (chapter 15).
// Source: Casiez, Roussel, Vogel, "1 Euro Filter", CHI 2012, algorithm 1.

function weightOf(cutoff, elapsed) {
  const step = 2 * Math.PI * cutoff * elapsed;
  return step / (step + 1);
}

/**
 * Filter one flat array of numbers; a pure function.
 * state: as returned for the last value, or null. params: {minCutoff, beta, speedCutoff}.
 */
export function smooth(state, value, seconds, params, torsoLength) {
  if (!state) return { value: [...value], speed: value.map(() => 0), seconds };
  const elapsed = seconds - state.seconds;
  if (elapsed <= 0) return state;
  const w = weightOf(params.speedCutoff, elapsed);
  const speed = value.map(
    (v, i) => (w * (v - state.value[i])) / elapsed + (1 - w) * state.speed[i],
  );
  const filtered = value.map((v, i) => {
    const cutoff = params.minCutoff + (params.beta * Math.abs(speed[i])) / torsoLength;
    const weight = weightOf(cutoff, elapsed);
    return weight * v + (1 - weight) * state.value[i];
  });
  return { value: filtered, speed, seconds };
}
