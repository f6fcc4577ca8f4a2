"""The models that are given away: trained on real people and on MiniDome's, from random weights (model card)."""

import dataclasses
import functools
import os
from pathlib import Path

from experiments import common, label_noise, scorecard
from posekit import training
from posekit.inference import evaluation, predictor
from posekit.inputs import Augmentation
from posekit.minidome.sequence import make_sequence

SIDE = 160
"""Of the crops in pixels: LSPET's photos hold no more."""
CAMERA = Augmentation(
    rotation=30, scale=0.4, shift=0.1, colour=0.3, half_body=0.1, erase=0.1, camera=0.25
)
"""As a tracker and a cheap camera give them: boxes too large and too small, beside the person, half bodies, dim and blurred."""
FIRST = {"base_channels": 24, "minutes": 60}
CLOSER = dataclasses.replace(CAMERA, half_body=0.3)
"""More of upper bodies alone, as a webcam shows them: the first generation was weak in their arms."""
TEACHER = {"base_channels": 24, "minutes": 80, "visibility_weight": 0.2, "augment": CLOSER}
STUDENT = {**TEACHER, "minutes": None, "epochs": 2, "learning_rate": 1e-3}
LABELS = {"base_channels": 24, "epochs": 2, "learning_rate": 1e-3}
TERMS = "Research and teaching only: trained on LSP Extended, which states no licence, LSP, COCO photos and real motion; see the model card."
COMMON = {
    "input_size": SIDE,
    "input_downsample": 1,
    "loss": "laplace",
    "ema_momentum": 0.999,
    "visibility_weight": 0.05,
    "num_joints": 19,
    "augment": CAMERA,
}


def synthetic_sequences(folder: Path, mocap: Path, rooms: Path) -> dict[str, Path]:
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


def suspected_swaps(folder: Path) -> Path:
    """The table of `label_noise.find`: LSPET's people whose sides the first generation believes to be exchanged."""
    table = folder / "swaps.csv"
    if not table.is_file():
        label_noise.find(
            predictor.load(generation1(folder)["first"]), lsp_records(folder)[0], table
        )
    return table


