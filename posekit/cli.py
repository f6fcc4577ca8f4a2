"""The command line: `python -m posekit {doctor,train,evaluate,predict,export,webcam,experiment}` (book: setup, chapters 06, 07, 11 and 12)."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from posekit.errors import DataError
from posekit.live import server


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
    def error(self, message: str):
        """One line instead of argparse's usage text: what is wrong, and where help is."""
        self.exit(2, f"error: {message} (help: {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The argument parser of `python -m posekit`."""
    top = _Parser(
        prog="python -m posekit", description="Human pose estimation, as taught in the book."
    )
    sub = top.add_subparsers(dest="command", required=True)

    sub.add_parser("doctor", help="does this machine have all that the book needs?")

    p = sub.add_parser("train", help="train DeepPose stage one on records")
    p.add_argument(
        "--records",
        nargs="+",
        required=True,
        type=Path,
        metavar="DIR",
        help="record folders to train on",
    )
    p.add_argument(
        "--val", required=True, type=Path, metavar="DIR", help="record folder to score on"
    )
    p.add_argument("--backbone", required=True)
    p.add_argument(
        "--head",
        help="regression (DeepPose), deeppose2014, deeppose2014_dropout, integral, or votes (default)",
    )
    p.add_argument(
        "--loss", help="l2, l1 (default), smooth_l1, gaussian, laplace or rle (chapter 09)"
    )
    p.add_argument(
        "--joints",
        dest="num_joints",
        metavar="N",
        type=int,
        help="17 (default), or 19: also learn neck and head top (LSP)",
    )
    p.add_argument(
        "--width",
        dest="base_channels",
        metavar="CHANNELS",
        type=_positive(int),
        help="channels of the first stage",
    )
    p.add_argument("--input-size", type=_positive(int), default=224)
    length = p.add_mutually_exclusive_group(required=True)
    length.add_argument(
        "--epochs", type=_positive(int), help="passes over the data; repeatable with --seed"
    )
    length.add_argument("--minutes", type=_positive(float), help="wall-clock time; not repeatable")
    p.add_argument("--batch-size", type=_positive(int))
    p.add_argument("--optimizer", help="adamw (default) or sgd")
    p.add_argument("--learning-rate", type=_positive(float))
    p.add_argument(
        "--clip", dest="clip_norm", type=_positive(float), metavar="LENGTH", help="longest gradient"
    )
    p.add_argument(
        "--average",
        dest="ema_momentum",
        type=_share,
        metavar="MOMENTUM",
        help="average the weights: 0.998, about 500 steps",
    )
    p.add_argument(
        "--half-body", type=_share, metavar="SHARE", help="of pictures cut around half a body"
    )
    p.add_argument(
        "--erase", type=_share, metavar="SHARE", help="of pictures with a rectangle of noise"
    )
    p.add_argument(
        "--camera", type=_share, metavar="SHARE", help="of pictures as a cheap camera takes them"
    )
    p.add_argument(
        "--input",
        dest="input_pipeline",
        metavar="PIPELINE",
        help="tfdata, device (pictures in the GPU's memory), or auto (default; chapter 06)",
    )
    p.add_argument(
        "--devices",
        type=_positive(int),
        help="how many share each batch, on JAX (default: all GPUs)",
    )
    p.add_argument(
        "--init", metavar="RUN|NAME", help="start from this model's weights instead of random ones"
    )
    p.add_argument("--seed", type=int)
    p.add_argument("--out", required=True, type=Path, metavar="RUN", help="folder to write")
    p.add_argument(
        "--resume", action="store_true", help="go on with an interrupted run, if --out has one"
    )
    p.add_argument(
        "--checkpoint",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="least time between checkpoints (default 60)",
    )
    p.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="folder for TensorBoard's curves"
    )

    p = sub.add_parser(
        "evaluate",
        help="score a model on records, or a model or results file on COCO annotations",
        description="Three ways: --model and --records; --coco and --results (of any model, in COCO's results format); "
        "--coco, --images and --model, which takes the annotated boxes and writes --results if it is given.",
    )
    p.add_argument("--model", metavar="RUN|NAME")
    truth = p.add_mutually_exclusive_group(required=True)
    truth.add_argument("--records", type=Path, metavar="DIR", help="PCP, PCK, visibility")
    truth.add_argument(
        "--coco", type=Path, metavar="ANNOTATIONS", help="AP and AR, COCO's ten numbers"
    )
    p.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="with --coco: to score, or with --model to write",
    )
    p.add_argument("--images", type=Path, metavar="DIR", help="with --coco and --model: the photos")
    p.add_argument(
        "--jitter",
        type=_positive(float),
        default=0.0,
        metavar="SHARE",
        help="of --records: misplace boxes",
    )
    p.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="average with the mirrored crop",
    )
    p.add_argument("--json", action="store_true", help="print one JSON object")

    p = sub.add_parser("predict", help="the pose in photos")
    p.add_argument("--model", required=True, metavar="RUN|NAME")
    p.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    p.add_argument(
        "--box",
        type=_box,
        metavar="X,Y,W,H",
        help="around the person, pixels (--box=-5,… for X below 0)",
    )
    p.add_argument("--json", action="store_true", help="print a JSON list, one object an image")
    p.add_argument(
        "--draw", type=Path, metavar="DIR", help="write the pictures with the pose drawn on them"
    )

    p = sub.add_parser(
        "export", help="write a run as one ONNX file, checked against Keras (chapter 11)"
    )
    p.add_argument("--model", required=True, metavar="RUN|NAME")
    target = p.add_mutually_exclusive_group(required=True)
    target.add_argument("out", nargs="?", type=Path, metavar="OUT.onnx", help="the file to write")
    target.add_argument(
        "--package",
        metavar="NAME",
        help="put it into the package's weights instead, and list it there",
    )

    server.add_to(sub)
    p = sub.add_parser("experiment", help="run a recorded experiment of the book")
    p.add_argument("name", help="its name; `list` prints them all")
    p.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: book/runs/NAME)"
    )
    p.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="the folder to work in: keeps records and models, and what is whole there is not done again",
    )
    return top


