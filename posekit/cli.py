"""The command line `posekit`, or `python -m posekit` (book: setup, chapters 06, 09, 14 and 15)."""

import argparse
import contextlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from posekit import __version__, doctor, hardware
from posekit.errors import DataError
from posekit.files import local_path, lock_output

if TYPE_CHECKING:
    import numpy as np

    from posekit.inference import predictor

__all__ = ["main", "parser"]

BACKBONES = (
    *(f"resnet{depth}" for depth in (10, 18, 34, 50, 66, 98, 101)),
    *(f"resnet{depth}v2" for depth in (10, 18, 34, 50, 66, 98, 101)),
    *(f"plain{depth}" for depth in (10, 18, 34, 66, 98)),
    *(f"densenet{depth}" for depth in (43, 121, 169)),
    "deeppose_cnn",
    "deeppose_cnn_lrn",
    "efficientnet_lite0",
)
HEADS = (
    "regression",
    "linear",
    "pooled",
    "pooled_linear",
    "deeppose2014",
    "deeppose2014_dropout",
    "votes",
    "integral",
    "pyramid_votes",
)
FINE_TUNING_RATE = 5e-4
"""Default learning rate of a training that starts from trained weights."""
LOSSES = ("l2", "l1", "smooth_l1", "gaussian", "laplace", "rle")
OPTIMIZERS = ("adamw", "sgd")
INPUTS = ("auto", "tfdata", "device")
# Repeated from posekit.models, losses and training, so that the help needs no Keras; a test
# compares them, and the defaults of `train` with those of `training.Recipe`.


def _positive(kind):
    def parse(text: str):
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to below 1, got {text}")
    return value