def lsp_records(folder: Path, swaps: Path | None = None) -> list[Path]:
    """Records of LSPET and, twice, of LSP, with the joints' box and with the full photo; LSPET's labels mended by the table `swaps`."""
    mend = functools.partial(label_noise.mended, table=swaps) if swaps else None
    lsp, lspet = common.photos("lsp", "lspet")
    wanted = [
        (name, source, box)
        for name, source in (("lspet", lspet), ("lsp", lsp))
        for box in ("joints", "image")
    ]
    made = [
        common.people_records(
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
    coco, gray, extra, rooms, mocap = common.photos(
        "coco", "coco_gray", "coco_extra", "negatives", "mocap"
    )
    made, often, real = (
        synthetic_sequences(folder, mocap, rooms),
        3 if swaps else 1,
        (coco, gray, extra),
    )
    wanted = [  # data set, folder, box, times
        *(("coco", photos, "annotation", 6 if swaps else 4) for photos in real),
        *(("minidome", made[name], "annotation", 1) for name in ("dome", "moving", "desk")),
        ("minidome", made["desk"], "image", 1),
        ("background", rooms, "image", 5 * often),
        *(("background", photos, "annotation", 3 * often) for photos in real),
        ("background", made["desk"], "annotation", often),
    ]
    if swaps:
        wanted += [
            ("minidome", made[name], "annotation", 1) for name in ("desk", "phone", "laptop")
        ]
        wanted += [("minidome", made[name], "image", 2) for name in ("phone", "laptop")]
    return lsp_records(folder, swaps) + [
        out
        for name, source, box, times in wanted
        for out in [common.people_records(folder, name, source, "train", box, box_px=SIDE)] * times
    ]


def validation_records(folder: Path) -> dict[str, Path]:
    """Records of those who choose between models; nothing of them is trained on."""
    lsp, coco, stills, rooms = common.photos("lsp", "coco", "webcam_stills", "negatives")
    wanted = {
        "lsp": ("lsp", lsp, "image"),
        "lsp_joints_box": ("lsp", lsp, "joints"),
        "coco": ("coco", coco, "annotation"),
        "stills": ("coco", stills, "image"),
        "background": ("background", rooms, "image"),
    }
    return {
        key: common.people_records(folder, *what[:2], "val", what[2], box_px=SIDE)
        for key, what in wanted.items()
    }


def generation1(folder: Path) -> dict[str, Path]:
    """The first generation, from random weights."""
    return {"first": _train_generation(folder, "first", training_records(folder), FIRST)}


def generation2(folder: Path) -> dict[str, Path]:
    """The second generation, `posekit.load("stage1-teacher")`: begins with the first's weights and learns on, from labels that the first
    has mended and with the people whom the first knew least."""
    people = training_records(folder, suspected_swaps(folder))
    return {
        "teacher": _train_generation(
            folder, "teacher", people, TEACHER, start_from=generation1(folder)["first"]
        )
    }


def generation3(folder: Path) -> dict[str, Path]:
    """The third generation, `posekit.load("stage1-student")`: a network of the teacher's size that begins with its weights and learns from
    its answers and from the labels.

    Two processor cores cannot train a network that would be too slow for a webcam; so there is no larger one to learn from.

    Source:
        Furlanello et al., "Born-again neural networks", ICML 2018.
    """
    return {"student": _train_generation3(folder, "student", taught=True)}


def ablate_distillation(folder: Path) -> dict[str, Path]:
    """What the teacher's answers gain the student: its training once more, from the labels alone."""
    runs = {**generation3(folder), "untaught": _train_generation3(folder, "untaught", taught=False)}
    models = (predictor.load(runs[name]) for name in ("student", "untaught"))
    common.note(
        runs["untaught"], gain_of_the_taught=scorecard.gain(*models, validation_records(folder))
    )
    return runs


def ablate_relabeling(folder: Path) -> dict[str, Path]:
    """What the mended labels gain: the first generation learns on from the lsp_records alone, with LSPET's labels as published and mended."""
    table, val, start_from = (
        suspected_swaps(folder),
        validation_records(folder),
        generation1(folder)["first"],
    )
    runs = {}
    for name, swaps in (("published", None), ("mended", table)):
        people, recipe = lsp_records(folder, swaps), {**COMMON, **LABELS, "start_from": start_from}
        runs[name] = common.train(folder, f"labels-{name}", people, val["lsp"], **recipe)
        common.note(runs[name], swapped_labels=label_noise.count(table))
        common.rescore(runs[name], {"val": val["lsp"], "val_joints_box": val["lsp_joints_box"]})
    models = (predictor.load(runs[name]) for name in ("mended", "published"))
    common.note(runs["mended"], gain_of_the_mended=scorecard.gain(*models, val))
    return runs


def _train_generation3(folder: Path, name: str, taught: bool) -> Path:
    """A run of the third generation, with its teacher's answers or without."""
    people, known = (
        training_records(folder, suspected_swaps(folder)),
        generation2(folder)["teacher"],
    )
    return _train_generation(
        folder, name, people, STUDENT, start_from=known, teacher=known if taught else None
    )


def _train_generation(
    folder: Path, name: str, people: list[Path], recipe: dict, **parents: Path | None
) -> Path:
    val = validation_records(folder)
    run = common.train(folder, name, people, val["lsp"], **{**COMMON, **recipe, **parents})
    if (folder / "swaps.csv").is_file() and name != "first":
        common.note(run, swapped_labels=label_noise.count(folder / "swaps.csv"))
    _finish(run, val)
    return run


def _finish(run: Path, val: dict[str, Path]) -> None:
    """Round the weights to float16, fit what the score means, and fill in the model card; once."""
    model = predictor.load(run)
    if "card" in model.record:
        return
    training.pack(run)
    model = predictor.load(run)
    seen = [evaluation.predict_records(model, val[key], flip=False) for key in ("lsp", "coco")]
    model.record["calibration"] = scorecard.calibrate(seen)
    common.note(run, calibration=model.record["calibration"], terms=TERMS)
    common.rescore(
        run, {"val": val["lsp"], "val_joints_box": val["lsp_joints_box"], "val_coco": val["coco"]}
    )
    common.note(run, card=scorecard.card(model, val, Path(os.environ["POSEKIT_DATA"])))
