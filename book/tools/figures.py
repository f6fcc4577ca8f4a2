"""Draw the figures of the front matter: `python book/tools/figures.py` writes
`book/assets/minidome.png`.

The people come from MiniDome, so the figure is free, and anyone can draw it again.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt

from posekit import images, minidome, viz
from posekit.datasets import coco

PICTURES = ["00_14/00_14_00000001", "00_10/00_10_00000004", "00_24/00_24_00000009"]
ROOT = Path(__file__).resolve().parents[2]


def dome_figure(sequence: Path, pictures: list[str]) -> plt.Figure:
    """Draw images of a sequence: above as the camera sees them, below with the joints."""
    annotations, folder = coco.find_minidome(sequence)
    people: dict[str, list] = {}
    for person in coco.read(annotations, folder, dataset="minidome"):
        people.setdefault(str(person.image.relative_to(folder)), []).append(person)
    fig, axes = plt.subplots(2, len(pictures), figsize=(2.7 * len(pictures), 3.15), squeeze=False)
    for column, name in enumerate(pictures):
        image = images.read_image(folder / name)
        for row in (0, 1):
            viz.draw_image(axes[row, column], image)
        for person in people[name]:
            viz.draw_pose(axes[1, column], person.keypoints, person.keypoints_visible, size=0.6)
    return fig


def main() -> int:
    """Make a small sequence, and draw three of its images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sequence", type=Path, help="a MiniDome sequence; one is made if it is left out"
    )
    parser.add_argument("--pictures", nargs="*", help="file names in it")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "assets" / "minidome.png")
    args = parser.parse_args()
    viz.style()
    with tempfile.TemporaryDirectory() as scratch:
        sequence = args.sequence
        if sequence is None:
            sequence = Path(scratch) / "dome"
            minidome.make_sequence(sequence, frames=12, cameras=2, seed=5, progress=False)
        fig = dome_figure(sequence, args.pictures or [f"hdImgs/{name}.jpg" for name in PICTURES])
        args.out.write_bytes(viz.png(fig))
    print(f"{args.out}: {args.out.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