def _path(text: str) -> Path:
    try:
        return local_path(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _model(text: str) -> str:
    """Return a model's name or path."""
    return str(_path(text))


def _box(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4 or not (box[2] > 0 and box[3] > 0) or not all(abs(v) < 1e6 for v in box):
        raise argparse.ArgumentTypeError(
            f"expected X,Y,W,H in pixels with W, H above 0, got {text!r}"
        )
    return box


class _Parser(argparse.ArgumentParser):
    """Parser that reports an error in one line instead of argparse's usage text."""

    def error(self, message: str):
        self.exit(2, f"error: {message} (help: {self.prog} --help)\n")


def program_name() -> str:
    """Return how this program was started: `posekit` or `python -m posekit`."""
    return "posekit" if Path(sys.argv[0]).stem == "posekit" else "python -m posekit"


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    top = _Parser(prog=program_name(), description="2D human pose estimation, as in the book.")
    top.add_argument("--version", action="version", version=f"posekit {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser(
        "doctor", help="report what is installed and what is missing, and how to install it"
    )
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_export(commands)
    _add_webcam(commands)
    _add_experiment(commands)
    return top


def _add_train(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "train",
        help="train a model on records",
        description="Train DeepPose (stage one) on records, and score it on others.",
    )
    data = p.add_argument_group("data")
    data.add_argument(
        "--records",
        nargs="+",
        required=True,
        type=_path,
        metavar="DIR",
        help="record folders to train on (required)",
    )
    data.add_argument(
        "--val",
        required=True,
        type=_path,
        metavar="DIR",
        help="record folder to score on (required)",
    )
    data.add_argument(
        "--out", required=True, type=_path, metavar="RUN", help="folder to write (required)"
    )
    _add_model_options(p.add_argument_group("model"))
    _add_schedule_options(p.add_argument_group("length, batches and optimizer"))
    _add_augmentation_options(p.add_argument_group("augmentation"))
    _add_run_options(p.add_argument_group("run"))


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--start-from",
        type=_model,
        metavar="RUN|NAME",
        help="start from the weights of this run, packaged model or .npz file, or from imagenet "
        "(default: random weights); the options below then default to its own",
    )
    group.add_argument(
        "--backbone",
        choices=BACKBONES,
        metavar="NAME",
        help=f"{', '.join(BACKBONES)} (default: resnet18v2)",
    )
    group.add_argument(
        "--head",
        choices=HEADS,
        metavar="NAME",
        help="regression (as DeepPose), linear (without a hidden layer), pooled, pooled_linear "
        "(the same on averaged features), deeppose2014 (two layers of 4096 units), "
        "deeppose2014_dropout, integral (soft-argmax), votes (offset voting), or pyramid_votes "
        "(offset voting on a feature pyramid; efficientnet_lite0 only; default: votes)",
    )
    group.add_argument(
        "--loss",
        choices=LOSSES,
        metavar="NAME",
        help=f"{', '.join(LOSSES)}; the last three also learn sigma (chapter 12; default: l1)",
    )
    group.add_argument(
        "--joints",
        type=int,
        choices=(17, 19),
        metavar="N",
        help="17, or 19 to learn neck and head top, too, where records have them (LSP) "
        "(default: 17)",
    )
    group.add_argument(
        "--width",
        type=_positive(int),
        metavar="CHANNELS",
        help="channels of the backbone's first stage (default: 16)",
    )
    group.add_argument(
        "--input-size",
        type=_positive(int),
        metavar="PIXELS",
        help="side of the input (default: 224)",
    )
    group.add_argument(
        "--freeze",
        type=int,
        default=0,
        metavar="STAGES",
        help="do not train the stem and this many first stages of an efficientnet (default: "
        "%(default)s)",
    )


def _add_schedule_options(group: argparse._ArgumentGroup) -> None:
    length = group.add_mutually_exclusive_group(required=True)
    length.add_argument(
        "--epochs",
        type=_positive(int),
        metavar="N",
        help="passes over the data; repeatable with --seed (this or --minutes is required)",
    )
    length.add_argument(
        "--minutes",
        type=_positive(float),
        metavar="N",
        help="wall-clock time; not repeatable (this or --epochs is required)",
    )
    group.add_argument(
        "--batch-size",
        type=_positive(int),
        default=32,
        metavar="N",
        help="people per step (default: %(default)s)",
    )
    group.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        default="adamw",
        metavar="NAME",
        help="adamw, or sgd (Nesterov momentum 0.9) (default: %(default)s)",
    )
    group.add_argument(
        "--learning-rate",
        type=_positive(float),
        metavar="RATE",
        help="peak of the warm-up-cosine schedule; sgd needs about 30 times as much (default: "
        f"0.003, or {FINE_TUNING_RATE} with --start-from)",
    )
    group.add_argument(
        "--clip",
        type=_positive(float),
        default=0.0,
        metavar="NORM",
        help="largest norm of the gradient (default: not clipped)",
    )
    group.add_argument(
        "--average",
        type=_share,
        default=0.0,
        metavar="MOMENTUM",
        help="exponential moving average of the weights (EMA); 0.998 averages about 500 steps "
        "(default: none)",
    )


