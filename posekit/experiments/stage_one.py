"""Stage one: six minutes, thirty minutes, the packaged model, and the collapse (chapter 06)."""

from pathlib import Path

from posekit import training
from posekit.experiments import work
from posekit.pipeline import Augmentation


GENTLE = Augmentation(rotation=15, scale=0.15, shift=0.04, colour=0.1)
"""Less variation than the default: MiniDome's people are many, and ten minutes are short."""


def minidome_6min(folder: Path) -> dict[str, Path]:
    """Six minutes of training with the defaults on 1,500 MiniDome frames, scored on 150 frames of another seed."""
    people, val = work.minidome_records(folder, 1500, 1), work.minidome_records(folder, 150, 2)
    return {"minidome-6min": work.train(folder, "minidome-6min", [people], val, minutes=6)}


def off_by_one(images: object, targets: dict) -> tuple[object, dict]:
    """The mistake of the collapse: each person gets the labels of the next, as when one photo was skipped and its label not."""
    from keras import ops

    return images, {name: ops.roll(values, 1, axis=0) for name, values in targets.items()}


def collapse(folder: Path) -> dict[str, Path]:
    """The same network, data and length twice; in the second run the labels are off by one person."""
    people, val = [work.minidome_records(folder, 400, 1)], work.minidome_records(folder, 80, 2)
    recipe = {"width": 16, "epochs": 12}
    return {
        "healthy": work.train(folder, "healthy", people, val, **recipe),
        "collapsed": work.train(folder, "collapsed", people, val, tamper=off_by_one, **recipe),
    }


def minidome_small(folder: Path) -> dict[str, Path]:
    """The small model of the package, `posekit.load("minidome")`."""
    people, val = work.minidome_records(folder, 1500, 1), work.minidome_records(folder, 150, 2)
    run = work.train(folder, "minidome", [people], val, minutes=10, loss="laplace", augment=GENTLE)
    training.pack(run)
    work.rescore(run, {"val": val})
    return {"minidome": run}


def lsp_30min(folder: Path) -> dict[str, Path]:
    """Thirty minutes on real photos: LSPET and LSP im0001-im0900, scored on im0901-im1000 with both boxes."""
    lsp, lspet = work.photos("lsp", "lspet")
    people = [
        work.people_records(folder, "lspet", lspet, "train", "joints"),
        work.people_records(folder, "lsp", lsp, "train", "joints"),
        work.people_records(folder, "lsp", lsp, "train", "image"),
    ]
    val = {box: work.people_records(folder, "lsp", lsp, "val", box) for box in ("joints", "image")}
    run = work.train(folder, "lsp-30min", people, val["image"], minutes=30)
    work.rescore(run, {"val_joints_box": val["joints"]})
    return {"lsp-30min": run}
