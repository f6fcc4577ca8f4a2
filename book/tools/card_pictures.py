"""Draw the figures that show the released model; needs `POSEKIT_DATA`.

    python book/tools/card_pictures.py [--model NAME]

In book/pictures, for the model card and the README:

`released.webp`: predictions on free images and on attributed frames of clips, with the threshold of
the live demo. `measured.png`, from the record of the released model: the ROC of presence, the
calibration of the score, and joints by part of the body. `live.webp`: what the live demo draws on
a clip, animated; one frame of it is the poster of the live page, posekit/live/web/poster.webp.
"""

import argparse
import io
import sys
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from skimage import data

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments import common

from posekit import viz
from posekit.errors import DataError
from posekit.files import atomic_write
from posekit.inference import predictor
from posekit.live import DEFAULT_MODEL, Tracker, server, video
from posekit.notebook import runs

OUT = Path(__file__).resolve().parents[1] / "pictures"
FRAMES = (
    ("asl_learn", 30),
    ("asl_school", 36),
    ("want", 24),
    ("walk", 40),
    ("asl_yes", 33),
    ("book", 50),
    ("asl_hungry", 24),
    ("head-pose-face-detection-female", 10),
    ("one-by-one-person-detection", 400),
    ("people-detection", 12),
    ("store-aisle-detection", 30),
)
"""Clip (Intel IoT DevKit sample-videos, CC BY 4.0) and index of the frame."""
ANIMATED = ("asl_learn", "want")
"""Clips of the animation (of the same source)."""
ANIMATION_STEP = 2
"""Every second frame is drawn: 15 per second."""
ANIMATION_SIZE = (320, 240)
POSTER = ("asl_learn", 30)
"""Clip and index of the frame on the poster."""
PANEL = (480, 360)
"""Width and height of an image in the figure, pixels."""


def tracked(
    model: predictor.Predictor, name: str, index: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow a clip as the live demo does, up to a frame.

    Returns:
        The frame, (H, W, 3) uint8 RGB; keypoints (17, 2) in its pixels and scores (17,), all 0
        where the demo draws no person.
    """
    (clips,) = common.photos("clips")
    tracker = Tracker(model)
    path = next(clips.glob(f"{name}.*"))
    for number, (frame, seconds) in enumerate(video.frames(path)):
        pose = tracker.step(frame, seconds)
        if number == index:
            joints = np.zeros((17, 2)) if pose.lost else pose.keypoints
            return frame, joints, np.zeros(17) if pose.lost else pose.score
    raise DataError(path, f"has no frame {index}", "restore the file")


def letterbox(image: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale an image and its joints into `PANEL` pixels, on white."""
    width, height = PANEL
    scale = min(width / image.shape[1], height / image.shape[0])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    panel = np.full((height, width, 3), 255, np.uint8)
    panel[top : top + size[1], left : left + size[0]] = cv2.resize(
        image, size, interpolation=cv2.INTER_AREA
    )
    return panel, (pose + 0.5) * scale - 0.5 + (left, top)


def released(model: predictor.Predictor) -> plt.Figure:
    """Draw what the live demo draws, and the astronaut with the full image as box."""
    viz.style()
    pose = model.predict(data.astronaut())
    shown = [(data.astronaut(), pose.keypoints, pose.score)]
    shown += [tracked(model, name, index) for name, index in FRAMES]
    titles = ["astronaut", *(f"{name.split('-detection')[0]} {index}" for name, index in FRAMES)]
    panels = [letterbox(image, joints) for image, joints, _ in shown]
    figure = viz.gallery(
        *zip(*panels, strict=True),
        titles,
        visible=[score >= predictor.DRAW_THRESHOLD for *_, score in shown],
        columns=3,
        side=3.1,
    )
    figure.set_layout_engine("tight", pad=0.4)
    return figure


def drawn(frame: np.ndarray, joints: np.ndarray, score: np.ndarray) -> Image.Image:
    """Draw a pose on a frame as the live demo does."""
    return Image.fromarray(viz.draw_on_image(frame, joints, score >= predictor.DRAW_THRESHOLD))


def animation(model: predictor.Predictor) -> bytes:
    """Render what the live demo draws on the clips `ANIMATED`, as an animated WebP."""
    (clips,) = common.photos("clips")
    frames = []
    for name in ANIMATED:
        tracker = Tracker(model)
        for number, (frame, seconds) in enumerate(video.frames(next(clips.glob(f"{name}.*")))):
            pose = tracker.step(frame, seconds)
            if number % ANIMATION_STEP == 0:
                score = np.zeros(17) if pose.lost else pose.score
                joints = np.zeros((17, 2)) if pose.lost else pose.keypoints
                image = drawn(frame, joints, score)
                frames.append(image.resize(ANIMATION_SIZE, Image.Resampling.LANCZOS))
    out = io.BytesIO()
    duration = round(1000 * ANIMATION_STEP / 30)
    frames[0].save(
        out,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=duration,
        loop=0,
        quality=45,
        method=6,
    )
    return out.getvalue()


def poster(model: predictor.Predictor) -> bytes:
    """Render the poster of the live page, 640 x 480 pixels."""
    out = io.BytesIO()
    drawn(*tracked(model, *POSTER)).resize((640, 480)).save(out, "WEBP", quality=75, method=6)
    return out.getvalue()


def measured() -> plt.Figure:
    """Plot ROC, calibration and PCK by part of the body, from the record."""
    viz.style()
    card = runs.read("stage1").record["runs"]["stage1"]["card"]
    figure, (roc, calibration, parts) = plt.subplots(
        1, 3, figsize=(9.6, 3.4), width_ratios=(1, 1, 1.3)
    )
    false, true = np.array([(0, 0), *card["presence"]["roc"], (1, 1)]).T
    roc.plot(false, true, color=viz.LEFT)
    roc.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        title=f"presence, area {card['presence']['auroc']:.3f}",
        aspect="equal",
    )
    score, oks, _ = np.array(card["calibration"]["bins"]).T
    calibration.plot([0, 1], [0, 1], "--", color=viz.MIDDLE, linewidth=1)
    calibration.plot(score, oks, marker="o", markersize=4, color=viz.LEFT)
    calibration.set(xlabel="score", ylabel="OKS", title="calibration of the score", aspect="equal")
    rows = {part: row for part, row in card["joints"]["webcam"].items() if row[0] is not None}
    share, low, high, _ = np.array(list(rows.values()), float).T
    parts.errorbar(
        share,
        range(len(rows)),
        xerr=(share - low, high - share),
        fmt="o",
        markersize=4,
        color=viz.LEFT,
    )
    parts.set(
        yticks=range(len(rows)),
        yticklabels=list(rows),
        xlim=(0, 1),
        xlabel="share within ¼ shoulder width, 95 % intervals",
        title="webcam photos",
    )
    parts.invert_yaxis()
    figure.tight_layout(pad=0.6)
    return figure


def webp(figure: plt.Figure) -> bytes:
    """Render a figure of photos as WebP."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    buffer.seek(0)
    out = io.BytesIO()
    Image.open(buffer).convert("RGB").save(out, "WEBP", quality=80)
    return out.getvalue()


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="name or file (default: %(default)s)"
    )
    model = predictor.load(parser.parse_args().model)
    OUT.mkdir(exist_ok=True)
    for path, content in (
        (OUT / "released.webp", webp(released(model))),
        (OUT / "measured.png", viz.png(measured())),
        (OUT / "live.webp", animation(model)),
        (server.WEB / "poster.webp", poster(model)),
    ):
        atomic_write(path, content)
        print(f"{path.name}: {len(content) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
