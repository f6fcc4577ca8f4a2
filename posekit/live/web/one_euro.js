// The One-Euro filter of posekit/live/one_euro.py in JavaScript; shared test vectors hold the two equal (chapter 12).
// Source: Casiez, Roussel, Vogel, "1 Euro Filter", CHI 2012, algorithm 1.

export const ONE_EURO = { min_cutoff: 1.0, beta: 8.0, speed_cutoff: 1.0 };

const share = (cutoff, seconds) => {
  const step = 2 * Math.PI * cutoff * seconds;
  return step / (step + 1);
};

/** Take in one flat array of numbers. `last`: what the call before returned, or null; `unit`: length of the body. */
export function smooth(last, value, seconds, how = ONE_EURO, unit = 1) {
  if (!last) return { value: [...value], speed: value.map(() => 0), seconds };
  const passed = seconds - last.seconds;
  if (passed <= 0) return last;
  const s = share(how.speed_cutoff, passed);
  const speed = value.map((v, i) => (s * (v - last.value[i])) / passed + (1 - s) * last.speed[i]);
  const smoothed = value.map((v, i) => {
    const t = share(how.min_cutoff + (how.beta * Math.abs(speed[i])) / unit, passed);
    return t * v + (1 - t) * last.value[i];
  });
  return { value: smoothed, speed, seconds };
}
