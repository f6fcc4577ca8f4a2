"""`book/pictures/released.png`: what the released student answers on pictures that are free to show, good answers and bad ones.

python book/tools/card_pictures.py [--model NAME]
"""

import argparse
from pathlib import Path

import numpy as np
from skimage import data

from posekit import geometry, predict, records, viz
from posekit.images import decode_image
from posekit.minidome import dataset

OUT = Path(__file__).resolve().parents[1] / "pictures" / "released.png"
SIDE = 224


def crops(count: int) -> tuple[list[np.ndarray], list[str]]:
    """The two free photos, whole, and people of MiniDome's validation set at equal distances in it."""
    photos = [data.astronaut(), np.repeat(data.camera()[..., None], 3, axis=2)]
    people = list(records.read_records(dataset().val_records))
    cut, names = [], ["astronaut", "cameraman"]
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


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="stage1-student", help="name or file (default: stage1-student)")
    model = predict.load(parser.parse_args().model)
    pictures, names = crops(12)
    sized = [geometry.warp(p, np.eye(2, 3) * model.input_size / SIDE, (model.input_size,) * 2) for p in pictures]
    out = model.predict_crops(np.stack(sized).astype(np.float32))
    poses = geometry.decode_keypoints(out["keypoints"], (SIDE, SIDE))
    titles = [f"{name} {p:.2f}" for name, p in zip(names, out["presence"], strict=True)]
    figure = viz.gallery(pictures, poses, titles, visible=out["score"] >= 0.3, columns=4)
    figure.tight_layout(pad=0.4)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(viz.png(figure))
    print(f"{OUT.name}: {OUT.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
