"""Stage one: six minutes, thirty minutes, the packaged model, and the collapse (chapter 06)."""

from pathlib import Path

from experiments import common
from posekit import training
from posekit.inputs import Augmentation

GENTLE = Augmentation(rotation=15, scale=0.15, shift=0.04, colour=0.1)
"""Less variation than the default: MiniDome's people are many, and ten minutes are short."""
WIDE = Augmentation(rotation=25, scale=0.25, shift=0.08, colour=0.3)
"""More of it: real photos are few."""
SIDE = 160
"""Of the real crops in pixels: finer than the 112 that are left of the default's 224, and cheaper to decode."""


def minidome_6min(folder: Path) -> dict[str, Path]:
    """Six minutes of training with the defaults on 1,500 MiniDome frames, scored on 150 frames of another seed."""
    people, val = common.minidome_records(folder, 1500, 1), common.minidome_records(folder, 150, 2)
    return {"minidome-6min": common.train(folder, "minidome-6min", [people], val, minutes=6)}


def off_by_one(images: object, targets: dict) -> tuple[object, dict]:
    """The mistake of the collapse: each person gets the labels of the next, as when one photo was skipped and its label not."""
    from keras import ops

    return images, {name: ops.roll(values, 1, axis=0) for name, values in targets.items()}


def collapse(folder: Path) -> dict[str, Path]:
    """The same network, data and length twice; in the second run the labels are off by one person."""
    people, val = [common.minidome_records(folder, 400, 1)], common.minidome_records(folder, 80, 2)
    recipe = {"base_channels": 16, "epochs": 12}
    return {
        "healthy": common.train(folder, "healthy", people, val, **recipe),
        "collapsed": common.train(
            folder, "collapsed", people, val, batch_transform=off_by_one, **recipe
        ),
    }


def minidome_small(folder: Path) -> dict[str, Path]:
    """The small model of the package, `posekit.load("minidome")`."""
    people, val = common.minidome_records(folder, 1500, 1), common.minidome_records(folder, 150, 2)
    run = common.train(
        folder, "minidome", [people], val, minutes=10, loss="laplace", augment=GENTLE
    )
    training.pack(run)
    common.rescore(run, {"val": val})
    return {"minidome": run}


def lsp_30min(folder: Path) -> dict[str, Path]:
    """Thirty minutes on real photos: LSPET and LSP im0001-im0900, scored on im0901-im1000 with both boxes.

    A network is good at what it was trained on: half of its crops are of the whole photo, where people are 1.6 times smaller than in
    the box of their joints. It starts from the packaged model, which has only ever seen MiniDome.
    """
    lsp, lspet = common.photos("lsp", "lspet")
    train = [
        ("lspet", lspet, "joints"),
        ("lspet", lspet, "image"),
        ("lsp", lsp, "joints"),
        ("lsp", lsp, "image"),
    ]
    people = [
        common.people_records(folder, name, source, "train", box, box_px=SIDE)
        for name, source, box in train
    ]
    val = {
        box: common.people_records(folder, "lsp", lsp, "val", box, box_px=SIDE)
        for box in ("joints", "image")
    }
    recipe = {
        "minutes": 30,
        "input_size": SIDE,
        "input_downsample": 1,
        "loss": "laplace",
        "ema_momentum": 0.998,
        "augment": WIDE,
    }
    run = common.train(folder, "lsp-30min", people, val["image"], start_from="minidome", **recipe)
    common.rescore(run, {"val_joints_box": val["joints"]})
    return {"lsp-30min": run}
