// Draws the skeleton of a pose on a canvas, for the page and for the widget.
// Limbs, colours and the threshold are those of core/constants.json, which Python writes.

const HALO = "#FFFFFF";
const HALO_WIDTH = 3.6;
const LIMB_WIDTH = 2;
const HALO_RADIUS = 3.4;
const JOINT_RADIUS = 2.3;

/**
 * Draw a skeleton, in the same sizes as `posekit.viz.draw_on_image`.
 *
 * context: 2D context of the canvas.
 * keypoints: flat [x0, y0, x1, y1, …], pixels of the frame that was scored, centres at integers.
 * score: of each joint, 0 … 1; a joint is drawn from `threshold` on, a limb with both its joints.
 * constants: core/constants.json.
 * scale: size of the canvas, as a multiple of the frame that was scored.
 */
export function drawSkeleton(context, keypoints, score, constants, options = {}) {
  const { threshold = constants.drawThreshold, scale = 1 } = options;
  const { width, height } = context.canvas;
  const unit = Math.max(1, Math.min(width, height) / 220);
  const isDrawn = (j) => score[j] >= threshold;
  // A canvas has its pixel centres at halves.
  const point = (j) => [(keypoints[2 * j] + 0.5) * scale, (keypoints[2 * j + 1] + 0.5) * scale];
  const limbs = constants.limbs.filter(([a, b]) => isDrawn(a) && isDrawn(b));
  context.lineCap = "round";
  for (const isHalo of [true, false]) {
    for (const [a, b, colour] of limbs) {
      context.beginPath();
      context.moveTo(...point(a));
      context.lineTo(...point(b));
      context.lineWidth = (isHalo ? HALO_WIDTH : LIMB_WIDTH) * unit;
      context.strokeStyle = isHalo ? HALO : colour;
      context.stroke();
    }
  }
  constants.jointColours.forEach((colour, j) => {
    if (!isDrawn(j)) return;
    for (const isHalo of [true, false]) {
      context.beginPath();
      context.arc(...point(j), (isHalo ? HALO_RADIUS : JOINT_RADIUS) * unit, 0, 2 * Math.PI);
      context.fillStyle = isHalo ? HALO : colour;
      context.fill();
    }
  });
}
