"""Steps that the experiments share: write records, train a run, add to its record.

Each step is skipped if an earlier, interrupted call has finished it with the same arguments.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import keras

from posekit import datasets, records, training
from posekit.errors import DataError
from posekit.files import atomic_write
from posekit.inference import evaluation, predictor
from posekit.minidome.sequence import make_sequence
from posekit.training import weights_file

_OTHER_ARGUMENTS = ("made with other arguments", "remove it, or choose another --keep")
HEAD_LAYERS = ("head_", "visibility", "keypoints", "sigma")
"""What the names of a head's layers begin with."""
LEAST_GAIN = 0.1
"""PCK@0.2 above that of the mean pose that a run needs, or it has failed; see `failure`."""
REASONS_GAIN = 0.15
"""The same for a run of an experiment from which a chapter draws reasons."""
COLLAPSE_RATIOS = (0.7, 1.1)
"""Collapse ratios, lowest and highest, of such a run."""


def minidome_records(folder: Path, frames: int, seed: int, **crop: float) -> Path:
    """Generate a MiniDome sequence of two cameras and write its people as records.

    Args:
        folder: for the sequence and the records.
        frames: number of frames.
        seed: of the sequence.
        crop: see `people_records`.

    Returns:
        The record folder.

    Raises:
        DataError: if the sequence is there with another number of frames; see also
            `people_records`.
    """
    sequence = folder / f"minidome{seed}"
    labels = sequence / "annotations" / f"person_keypoints_{sequence.name}.json"
    if labels.is_file():
        if datasets.read_json(labels)["info"]["frames"] != frames:
            raise DataError(sequence, *_OTHER_ARGUMENTS)
    elif not (folder / f"{sequence.name}-train-annotation" / "manifest.json").is_file():
        make_sequence(sequence, frames=frames, seed=seed)
    return people_records(folder, "minidome", sequence, **crop)


def people_records(
    folder: Path,
    dataset: str,
    source: Path,
    split: str = "train",
    box: str = "annotation",
    select: Callable | None = None,
    **crop: float,
) -> Path:
    """Write one split of a data set as records.

    Args:
        folder: for the record folder.
        dataset: a name of `datasets.DATASETS`.
        source: the data set's folder.
        split: `"train"` or `"val"`.
        box: `box_source` of `records.CropSettings`.
        select: maps the stream of annotations to a stream of those to keep.
        crop: other arguments of `records.CropSettings`.

    Returns:
        The record folder.

    Raises:
        DataError: if records of that name were written with other options.
    """
    kind = "background" if dataset == "background" else box
    kind = f"{kind}-{getattr(select, 'name', 'selected')}" if select else kind
    out = folder / f"{source.name}-{split}-{kind}"
    settings = records.CropSettings(box_source=box, **crop)
    if (out / "manifest.json").is_file():
        wanted = records.WriterConfig(dataset, split, settings).arguments()
        if records.read_manifest(out)["arguments"] != wanted:
            raise DataError(out, *_OTHER_ARGUMENTS)
    else:
        filtered = Counter()
        people = datasets.read(dataset, source, split, filtered)
        people = select(people) if select else people
        records.write_records(people, out, dataset, split, settings, filtered=filtered)
    return out


def photos(*names: str) -> list[Path]:
    """Return folders of real photos in `POSEKIT_DATA`.

    Raises:
        DataError: if the variable is not set.
    """
    data = os.environ.get("POSEKIT_DATA")
    if not data:
        wanted = " and ".join(f"{name}/" for name in names)
        raise DataError("POSEKIT_DATA", "is not set", f"point it to the folder that holds {wanted}")
    return [Path(data) / name for name in names]


def train(
    folder: Path,
    name: str,
    people: list[Path],
    val: Path,
    batch_transform: Callable | None = None,
    start_from: str | Path | None = None,
    **recipe: object,
) -> Path:
    """Train a run, unless an earlier call has trained it by the same recipe.

    Args:
        folder: for the run.
        name: of the run.
        people: record folders to train on.
        val: record folder to score on.
        batch_transform, start_from: see `training.train`.
        recipe: fields of `training.Recipe`.

    Returns:
        The folder of the run, `folder`/`name`.

    Raises:
        DataError: if a run of that name was trained by another recipe.
    """
    out = folder / name
    wanted = training.Recipe(**recipe)
    if (out / "record.json").is_file():
        _check_recipe(out, wanted)
        print(f"--- {name}: there already", flush=True)
        return out
    print(f"--- {name}", flush=True)
    training.train(
        people,
        val,
        wanted,
        out,
        batch_transform=batch_transform,
        start_from=start_from,
    )
    return out