def _quiet_backend() -> None:
    """Load Keras and its backend without the lines that TensorFlow writes to standard error, which is for our own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from posekit import hardware

    with hardware.quiet_stderr():
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(1))


def doctor(args) -> int:
    """Print what this machine has; 1 when something that the book needs is missing."""
    import importlib.metadata as metadata
    import platform
    import shutil

    problems = []
    print(
        f"python      {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        problems.append(
            "Python 3.11 to 3.13 is needed: install one of them and make the environment anew"
        )
    for package in (
        "tensorflow",
        "keras",
        "numpy",
        "matplotlib",
        "pycocotools",
        "scipy",
        "jupyter-book",
        "nbval",
    ):
        try:
            print(f"{package:11s} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            print(f"{package:11s} missing")
            problems.append(
                f"{package} is missing: run `make setup`, or pip install -r requirements.txt"
            )
    try:
        import cv2

        print(f"opencv      {cv2.__version__}")
    except ImportError as error:
        problems.append(
            f"OpenCV does not load ({error}): install opencv-python-headless, and only that"
        )
    try:
        _quiet_backend()
        from posekit import hardware, training
        from posekit.inference import predictor

        print(f"accelerator {', '.join(hardware.accelerators()) or 'none, only the processor'}")
        print(
            f"backend     {training.keras.backend.backend()}, bfloat16 {'yes' if training.bfloat16_pays() else 'no'}"
        )
        print(f"models      {', '.join(predictor.list_models()) or 'none in the package'}")
        if not predictor.list_models():
            problems.append("the package holds no model: install it again")
    except ImportError as error:
        problems.append(
            f"Keras does not load ({error}): run `make setup`, or pip install -r requirements.txt"
        )
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    print(f"disk        {free:.0f} GiB free here")
    if free < 2:
        problems.append(
            "less than 2 GiB of disk are free: the embedded data and the book need about that much"
        )
    data = os.environ.get("POSEKIT_DATA")
    print(f"POSEKIT_DATA {data or 'not set (optional: real photos for your own runs)'}")
    if data and not Path(data).is_dir():
        problems.append(f"POSEKIT_DATA points to {data}, which is no folder: correct or unset it")
    for problem in problems:
        print(f"problem: {problem}")
    print("all is well" if not problems else f"{len(problems)} problem(s)")
    return 1 if problems else 0


def train(args) -> int:
    """Train and print the validation score."""
    _quiet_backend()
    from posekit import inputs, training

    def given(*names: str) -> dict:
        return {name: value for name in names if (value := getattr(args, name)) is not None}

    recipe = training.Recipe(
        augment=inputs.Augmentation(**given("half_body", "erase", "camera")),
        **given(
            "backbone",
            "head",
            "loss",
            "num_joints",
            "base_channels",
            "input_size",
            "epochs",
            "minutes",
            "batch_size",
        ),
        **given(
            "optimizer",
            "learning_rate",
            "clip_norm",
            "ema_momentum",
            "input_pipeline",
            "devices",
            "seed",
        ),
    )
    record = training.train(
        args.records,
        args.val,
        recipe,
        args.out,
        start_from=args.init,
        resume=args.resume,
        checkpoint_seconds=args.checkpoint,
        tensorboard=args.tensorboard,
    )
    print(f"{args.out}: {record['images']} pictures in {record['seconds']:.0f} s")
    _print_scores(record["val"])
    return 0


def evaluate(args) -> int:
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
    _quiet_backend()
    from posekit.inference import evaluation, predictor

    scores = evaluation.evaluate(
        predictor.load(args.model), args.records, flip=args.flip, jitter=args.jitter
    )
    scores = evaluation.jsonable(scores)
    print(json.dumps(scores)) if args.json else _print_scores(scores)
    return 0


def _evaluate_coco(args) -> int:
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
        _quiet_backend()
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
    print(
        f"{scores['n']} people, box: {scores['box']}, flip test: {'yes' if scores['flip'] else 'no'}"
    )
    print(f"{'':22s}{'model':>8s}{'mean pose':>11s}   95 % of resampled people")
    blind, intervals = scores["mean_pose"], scores["intervals"]
    rows = [
        (f"strict PCP {limb}", value, blind["pcp"][limb], None)
        for limb, value in scores["pcp"].items()
    ]
    rows[-1] = (*rows[-1][:3], intervals["pcp"])
    for label, key in (
        ("PCK@0.2 (torso)", "pck@0.2"),
        ("OKS", "oks"),
        ("confidence with OKS", "confidence_oks"),
        ("visibility accuracy", "visibility_accuracy"),
        ("visibility AUROC", "visibility_auroc"),
        ("collapse ratio", "collapse_ratio"),
    ):
        unsaid = key == "confidence_oks" and scores[key] is None  # a model without σ
        rows += [] if unsaid else [(label, scores[key], blind[key], intervals.get(key))]
    for label, *values, interval in rows:
        model, mean, *ends = (
            float("nan") if v is None else v for v in (*values, *(interval or ()))
        )
        print(
            f"{label:22s}{model:8.3f}{mean:11.3f}"
            + ("   {:.3f} … {:.3f}".format(*ends) if ends else "")
        )


def predict(args) -> int:
    """Poses of photos, turned as viewers show them, as text, JSON or pictures."""
    from posekit.images import encode_jpeg, read_image
    from posekit.inference import predictor

    for path in (
        args.images
    ):  # all are checked before anything is written, and none is kept: they are large
        height, width = read_image(path, as_displayed=True).shape[:2]
        x, y, w, h = args.box or (0, 0, width, height)
        if not (x < width and y < height and x + w > 0 < y + h):
            problem = f"the box {args.box} lies outside the photo ({width}x{height})"
            raise DataError(path, problem, "give X,Y,W,H in its pixels")
    pictures = {}
    for path in args.images if args.draw else ():
        if (target := args.draw / f"{path.stem}.pose.jpg") in pictures:
            raise DataError(
                target,
                "two photos would be drawn into it",
                "draw them in two runs, into two folders",
            )
        pictures[target] = None
    if predictor.locate(args.model).suffix == ".keras":
        _quiet_backend()
    loaded, results = predictor.load(args.model), []
    for path in args.images:
        image = read_image(path, as_displayed=True)
        pose = loaded.predict(image, args.box, flip=True)
        results.append(
            {
                "image": str(path),
                "box": [round(float(v), 2) for v in pose.bbox],
                "keypoints": [[round(float(v), 2) for v in xy] for xy in pose.keypoints],
                "visibility": [round(float(v), 4) for v in pose.visibility],
                "score": [round(float(v), 4) for v in pose.score],
                "presence": round(pose.presence, 4),
            }
        )
        if args.draw:
            from posekit import viz

            drawn = viz.draw_on_image(image, pose.keypoints, pose.visibility > 0.5)
            pictures[args.draw / f"{path.stem}.pose.jpg"] = encode_jpeg(drawn)
    if args.draw:
        _write_files(args.draw, pictures)
    if args.json:
        print(json.dumps(results))
    else:
        from posekit.skeleton import COCO17

        for result in results:
            print(result["image"])
            for joint, (x, y), score in zip(
                COCO17.joints, result["keypoints"], result["score"], strict=True
            ):
                print(f"  {joint:15s} {x:8.1f} {y:8.1f}   {score:.2f}")
    return 0


def export(args) -> int:
    """Write a run as an ONNX file and print how far it is from Keras."""
    _quiet_backend()
    from posekit.inference import export as exporter

    facts = (
        exporter.package(args.model, args.package)
        if args.package
        else exporter.export(args.model, args.out)
    )
    off = ", ".join(f"{name} {error:.1e}" for name, error in facts["errors"].items())
    print(f"{args.package or args.out}: {facts['bytes'] / 1e6:.2f} MB, sha256 {facts['sha256']}")
    print(f"largest difference to Keras, as a share of the largest value: {off}")
    return 0


def _write_files(folder: Path, files: dict[Path, bytes]) -> None:
    """All of them, each put in place whole."""
    from posekit.files import atomic_write

    try:
        for target, data in files.items():
            atomic_write(target, data)
    except OSError as error:
        raise DataError(
            folder, f"cannot write there: {error.strerror}", "choose another folder"
        ) from None


def experiment(args) -> int:
    """Run a recorded experiment, or list them."""
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


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code: 0, 1 for `doctor` with problems, 2 for bad input, 130 for Ctrl-C."""
    args = parser().parse_args(argv)
    commands = {
        f.__name__: f for f in (doctor, train, evaluate, predict, export, experiment, server.webcam)
    }
    try:
        return commands[args.command](args)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