def _add_augmentation_options(group: argparse._ArgumentGroup) -> None:
    for option, what in (
        ("--half-body", "cropped to the upper or lower half of the body"),
        ("--erase", "with a rectangle of noise (random erasing)"),
        ("--camera", "degraded as by a cheap camera: dark, blurred, noisy, compressed"),
    ):
        group.add_argument(
            option,
            type=_share,
            default=0.0,
            metavar="SHARE",
            help=f"fraction of images, 0 to 1, {what} (default: %(default)s)",
        )


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--input",
        choices=INPUTS,
        default="auto",
        metavar="PIPELINE",
        help="tfdata (tf.data), device (images in the accelerator's memory, no TensorFlow), or "
        "auto (chapter 06; default: %(default)s)",
    )
    group.add_argument(
        "--devices",
        type=_positive(int),
        default=0,
        metavar="N",
        help="number of devices that share each batch (default: all GPUs on JAX, else one)",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="seed of weights, order and augmentation (default: %(default)s)",
    )
    group.add_argument(
        "--resume", action="store_true", help="continue an interrupted run, if --out has one"
    )
    group.add_argument(
        "--checkpoint",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="least time between checkpoints (default: %(default)s)",
    )
    group.add_argument(
        "--tensorboard",
        type=_path,
        metavar="DIR",
        help="folder for TensorBoard's curves (default: none)",
    )


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "evaluate",
        help="score a model on records, or a model or results file on COCO annotations",
        description="Three ways: --model and --records; --coco and --results (of any model, in "
        "COCO's results format); --coco, --images and --model, which uses the annotated boxes and "
        "writes --results if it is given.",
    )
    p.add_argument(
        "--model",
        type=_model,
        metavar="RUN|NAME",
        help="a training run, an .onnx file, or a packaged model",
    )
    target = p.add_mutually_exclusive_group(required=True)
    target.add_argument("--records", type=_path, metavar="DIR", help="PCP, PCK, visibility")
    target.add_argument(
        "--coco", type=_path, metavar="ANNOTATIONS", help="AP and AR, COCO's ten numbers"
    )
    p.add_argument(
        "--results",
        type=_path,
        metavar="FILE",
        help="with --coco: the file to score, or with --model to write",
    )
    p.add_argument(
        "--images", type=_path, metavar="DIR", help="with --coco and --model: the images' folder"
    )
    p.add_argument(
        "--jitter",
        type=_positive(float),
        default=0.0,
        metavar="SHARE",
        help="with --records: displace boxes by this fraction of their side (default: %(default)s)",
    )
    p.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="average with the prediction on the mirrored crop (default: --flip)",
    )
    p.add_argument("--json", action="store_true", help="print one JSON object")