def backbone_weights(folder: Path, name: str, source: str, recipe: training.Recipe) -> Path:
    """Write the weights that a run starts from: a trained backbone, and a head of random weights.

    Args:
        folder: for the file.
        name: of the run.
        source: a packaged model or a run, whose backbone is the recipe's.
        recipe: of the run; its seed draws the head.

    Returns:
        The `.npz` file, `start_from` of `train`.
    """
    keras.utils.set_random_seed(recipe.seed)
    network = training.build_network(recipe, recipe.num_joints)
    trained = {layer.name: layer for layer in predictor.load(source).model.layers}
    for layer in network.layers:
        if layer.weights and not layer.name.startswith(HEAD_LAYERS):
            layer.set_weights(trained[layer.name].get_weights())
    path = folder / f"{name}-start.npz"
    weights_file.save(path, network, network.get_weights())
    return path


def _check_recipe(run: Path, wanted: training.Recipe) -> None:
    """Refuse a run that was trained by another recipe; machine-dependent fields may differ."""
    recorded = json.loads((run / "record.json").read_text(encoding="utf-8"))["recipe"]
    defaults = asdict(training.Recipe(epochs=1))  # for fields added after the run
    recorded = {
        **defaults,
        **recorded,
        "augment": {**defaults["augment"], **recorded["augment"]},
    }
    fields = json.loads(json.dumps(asdict(wanted)))
    for machine in ("dtype", "input_pipeline", "devices"):
        fields.pop(machine)
    if any(recorded[key] != value for key, value in fields.items()):
        raise DataError(run, "trained by another recipe", "remove it, or choose another --keep")


def note(run: Path, **facts: object) -> None:
    """Add entries to a run's record.json."""
    path = run / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record.update(facts)
    atomic_write(path, (json.dumps(record, indent=1) + "\n").encode())


def rescore(run: Path, folders: dict[str, Path]) -> None:
    """Evaluate a run on record folders and add the scores to its record, under the folders'
    keys."""
    model = predictor.load(run)
    scores = {
        key: evaluation.jsonable(evaluation.evaluate(model, folder))
        for key, folder in folders.items()
    }
    note(run, **scores)


def failure(val: dict, draws_reasons: bool = True) -> str | None:
    """Say why a run is no evidence for anything but its own failure.

    A network that is little better than the mean pose, or whose predictions vary much less or more
    than the truth, has not learned the task, or not yet; a comparison of such runs says nothing
    about what was compared.

    Args:
        val: result of `evaluation.evaluate`; None, JSON's NaN, where a value is not known.
        draws_reasons: whether a chapter draws reasons from the run. If not, `LEAST_GAIN` is the
            only bar.

    Returns:
        The figures that miss `REASONS_GAIN` and `COLLAPSE_RATIOS`, with the bars; None for a run
        that has not failed.
    """
    reasons = []
    pck = val["pck@0.2"]
    base = val["mean_pose"]["pck@0.2"]
    ratio = val["collapse_ratio"]
    least = REASONS_GAIN if draws_reasons else LEAST_GAIN
    low, high = COLLAPSE_RATIOS
    if pck is None or base is None:
        reasons.append("PCK@0.2 is not known")
    elif not pck - base >= least:
        reasons.append(
            f"PCK@0.2 {pck:.3f} is {pck - base:+.3f} above the mean pose's {base:.3f}, expected "
            f"at least {least:+.2f}"
        )
    if draws_reasons and ratio is None:
        reasons.append("the collapse ratio is not known")
    elif draws_reasons and not low <= ratio <= high:
        reasons.append(f"collapse ratio {ratio:.2f}, expected {low} to {high}")
    return "; ".join(reasons) or None
