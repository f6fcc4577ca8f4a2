"""The released models: trained on real people and on MiniDome, from random weights (model card)."""

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
"""Side of the crops in pixels: LSPET's photos hold no more."""
AUGMENT = Augmentation(
    rotation=30, scale=0.4, shift=0.1, colour=0.3, half_body=0.1, erase=0.1, camera=0.25
)
"""Crops as a tracker and a cheap camera give them: too large, too small, off centre, dim,
blurred."""
AUGMENT_UPPER_BODY = dataclasses.replace(AUGMENT, half_body=0.3)
"""More upper bodies alone, as a webcam shows them: the first generation was weak in their arms."""
TERMS = (
    "Research and teaching only: trained on LSP Extended, which states no licence, LSP, COCO "
    "photos and real motion; see the model card."
)
COMMON = {
    "input_size": SIDE,
    "input_downsample": 1,
    "loss": "laplace",
    "ema_momentum": 0.999,
    "visibility_weight": 0.05,
    "num_joints": 19,
    "augment": AUGMENT,
}
GENERATION1 = {"base_channels": 24, "minutes": 60}
GENERATION2 = {
    "base_channels": 24,
    "minutes": 80,
    "visibility_weight": 0.2,
    "augment": AUGMENT_UPPER_BODY,
}
GENERATION3 = {**GENERATION2, "minutes": None, "epochs": 2, "learning_rate": 1e-3}
RELABELING = {"base_channels": 24, "epochs": 2, "learning_rate": 1e-3}


# ---- data ---------------------------------------------------------------------------------------


def synthetic_sequences(folder: Path, mocap: Path, rooms: Path) -> dict[str, Path]:
    """Generate five MiniDome sequences, unless they are there.

    Args:
        folder: for the sequences.
        mocap: holds `poses_open.npz`, real motion.
        rooms: holds `images/`, photos of rooms as backgrounds.

    Returns:
        Name -> folder: `dome`; `moving`, with real motion; `desk`, at times without a person;
        `phone` and `laptop`, people who show something to an upright phone and to a laptop. All but
        the first have photos as backgrounds.
    """
    backgrounds = {"backgrounds": rooms / "images"}
    phone = {"frames": 2000, "cameras": 1, "mode": "phone", **backgrounds}
    sequences = {
        "dome": {"frames": 900, "cameras": 2, "seed": 1},
        "moving": {
            "frames": 900,
            "cameras": 2,
            "seed": 5,
            "motion": mocap / "poses_open.npz",
            "step": 3,
            **backgrounds,
        },
        "desk": {
            "frames": 1200,
            "cameras": 1,
            "seed": 6,
            "mode": "desk",
            "empty": 0.2,
            **backgrounds,
        },
        "phone": {**phone, "seed": 8, "size": (480, 640)},
        "laptop": {**phone, "seed": 9, "size": (640, 480)},
    }
    for name, options in sequences.items():
        if not (folder / name).is_dir():
            make_sequence(folder / name, **options)
    return {name: folder / name for name in sequences}


def suspected_swaps(folder: Path) -> Path:
    """Return the table of LSPET's people whose sides the first generation takes for exchanged."""
    table = folder / "swaps.csv"
    if not table.is_file():
        model = predictor.load(generation1(folder)["first"])
        label_noise.find(model, lsp_records(folder)[0], table)
    return table


def lsp_records(folder: Path, swaps: Path | None = None) -> list[Path]:
    """Write the training records of LSPET and LSP, with the joints' box and with the full photo.

    Args:
        folder: for the records.
        swaps: table of `label_noise.find`, by which LSPET's labels are corrected.

    Returns:
        Record folders; those of LSP, the smaller set, twice.
    """
    correct = functools.partial(label_noise.corrected, table=swaps) if swaps else None
    lsp, lspet = common.photos("lsp", "lspet")
    lspet_records = [
        common.people_records(folder, "lspet", lspet, "train", box, correct, box_px=SIDE)
        for box in ("joints", "image")
    ]
    lsp_only = [
        common.people_records(folder, "lsp", lsp, "train", box, box_px=SIDE)
        for box in ("joints", "image")
    ]
    return lspet_records + 2 * lsp_only


def training_records(folder: Path, swaps: Path | None = None) -> list[Path]:
    """Write all training records.

    Args:
        folder: for the records.
        swaps: None for the first generation; for the later ones, the table by which LSPET's labels
            are corrected. The first generation was weak with people who hold up a hand at a phone,
            and took many rooms for a person: the later ones see more of both.

    Returns:
        Record folders, small sets more than once: a training draws from folders by their size.
    """
    coco, gray, extra, rooms, mocap = common.photos(
        "coco", "coco_gray", "coco_extra", "negatives", "mocap"
    )
    sequences = synthetic_sequences(folder, mocap, rooms)
    real = (coco, gray, extra)
    later = swaps is not None
    background_times = 3 if later else 1
    wanted = []  # data set, folder, box, times
    wanted += [("coco", photos, "annotation", 6 if later else 4) for photos in real]
    wanted += [
        ("minidome", sequences[name], "annotation", 1) for name in ("dome", "moving", "desk")
    ]
    wanted += [("minidome", sequences["desk"], "image", 1)]
    wanted += [("background", rooms, "image", 5 * background_times)]
    wanted += [("background", photos, "annotation", 3 * background_times) for photos in real]
    wanted += [("background", sequences["desk"], "annotation", background_times)]
    if later:
        wanted += [
            ("minidome", sequences[name], "annotation", 1) for name in ("desk", "phone", "laptop")
        ]
        wanted += [("minidome", sequences[name], "image", 2) for name in ("phone", "laptop")]
    folders = lsp_records(folder, swaps)
    for dataset, source, box, times in wanted:
        out = common.people_records(folder, dataset, source, "train", box, box_px=SIDE)
        folders += [out] * times
    return folders


