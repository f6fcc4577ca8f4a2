"""What every experiment does: make records, train a run, look at it afterwards. What is whole already is not done again."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from posekit import datasets, records, training
from posekit.errors import DataError
from posekit.files import atomic_write
from posekit.inference import evaluation, predictor
from posekit.minidome.sequence import make_sequence

_MADE_OTHERWISE = ("made with other arguments", "remove it, or choose another --keep")


def minidome_records(folder: Path, frames: int, seed: int, **crop: float) -> Path:
    """Generate a MiniDome sequence of two cameras and write its people as records; returns the record folder.

    Raises:
        DataError: when the sequence is there with another number of frames, or see `people_records`.
    """
    sequence = folder / f"minidome{seed}"
    labels = sequence / "annotations" / f"person_keypoints_{sequence.name}.json"
    if labels.is_file():
        if datasets.read_json(labels)["info"]["frames"] != frames:
            raise DataError(sequence, *_MADE_OTHERWISE)
    elif not (folder / f"{sequence.name}-train-annotation" / "manifest.json").is_file():
        make_sequence(sequence, frames=frames, seed=seed)
    return people_records(folder, "minidome", sequence, **crop)


def people_records(
    folder: Path,
    dataset: str,
    source: Path,
    split: str = "train",
    box: str = "annotation",
    mend: Callable | None = None,
    **crop: float,
) -> Path:
    """Write one split of a data set as records into `folder`, `mend` between reading and writing; returns the record folder.

    `crop` holds the other arguments of `records.CropSettings`.

    Raises:
        DataError: when records of that name were written with other options.
    """
    kind = "background" if dataset == "background" else f"{box}-mended" if mend else box
    out = folder / f"{source.name}-{split}-{kind}"
    settings = records.CropSettings(box_source=box, **crop)
    if (out / "manifest.json").is_file():
        wanted = records.WriterConfig(dataset, split, settings).arguments()
        if records.read_manifest(out)["arguments"] != wanted:
            raise DataError(out, *_MADE_OTHERWISE)
    else:
        filtered = Counter()
        people = datasets.read(dataset, source, split, filtered)
        people = mend(people) if mend else people
        records.write_records(people, out, dataset, split, settings, filtered=filtered)
    return out


def photos(*names: str) -> list[Path]:
    """Folders of real photos that `POSEKIT_DATA` holds.

    Raises:
        DataError: when it is not set.
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
    teacher: str | Path | None = None,
    **recipe: object,
) -> Path:
    """Train a run into `folder`/`name` unless it is there from an earlier call, with this recipe; returns its folder.

    Raises:
        DataError: when a run of that name was trained by another recipe.
    """
    out, wanted = folder / name, training.Recipe(**recipe)
    if (out / "record.json").is_file():
        had = json.loads((out / "record.json").read_text(encoding="utf-8"))["recipe"]
        before = asdict(training.Recipe(epochs=1))  # a run from before a field was added
        had = {**before, **had, "augment": {**before["augment"], **had["augment"]}}
        wanted = json.loads(json.dumps(asdict(wanted)))
        if any(
            had[key] != value
            for key, value in wanted.items()
            if key not in ("dtype", "input_pipeline", "devices")
        ):
            raise DataError(out, "trained by another recipe", "remove it, or choose another --keep")
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
        teacher=teacher,
    )
    return out


def note(run: Path, **facts: object) -> None:
    """Keep further facts in a run's record.json."""
    path = run / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record.update(facts)
    atomic_write(path, (json.dumps(record, indent=1) + "\n").encode())


def rescore(run: Path, folders: dict[str, Path]) -> None:
    """Score a run on record folders and keep the scores in its record, under the keys of `folders`."""
    loaded = predictor.load(run)
    note(
        run,
        **{
            key: evaluation.jsonable(evaluation.evaluate(loaded, folder))
            for key, folder in folders.items()
        },
    )