def _add_predict(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("predict", help="predict the pose in images")
    p.add_argument(
        "--model",
        required=True,
        type=_model,
        metavar="RUN|NAME",
        help="a training run, an .onnx file, or a packaged model: stage1 or minidome (required)",
    )
    p.add_argument(
        "images", nargs="+", type=_path, metavar="IMAGE", help="a photo with one person to be found"
    )
    p.add_argument(
        "--box",
        type=_box,
        metavar="X,Y,W,H",
        help="box around the person, pixels; --box=-5,… for X below 0 (default: the full image)",
    )
    p.add_argument("--json", action="store_true", help="print a JSON list, one object per image")
    p.add_argument("--draw", type=_path, metavar="DIR", help="write the images with the pose drawn")


def _add_export(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "export", help="write a run as one ONNX file, compared with Keras (chapter 14)"
    )
    p.add_argument(
        "--model",
        required=True,
        type=_model,
        metavar="RUN|NAME",
        help="a training run (required)",
    )
    target = p.add_mutually_exclusive_group(required=True)
    target.add_argument("out", nargs="?", type=_path, metavar="OUT.onnx", help="file to write")
    target.add_argument(
        "--package",
        metavar="NAME",
        help="write it to the package's weights under this name instead, and list it there",
    )


def _add_webcam(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "webcam", help="show your own pose in a browser, or process a video or camera without one"
    )
    p.add_argument(
        "--source",
        metavar="FILE|0",
        help="a video file, a camera's number, or an address (http, https, rtsp), without a "
        "browser (default: the page)",
    )
    p.add_argument(
        "--model",
        type=_model,
        metavar="NAME|FILE",
        help="name or file of the model; the page needs an .onnx file (default: stage1)",
    )
    p.add_argument(
        "--json", action="store_true", help="with --source: print the result as one JSON object"
    )
    p.add_argument(
        "--out",
        type=_path,
        metavar="FILE.mp4",
        help="with --source: write a video of the frames with the skeleton: mp4, mov, mkv, avi or "
        "webm (default: none)",
    )
    p.add_argument("--no-browser", action="store_true", help="only print the address of the page")


def _add_experiment(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser(
        "experiment", help="run a recorded experiment of the book (needs its checkout)"
    )
    p.add_argument("name", help="its name; `list` prints them all")
    p.add_argument(
        "--out", type=_path, metavar="DIR", help="where to write (default: book/runs/NAME)"
    )
    p.add_argument(
        "--keep",
        type=_path,
        metavar="DIR",
        help="folder for records and models; complete ones found there are used again",
    )


# Option of `train` -> field of `training.Recipe`, and of `inputs.Augmentation`.
RECIPE_FIELDS = {
    "backbone": "backbone",
    "head": "head",
    "loss": "loss",
    "joints": "num_joints",
    "width": "base_channels",
    "input_size": "input_size",
    "epochs": "epochs",
    "minutes": "minutes",
    "batch_size": "batch_size",
    "optimizer": "optimizer",
    "learning_rate": "learning_rate",
    "clip": "clip_norm",
    "average": "ema_momentum",
    "input": "input_pipeline",
    "devices": "devices",
    "seed": "seed",
    "freeze": "frozen_stages",
}
AUGMENT_FIELDS = {"half_body": "half_body", "erase": "erase", "camera": "camera"}


def train(args: argparse.Namespace) -> int:
    """Train and print the validation scores."""
    _refuse_if_locked(args.out)  # at once: to load Keras takes seconds
    hardware.load_keras()
    from posekit import inputs, training

    augment = {field: getattr(args, option) for option, field in AUGMENT_FIELDS.items()}
    given = {field: getattr(args, option) for option, field in RECIPE_FIELDS.items()}
    recipe = {field: value for field, value in given.items() if value is not None}
    if args.start_from:
        recipe = {
            "learning_rate": FINE_TUNING_RATE,
            **training.architecture(args.start_from),
            **recipe,
        }
    record = training.train(
        args.records,
        args.val,
        training.Recipe(augment=inputs.Augmentation(**augment), **recipe),
        args.out,
        start_from=args.start_from,
        resume=args.resume,
        checkpoint_seconds=args.checkpoint,
        tensorboard=args.tensorboard,
    )
    print(f"{args.out}: {record['images']} images in {record['seconds']:.0f} s")
    _print_scores(record["val"])
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Score a model or a results file and print a table or JSON."""
    if args.coco:
        return _evaluate_coco(args)
    for name in ("images", "results"):
        if getattr(args, name):
            raise DataError(
                f"--{name}", "goes with --coco", "leave it out, or give --coco ANNOTATIONS"
            )
    if not args.model:
        raise DataError("--records", "needs a model", "add --model RUN|NAME")
    from posekit import records

    records.read_manifest(args.records)
    hardware.load_keras()
    from posekit.inference import evaluation, predictor

    scores = evaluation.evaluate(
        predictor.load(args.model), args.records, flip=args.flip, jitter=args.jitter
    )
    scores = evaluation.jsonable(scores)
    if args.json:
        print(json.dumps(scores))
    else:
        _print_scores(scores)
    return 0


def _evaluate_coco(args: argparse.Namespace) -> int:
    from posekit import metrics

    if args.jitter:
        raise DataError("--jitter", "goes with --records", "leave it out, or give --records DIR")
    if args.model and not args.images:
        raise DataError("--model", "needs the photos", "add --images DIR")
    if not args.model and (args.images or not args.results):
        raise DataError(
            "--coco", "needs --results FILE, or --images DIR and --model RUN|NAME", "see --help"
        )
    results = args.results
    filtered: Counter = Counter()
    notes: list[str] = []
    if args.model:
        metrics.coco.checked_annotations(args.coco, notes=notes)
        hardware.load_keras()
        from posekit.inference import evaluation, predictor

        results = evaluation.coco_results(
            predictor.load(args.model), args.coco, args.images, flip=args.flip
        )
        if args.results:
            _write_files(args.results.parent, {args.results: json.dumps(results).encode()})
    scores = metrics.coco_scores(args.coco, results, filtered, notes)
    for note in dict.fromkeys(notes):
        print(f"note: {note}", file=sys.stderr)
    if filtered:
        counts = ", ".join(f"{count} {reason}" for reason, count in filtered.items())
        print(f"left out: {counts}", file=sys.stderr)
    if args.json:
        print(
            json.dumps({name: None if value != value else value for name, value in scores.items()})
        )
    else:
        print("\n".join(f"{name:5s}{value:8.3f}" for name, value in scores.items()))
    return 0


def _print_scores(scores: dict) -> None:
    """Print scores and those of the mean pose, with their intervals."""
    flip = "yes" if scores["flip"] else "no"
    print(f"{scores['n']} people, box: {scores['box']}, flip test: {flip}")
    print(f"{'':22s}{'model':>8s}{'mean pose':>11s}   95 % of resampled people")
    mean_pose = scores["mean_pose"]
    intervals = scores["intervals"]
    for limb, value in scores["pcp"].items():
        interval = intervals["pcp"] if limb == "mean" else None
        _print_row(f"strict PCP {limb}", value, mean_pose["pcp"][limb], interval)
    for label, key in (
        ("PCK@0.2 (torso)", "pck@0.2"),
        ("OKS", "oks"),
        ("1 - sigma with OKS", "confidence_oks"),
        ("visibility accuracy", "visibility_accuracy"),
        ("visibility AUROC", "visibility_auroc"),
        ("collapse ratio", "collapse_ratio"),
    ):
        if key == "confidence_oks" and scores[key] is None:  # a model without sigma
            continue
        _print_row(label, scores[key], mean_pose[key], intervals.get(key))


def _print_row(
    label: str, model: float | None, mean_pose: float | None, interval: list | None
) -> None:
    text = f"{label:22s}{_number(model):8.3f}{_number(mean_pose):11.3f}"
    if interval:
        low, high = interval
        text += f"   {_number(low):.3f} … {_number(high):.3f}"
    print(text)


def _number(value: float | None) -> float:
    """Return NaN for None, which represents it in JSON."""
    return float("nan") if value is None else value


def predict(args: argparse.Namespace) -> int:
    """Print the poses in images, rotated as viewers show them, and draw them."""
    from posekit.images import read_image
    from posekit.inference import predictor

    # All are checked before anything is written, and none is kept: they are large.
    for path in args.images:
        height, width = read_image(path, as_displayed=True).shape[:2]
        if args.box:
            predictor.check_box(args.box, width, height, path)
    targets = _drawing_targets(args.images, args.draw) if args.draw else {}
    if predictor.locate(args.model).suffix == ".keras":
        hardware.load_keras()
    loaded = predictor.load(args.model)
    results = []
    drawn = {}
    for path in args.images:
        image = read_image(path, as_displayed=True)
        pose = loaded.predict(image, args.box, flip=True)
        results.append(_pose_as_json(path, pose))
        if args.draw:
            drawn[targets[path]] = _draw(image, pose)
    if drawn:
        _write_files(args.draw, drawn)
    if args.json:
        print(json.dumps(results))
        return 0
    _print_poses(results)
    for target in drawn:
        print(f"drawn: {target}")
    return 0


def _drawing_targets(images: list[Path], folder: Path) -> dict[Path, Path]:
    """Return image -> file to draw it into; refuse two images that would share a file."""
    targets = {}
    for path in images:
        target = folder / f"{path.stem}.pose.jpg"
        if target in targets.values():
            raise DataError(
                target,
                "two images would be drawn into it",
                "draw them in two runs, into two folders",
            )
        targets[path] = target
    return targets


def _pose_as_json(path: Path, pose: "predictor.Prediction") -> dict:
    return {
        "image": str(path),
        "box": [round(float(v), 2) for v in pose.bbox],
        "keypoints": [[round(float(v), 2) for v in xy] for xy in pose.keypoints],
        "visibility": [round(float(v), 4) for v in pose.visibility],
        "score": [round(float(v), 4) for v in pose.score],
        "presence": round(pose.presence, 4),
    }


def _draw(image: "np.ndarray", pose: "predictor.Prediction") -> bytes:
    """Return the image as JPEG with the joints drawn whose score reaches `DRAW_THRESHOLD`."""
    from posekit import viz
    from posekit.images import encode_jpeg
    from posekit.inference.predictor import DRAW_THRESHOLD

    shown = viz.draw_on_image(image, pose.keypoints, pose.score >= DRAW_THRESHOLD)
    return encode_jpeg(shown)


def _print_poses(results: list[dict]) -> None:
    from posekit.live.tracking import Settings
    from posekit.skeleton import COCO17

    threshold = Settings().acquire_threshold
    for result in results:
        doubt = "" if result["presence"] >= threshold else ", probably no person"
        print(f"{result['image']}: presence {result['presence']:.2f}{doubt}")
        print(f"  {'joint':15s} {'x':>8s} {'y':>8s}   score")
        rows = zip(COCO17.joints, result["keypoints"], result["score"], strict=True)
        for joint, (x, y), score in rows:
            print(f"  {joint:15s} {x:8.1f} {y:8.1f}   {score:.2f}")


def export(args: argparse.Namespace) -> int:
    """Write a run as an ONNX file and print how far it is from Keras."""
    from posekit.inference import predictor

    if args.out:
        _refuse_if_locked(args.out)
    hardware.check_backend()
    if predictor.locate(args.model).suffix == ".onnx":
        raise DataError(args.model, "is an exported model", "give the run that it was made of")
    hardware.load_keras()
    from posekit.inference import export as exporter

    facts = (
        exporter.package(args.model, args.package)
        if args.package
        else exporter.export(args.model, args.out)
    )
    off = ", ".join(f"{name} {error:.1e}" for name, error in facts["errors"].items())
    print(f"{args.package or args.out}: {facts['bytes'] / 1e6:.2f} MB, sha256 {facts['sha256']}")
    print(f"largest difference to Keras, as a fraction of the largest value: {off}")
    return 0


def _refuse_if_locked(out: Path) -> None:
    """Raise a DataError if another process is writing `out`."""
    with contextlib.suppress(OSError), lock_output(out):  # what cannot be written is told later
        pass


def _write_files(folder: Path, files: dict[Path, bytes]) -> None:
    """Write all files, each atomically."""
    from posekit.files import atomic_write

    try:
        for target, data in files.items():
            with lock_output(target):
                atomic_write(target, data)
    except OSError as error:
        raise DataError(
            folder, f"cannot write there: {error.strerror}", "choose another folder"
        ) from None


def webcam(args: argparse.Namespace) -> int:
    """Run the live demo, or a camera or video without a window."""
    from posekit.live import server

    return server.webcam(args)


def experiment(args: argparse.Namespace) -> int:
    """Run a recorded experiment, or list them."""
    for folder in (args.out, args.keep):
        if folder:
            _refuse_if_locked(folder)
    hardware.check_backend()
    from posekit.notebook import runs

    experiments = runs.experiments()
    if args.name == "list":
        for name, entry in sorted(experiments.EXPERIMENTS.items()):
            print(f"{name:20s} {entry.about}")
        return 0
    begin = time.monotonic()
    folder = experiments.run(args.name, args.out, args.keep)
    print(f"{folder} written after {time.monotonic() - begin:.0f} s")
    return 0


COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "webcam": webcam,
    "experiment": experiment,
}


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; None for those of the process.

    Returns:
        The exit code: 0, 1 for `doctor` with problems, 2 for bad input or a missing package, 130
        for Ctrl-C.
    """
    top = parser()
    args = top.parse_args(argv)
    if args.command is None:
        top.print_help()
        return 0
    if args.command == "doctor":
        return doctor.main()
    try:
        code = COMMANDS[args.command](args)
        sys.stdout.flush()  # a full disk is told here, and not by Python at exit
        return code
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        print(f"error: {doctor.missing_package(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output, such as `head`, has ended. Without this, Python would complain
        # again when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.strerror is None:  # not of the operating system
            raise
        print(f"error: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
