"""The models that are given away: trained on real people and on MiniDome's, from random weights (model card)."""

import dataclasses
import functools
import os
from pathlib import Path

from posekit import training
from posekit.experiments import label_noise, scorecard, work
from posekit.inference import evaluation, predictor
from posekit.inputs import Augmentation
from posekit.minidome.sequence import make_sequence

SIDE = 160
"""Of the crops in pixels: LSPET's photos hold no more."""
CAMERA = Augmentation(
    rotation=30, scale=0.4, shift=0.1, colour=0.3, half_body=0.1, erase=0.1, camera=0.25
)
"""As a tracker and a cheap camera give them: boxes too large and too small, beside the person, half bodies, dim and blurred."""
FIRST = {"width": 24, "minutes": 60}
CLOSER = dataclasses.replace(CAMERA, half_body=0.3)
"""More of upper bodies alone, as a webcam shows them: the first generation was weak in their arms."""
TEACHER = {"width": 24, "minutes": 80, "visibility_weight": 0.2, "augment": CLOSER}
STUDENT = {**TEACHER, "minutes": None, "epochs": 2, "learning_rate": 1e-3}
LABELS = {"width": 24, "epochs": 2, "learning_rate": 1e-3}
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


def made_people(folder: Path, mocap: Path, rooms: Path) -> dict[str, Path]:
    """MiniDome five times: in its dome; there with real motion, before photos of rooms; at the desk, before them too, and at times away;
    showing something to a phone held upright, and to a laptop."""
    motion, before = (
        {"motion": mocap / "poses_open.npz", "step": 3},
        {"backgrounds": rooms / "images"},
    )
    sequences = {
        "dome": {"frames": 900, "cameras": 2, "seed": 1},
        "moving": {"frames": 900, "cameras": 2, "seed": 5, **before, **motion},
        "desk": {"frames": 1200, "cameras": 1, "seed": 6, "mode": "desk", "empty": 0.2, **before},
        "phone": {
            "frames": 2000,
            "cameras": 1,
            "seed": 8,
            "mode": "phone",
            "size": (480, 640),
            **before,
        },
        "laptop": {
            "frames": 2000,
            "cameras": 1,
            "seed": 9,
            "mode": "phone",
            "size": (640, 480),
            **before,
        },
    }
    for name, options in sequences.items():
        if not (folder / name).is_dir():
            make_sequence(folder / name, **options)
    return {name: folder / name for name in sequences}


def swapped_labels(folder: Path) -> Path:
    """The table of `label_noise.find`: LSPET's people whose sides the first generation believes to be exchanged."""
    table = folder / "swaps.csv"
    if not table.is_file():
        label_noise.find(predictor.load(first(folder)["first"]), athletes(folder)[0], table)
    return table


def athletes(folder: Path, swaps: Path | None = None) -> list[Path]:
    """Records of LSPET and, twice, of LSP, with the joints' box and with the full photo; LSPET's labels mended by the table `swaps`."""
    mend = functools.partial(label_noise.mended, table=swaps) if swaps else None
    lsp, lspet = work.photos("lsp", "lspet")
    wanted = [
        (name, source, box)
        for name, source in (("lspet", lspet), ("lsp", lsp))
        for box in ("joints", "image")
    ]
    made = [
        work.people_records(
            folder, name, source, "train", box, mend if name == "lspet" else None, box_px=SIDE
        )
        for name, source, box in wanted
    ]
    return made + made[2:]