def validation_records(folder: Path) -> dict[str, Path]:
    """Write the records on which models are compared; none of these people is trained on.

    Returns:
        `lsp` (box: the full photo), `lsp_joints_box`, `coco`, `stills` (webcam stills, full image)
        and `background` (images without a person).
    """
    lsp, coco, stills, rooms = common.photos("lsp", "coco", "webcam_stills", "negatives")
    wanted = {
        "lsp": ("lsp", lsp, "image"),
        "lsp_joints_box": ("lsp", lsp, "joints"),
        "coco": ("coco", coco, "annotation"),
        "stills": ("coco", stills, "image"),
        "background": ("background", rooms, "image"),
    }
    return {
        key: common.people_records(folder, dataset, source, "val", box, box_px=SIDE)
        for key, (dataset, source, box) in wanted.items()
    }


# ---- experiments --------------------------------------------------------------------------------


def generation1(folder: Path) -> dict[str, Path]:
    """Train the first generation, from random weights."""
    return {"first": _train_generation(folder, "first", training_records(folder), GENERATION1)}


def generation2(folder: Path) -> dict[str, Path]:
    """Train the second generation, `posekit.load("stage1-teacher")`.

    It starts from the weights of the first, with labels that the first has corrected and with more
    of the people on whom the first was weak.
    """
    people = training_records(folder, suspected_swaps(folder))
    start = generation1(folder)["first"]
    return {"teacher": _train_generation(folder, "teacher", people, GENERATION2, start_from=start)}


def generation3(folder: Path) -> dict[str, Path]:
    """Train the third generation, `posekit.load("stage1-student")`, by distillation.

    A network of the teacher's size that starts from its weights and learns from its predictions and
    from the labels. Two processor cores cannot train a network too slow for a webcam, so there is
    no larger teacher.

    Source:
        Furlanello et al., "Born-again neural networks", ICML 2018.
    """
    return {"student": _train_generation3(folder, "student", distillation=True)}


def ablate_distillation(folder: Path) -> dict[str, Path]:
    """Train the third generation also from the labels alone, and compare."""
    runs = {
        **generation3(folder),
        "without_distillation": _train_generation3(
            folder, "without_distillation", distillation=False
        ),
    }
    student = predictor.load(runs["student"])
    without = predictor.load(runs["without_distillation"])
    gain = scorecard.pck_gain(student, without, validation_records(folder))
    common.note(runs["without_distillation"], distillation_gain=gain)
    return runs


def ablate_relabeling(folder: Path) -> dict[str, Path]:
    """Train the first generation further on LSP and LSPET, with labels as published and
    corrected."""
    table = suspected_swaps(folder)
    val = validation_records(folder)
    recipe = {**COMMON, **RELABELING, "start_from": generation1(folder)["first"]}
    runs = {}
    for name, swaps in (("published", None), ("corrected", table)):
        people = lsp_records(folder, swaps)
        runs[name] = common.train(folder, f"labels-{name}", people, val["lsp"], **recipe)
        common.note(runs[name], swapped_labels=label_noise.count(table))
        common.rescore(runs[name], {"val": val["lsp"], "val_joints_box": val["lsp_joints_box"]})
    corrected = predictor.load(runs["corrected"])
    published = predictor.load(runs["published"])
    gain = scorecard.pck_gain(corrected, published, val)
    common.note(runs["corrected"], relabeling_gain=gain)
    return runs


def _train_generation3(folder: Path, name: str, distillation: bool) -> Path:
    """Train a run of the third generation, with its teacher's predictions or without."""
    people = training_records(folder, suspected_swaps(folder))
    teacher = generation2(folder)["teacher"]
    return _train_generation(
        folder,
        name,
        people,
        GENERATION3,
        start_from=teacher,
        teacher=teacher if distillation else None,
    )


def _train_generation(
    folder: Path, name: str, people: list[Path], recipe: dict, **parents: Path | None
) -> Path:
    """Train a run, calibrate it and fill in its model card."""
    val = validation_records(folder)
    run = common.train(folder, name, people, val["lsp"], **{**COMMON, **recipe, **parents})
    if (folder / "swaps.csv").is_file() and name != "first":
        common.note(run, swapped_labels=label_noise.count(folder / "swaps.csv"))
    _finish(run, val)
    return run


def _finish(run: Path, val: dict[str, Path]) -> None:
    """Round the weights to float16, calibrate the score and fill in the model card, once."""
    if "card" in predictor.load(run).record:
        return
    training.pack(run)
    model = predictor.load(run)
    results = [evaluation.predict_records(model, val[key], flip=False) for key in ("lsp", "coco")]
    common.note(run, calibration=scorecard.calibrate(results), terms=TERMS)
    common.rescore(
        run, {"val": val["lsp"], "val_joints_box": val["lsp_joints_box"], "val_coco": val["coco"]}
    )
    model = predictor.load(run)
    common.note(run, card=scorecard.card(model, val, Path(os.environ["POSEKIT_DATA"])))
