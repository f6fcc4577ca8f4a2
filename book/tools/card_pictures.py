"""Draw the model card's figures in book/pictures.

    python book/tools/card_pictures.py [--model NAME]

`released.png`: the student's predictions on free images. `measured.png`, from the records of
teacher and student: the ROC of presence, the calibration of the score, and PCK per joint.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

from posekit import geometry, records, viz
from posekit.images import decode_image
from posekit.inference import predictor
from posekit.minidome import dataset
from posekit.notebook import runs

OUT = Path(__file__).resolve().parents[1] / "pictures"
SIDE = 224


def crops(count: int) -> tuple[list[np.ndarray], list[str]]:
    """Return two free photos, whole, and people of MiniDome's validation set at equal distances.

    Args:
        count: number of crops.

    Returns:
        (SIDE, SIDE, 3) uint8 crops, and their titles.
    """
    photos = [data.astronaut(), np.repeat(data.camera()[..., None], 3, axis=2)]
    people = list(records.read_records(dataset().val_records))
    cut = []
    names = ["astronaut", "cameraman"]
    for photo in photos:
        box = geometry.bbox_of_image(photo.shape[1], photo.shape[0])
        affine = geometry.crop_affine(geometry.bbox_center(box), geometry.square_side(box), SIDE)
        cut.append(geometry.warp(photo, affine, (SIDE, SIDE)))
    for i in np.linspace(0, len(people) - 1, count - len(photos)).round().astype(int):
        stored = decode_image(people[i].encoded, people[i].person_id)
        middle = (stored.shape[0] - SIDE) // 2
        cut.append(stored[middle : middle + SIDE, middle : middle + SIDE])
        names.append("")
    return cut, names


def measured() -> plt.Figure:
    """Plot ROC, calibration and PCK per joint of teacher and student, from their records."""
    viz.style()
    cards = {name: runs.read(name).record["runs"][name]["card"] for name in ("teacher", "student")}
    figure, (roc, calibration, joints) = plt.subplots(
        1, 3, figsize=(9.6, 3.4), width_ratios=(1, 1, 1.3)
    )
    calibration.plot([0, 1], [0, 1], "--", color=viz.MIDDLE, linewidth=1)
    names = list(cards["student"]["coco_by_joint"])
    for (name, card), colour, shift in zip(
        cards.items(), (viz.LEFT, viz.RIGHT), (0.2, -0.2), strict=True
    ):
        false, true = np.array([(0, 0), *card["presence"]["roc"], (1, 1)]).T
        roc.plot(false, true, color=colour, label=f"{name}, area {card['presence']['auroc']:.2f}")
        score, oks, _ = np.array(card["calibration"]["bins"]).T
        calibration.plot(score, oks, marker="o", markersize=4, color=colour, label=name)
        share, low, high, _ = np.array([card["coco_by_joint"][joint] for joint in names], float).T
        row = np.arange(len(names)) + shift
        joints.errorbar(
            share,
            row,
            xerr=(share - low, high - share),
            fmt="o",
            markersize=4,
            color=colour,
            label=name,
        )
    roc.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        title="presence",
        aspect="equal",
    )
    calibration.set(xlabel="score", ylabel="OKS", title="calibration of the score", aspect="equal")
    joints.set(
        yticks=range(len(names)),
        yticklabels=[joint.replace("_", " ") for joint in names],
        xlim=(0, 1),
    )
    joints.set(xlabel="PCK@0.2 on COCO, 95 % intervals", title="PCK per joint")
    joints.invert_yaxis()
    joints.tick_params(axis="y", labelsize=8)
    for ax in (roc, calibration):
        ax.legend(loc="lower right", fontsize=8)
    figure.tight_layout(pad=0.6)
    return figure


def write(figure: plt.Figure, name: str) -> None:
    """Write a figure as a PNG to book/pictures."""
    OUT.mkdir(exist_ok=True)
    (OUT / name).write_bytes(viz.png(figure))
    print(f"{name}: {(OUT / name).stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Draw both figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="stage1-student", help="name or file (default: stage1-student)"
    )
    model = predictor.load(parser.parse_args().model)
    pictures, names = crops(12)
    sized = [
        geometry.warp(p, np.eye(2, 3) * model.input_size / SIDE, (model.input_size,) * 2)
        for p in pictures
    ]
    out = model.predict_crops(np.stack(sized).astype(np.float32))
    poses = geometry.decode_keypoints(out["keypoints"], (SIDE, SIDE))
    titles = [f"{name} {p:.2f}" for name, p in zip(names, out["presence"], strict=True)]
    figure = viz.gallery(pictures, poses, titles, visible=out["score"] >= 0.3, columns=4)
    figure.tight_layout(pad=0.4)
    write(figure, "released.png")
    write(measured(), "measured.png")


if __name__ == "__main__":
    main()