def training_records(folder: Path, swaps: Path | None = None) -> list[Path]:
    """Records of everybody who is trained on, small sets more than once: a training draws from folders by their size.

    Args:
        folder: for the records.
        swaps: None for the first generation; for the later ones the table by which LSPET's labels are mended. The first was weak with
            people who hold up a hand before a phone, and took many a room for a person: the later ones see more of both.
    """
    coco, gray, extra, rooms, mocap = work.photos(
        "coco", "coco_gray", "coco_extra", "negatives", "mocap"
    )
    made, often, real = made_people(folder, mocap, rooms), 3 if swaps else 1, (coco, gray, extra)
    wanted = [  # data set, folder, box, times
        *(("coco", photos, "annotation", 6 if swaps else 4) for photos in real),
        *(("minidome", made[name], "annotation", 1) for name in ("dome", "moving", "desk")),
        ("minidome", made["desk"], "image", 1),
        ("nobody", rooms, "image", 5 * often),
        *(("nobody", photos, "annotation", 3 * often) for photos in real),
        ("nobody", made["desk"], "annotation", often),
    ]
    if swaps:
        wanted += [
            ("minidome", made[name], "annotation", 1) for name in ("desk", "phone", "laptop")
        ]
        wanted += [("minidome", made[name], "image", 2) for name in ("phone", "laptop")]
    return athletes(folder, swaps) + [
        out
        for name, source, box, times in wanted
        for out in [work.people_records(folder, name, source, "train", box, box_px=SIDE)] * times
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
    return {
        key: work.people_records(folder, *what[:2], "val", what[2], box_px=SIDE)
        for key, what in wanted.items()
    }


def first(folder: Path) -> dict[str, Path]:
    """The first generation, from random weights."""
    return {"first": _generation(folder, "first", training_records(folder), FIRST)}


def teacher(folder: Path) -> dict[str, Path]:
    """The second generation, `posekit.load("stage1-teacher")`: begins with the first's weights and learns on, from labels that the first
    has mended and with the people whom the first knew least."""
    people = training_records(folder, swapped_labels(folder))
    return {
        "teacher": _generation(
            folder, "teacher", people, TEACHER, start_from=first(folder)["first"]
        )
    }


def student(folder: Path) -> dict[str, Path]:
    """The third generation, `posekit.load("stage1-student")`: a network of the teacher's size that begins with its weights and learns from
    its answers and from the labels.

    Two processor cores cannot train a network that would be too slow for a webcam; so there is no larger one to learn from.

    Source:
        Furlanello et al., "Born-again neural networks", ICML 2018.
    """
    return {"student": _pupil(folder, "student", taught=True)}


def lessons(folder: Path) -> dict[str, Path]:
    """What the teacher's answers gain the student: its training once more, from the labels alone."""
    runs = {**student(folder), "untaught": _pupil(folder, "untaught", taught=False)}
    models = (predictor.load(runs[name]) for name in ("student", "untaught"))
    work.note(
        runs["untaught"], gain_of_the_taught=scorecard.gain(*models, validation_records(folder))
    )
    return runs


def labels(folder: Path) -> dict[str, Path]:
    """What the mended labels gain: the first generation learns on from the athletes alone, with LSPET's labels as published and mended."""
    table, val, start_from = (
        swapped_labels(folder),
        validation_records(folder),
        first(folder)["first"],
    )
    runs = {}
    for name, swaps in (("published", None), ("mended", table)):
        people, recipe = athletes(folder, swaps), {**COMMON, **LABELS, "start_from": start_from}
        runs[name] = work.train(folder, f"labels-{name}", people, val["lsp"], **recipe)
        work.note(runs[name], swapped_labels=label_noise.count(table))
        work.rescore(runs[name], {"val": val["lsp"], "val_joints_box": val["lsp_joints_box"]})
    models = (predictor.load(runs[name]) for name in ("mended", "published"))
    work.note(runs["mended"], gain_of_the_mended=scorecard.gain(*models, val))
    return runs


def _pupil(folder: Path, name: str, taught: bool) -> Path:
    """A run of the third generation, with its teacher's answers or without."""
    people, known = training_records(folder, swapped_labels(folder)), teacher(folder)["teacher"]
    return _generation(
        folder, name, people, STUDENT, start_from=known, teacher=known if taught else None
    )


def _generation(
    folder: Path, name: str, people: list[Path], recipe: dict, **parents: Path | None
) -> Path:
    val = validation_records(folder)
    run = work.train(folder, name, people, val["lsp"], **{**COMMON, **recipe, **parents})
    if (folder / "swaps.csv").is_file() and name != "first":
        work.note(run, swapped_labels=label_noise.count(folder / "swaps.csv"))
    _examine(run, val)
    return run


def _examine(run: Path, val: dict[str, Path]) -> None:
    """Round the weights to float16, fit what the score means, and fill in the model card; once."""
    model = predictor.load(run)
    if "card" in model.record:
        return
    training.pack(run)
    model = predictor.load(run)
    seen = [evaluation.predict_records(model, val[key], flip=False) for key in ("lsp", "coco")]
    model.record["calibration"] = scorecard.calibrate(seen)
    work.note(run, calibration=model.record["calibration"], terms=TERMS)
    work.rescore(
        run, {"val": val["lsp"], "val_joints_box": val["lsp_joints_box"], "val_coco": val["coco"]}
    )
    work.note(run, card=scorecard.card(model, val, Path(os.environ["POSEKIT_DATA"])))
