"""Stage one: six minutes, thirty minutes, the packaged model, and the mean-pose collapse (chapter
06)."""

from pathlib import Path

from experiments import common
from posekit import training
from posekit.inputs import Augmentation

GENTLE = Augmentation(rotation=15, scale=0.15, shift=0.04, colour=0.1)
"""Less augmentation than the default: MiniDome has many people, and ten minutes are short."""
WIDE = Augmentation(rotation=25, scale=0.25, shift=0.08, colour=0.3)
"""More augmentation: real photos are few."""
SIDE = 160
"""Side of the crops of real photos in pixels: finer than the network's 112 and cheaper to decode
than the default's 224."""


def minidome_6min(folder: Path) -> dict[str, Path]:
    """Train six minutes with the defaults on 1,500 MiniDome frames; score on 150 of another
    seed."""
    people = common.minidome_records(folder, 1500, 1)
    val = common.minidome_records(folder, 150, 2)
    return {"minidome-6min": common.train(folder, "minidome-6min", [people], val, minutes=6)}


def off_by_one(images: object, targets: dict) -> tuple[object, dict]:
    """Pair each image with the next one's labels, as if one image was skipped and its labels not.

    Args:
        images: a batch, unchanged.
        targets: name -> (B, ...) targets.

    Returns:
        The images and the shifted targets.
    """
    from keras import ops

    return images, {name: ops.roll(values, 1, axis=0) for name, values in targets.items()}


def collapse(folder: Path) -> dict[str, Path]:
    """Train the same network twice on the same data; in the second run the labels are off by
    one."""
    people = [common.minidome_records(folder, 400, 1)]
    val = common.minidome_records(folder, 80, 2)
    recipe = {"base_channels": 16, "epochs": 12}
    return {
        "healthy": common.train(folder, "healthy", people, val, **recipe),
        "collapsed": common.train(
            folder, "collapsed", people, val, batch_transform=off_by_one, **recipe
        ),
    }


def minidome_small(folder: Path) -> dict[str, Path]:
    """Train the small model of the package, `posekit.load("minidome")`."""
    people = common.minidome_records(folder, 1500, 1)
    val = common.minidome_records(folder, 150, 2)
    run = common.train(
        folder, "minidome", [people], val, minutes=10, loss="laplace", augment=GENTLE
    )
    training.pack(run)
    common.rescore(run, {"val": val})
    return {"minidome": run}


def lsp_30min(folder: Path) -> dict[str, Path]:
    """Train thirty minutes on real photos; score on LSP im0901-im1000 with both boxes.

    Trained on LSPET and LSP im0001-im0900. Half of the crops are of the whole photo, where people
    are 1.6 times smaller than in the box of their joints. It starts from the packaged model, which
    was trained on MiniDome alone.
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
