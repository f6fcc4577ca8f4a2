"""The models that are given away: trained on real people and on MiniDome's, from random weights (model card)."""

import dataclasses
import functools
import os
from pathlib import Path

from posekit import evaluation, predict, training
from posekit.experiments import label_noise, scorecard, work
from posekit.minidome.sequence import make_sequence
from posekit.pipeline import Augmentation

SIDE = 160
"""Of the crops in pixels: LSPET's photos hold no more."""
CAMERA = Augmentation(rotation=30, scale=0.4, shift=0.1, colour=0.3, half_body=0.1, erase=0.1, camera=0.25)
"""As a tracker and a cheap camera give them: boxes too large and too small, beside the person, half bodies, dim and blurred."""
TEACHER = {"width": 24, "minutes": 60}
CLOSER = dataclasses.replace(CAMERA, half_body=0.3)
"""More of upper bodies alone, as a webcam shows them: the teacher was weak in their arms."""
STUDENT = {"width": 24, "minutes": 30, "learning_rate": 2e-3, "visibility_weight": 0.2, "augment": CLOSER}
ROOMS = {"teacher": 1, "student": 3}
"""How often the student sees nobody, too: the teacher took many a room for a person."""
TERMS = "Research and teaching only: trained on LSP Extended, which states no licence, LSP, COCO photos and real motion; see the model card."
COMMON = {
    "input_size": SIDE,
    "pool": 1,
    "loss": "laplace",
    "average": 0.999,
    "visibility_weight": 0.05,
    "joints": 19,
    "augment": CAMERA,
}


def made_people(folder: Path, mocap: Path, rooms: Path) -> list[Path]:
    """MiniDome three times: in its dome; there with real motion, before photos of rooms; at the desk, before them too, and at times away."""
    motion = {"motion": mocap / "poses_open.npz", "step": 3}
    sequences = {
        "dome": {"frames": 900, "cameras": 2, "seed": 1},
        "moving": {"frames": 900, "cameras": 2, "seed": 5, "backgrounds": rooms / "images", **motion},
        "desk": {
            "frames": 1200,
            "cameras": 1,
            "seed": 6,
            "mode": "desk",
            "empty": 0.2,
            "backgrounds": rooms / "images",
        },
    }
    for name, options in sequences.items():
        if not (folder / name).is_dir():
            make_sequence(folder / name, **options)
    return [folder / name for name in sequences]


def training_records(folder: Path, swaps: Path | None = None, often: int = ROOMS["teacher"]) -> list[Path]:
    """Records of everybody who is trained on, small sets more than once: a training draws from folders by their size. With `swaps`, the
    table of `label_noise.find`, LSPET's labels are mended by it; pictures of nobody come `often`."""
    mend = {"lspet": functools.partial(label_noise.mended, table=swaps)} if swaps else {}
    lsp, lspet, coco, gray, extra, rooms, mocap = work.photos(
        "lsp", "lspet", "coco", "coco_gray", "coco_extra", "negatives", "mocap"
    )
    dome, moving, desk = made_people(folder, mocap, rooms)
    wanted = [  # data set, folder, box, times
        *(("lspet", lspet, box, 1) for box in ("joints", "image")),
        *(("lsp", lsp, box, 2) for box in ("joints", "image")),
        *(("coco", photos, "annotation", 4) for photos in (coco, gray, extra)),
        *(("minidome", made, "annotation", 1) for made in (dome, moving, desk)),
        ("minidome", desk, "image", 1),
        ("nobody", rooms, "image", 5 * often),
        *(("nobody", photos, "annotation", 3 * often) for photos in (coco, gray, extra)),
        ("nobody", desk, "annotation", often),
    ]
    return [
        out
        for name, source, box, times in wanted
        for out in [work.people_records(folder, name, source, "train", box, mend.get(name), box_px=SIDE)] * times
    ]


def validation_records(folder: Path) -> dict[str, Path]:
    """Records of those who choose between models; nothing of them is trained on."""
    lsp, coco, stills, rooms = work.photos("lsp", "coco", "webcam_stills", "negatives")
    wanted = {
        "lsp": ("lsp", lsp, "image"),
        "lsp_joints_box": ("lsp", lsp, "joints"),
        "coco": ("coco", coco, "annotation"),
        "stills": ("coco", stills, "image"),
        "nobody": ("nobody", rooms, "image"),
    }
    return {key: work.people_records(folder, *what[:2], "val", what[2], box_px=SIDE) for key, what in wanted.items()}


def teacher(folder: Path) -> dict[str, Path]:
    """The first generation, from random weights, `posekit.load("stage1-teacher")`."""
    people, val = training_records(folder), validation_records(folder)
    run = work.train(folder, "teacher", people, val["lsp"], **COMMON, **TEACHER)
    _examine(run, val)
    return {"teacher": run}


def student(folder: Path) -> dict[str, Path]:
    """The next generation, `posekit.load("stage1-student")`: a network of the teacher's size that begins with its weights and learns from its
    answers and from the labels, of which the teacher has mended some of LSPET's.

    Two processor cores cannot train a network that would be too slow for a webcam; so there is no larger one to learn from.

    Source:
        Furlanello et al., "Born-again neural networks", ICML 2018.
    """
    return {"student": _second(folder, "student", True, True)}


def lessons(folder: Path) -> dict[str, Path]:
    """What each of the student's advantages gains: half its time with both, without the teacher's answers, and with LSPET's labels as
    they were published, too."""
    ways = {"both": (True, True), "untaught": (False, True), "unmended": (False, False)}
    return {name: _second(folder, name, *way, minutes=STUDENT["minutes"] / 2) for name, way in ways.items()}


def _second(folder: Path, name: str, taught: bool, mended: bool, **changes: float) -> Path:
    """A run of the second generation, with its teacher's answers and with its mended labels, or without."""
    known, val, swaps = teacher(folder)["teacher"], validation_records(folder), folder / "swaps.csv"
    if not swaps.is_file():
        label_noise.find(predict.load(known), folder / "lspet-train-joints", swaps)
    people = training_records(folder, swaps if mended else None, often=ROOMS["student"])
    recipe = {**COMMON, **STUDENT, **changes}
    run = work.train(folder, name, people, val["lsp"], start_from=known, teacher=known if taught else None, **recipe)
    work.note(run, swapped_labels=label_noise.count(swaps))
    _examine(run, val)
    return run


def _examine(run: Path, val: dict[str, Path]) -> None:
    """Round the weights to float16, fit what the score means, and fill in the model card; once."""
    model = predict.load(run)
    if "card" in model.record:
        return
    training.pack(run)
    model = predict.load(run)
    seen = [evaluation.predict_records(model, val[key], flip=False) for key in ("lsp", "coco")]
    model.record["calibration"] = scorecard.calibrate(seen)
    work.note(run, calibration=model.record["calibration"], terms=TERMS)
    work.rescore(run, {"val": val["lsp"], "val_joints_box": val["lsp_joints_box"], "val_coco": val["coco"]})
    work.note(run, card=scorecard.card(model, val, Path(os.environ["POSEKIT_DATA"])))
