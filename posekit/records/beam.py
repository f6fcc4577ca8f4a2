"""Past one machine: the shards of a set written by an Apache Beam pipeline, on any of its runners (chapter 03; extra `beam`).

Who stands in which shard, and in which order, follows from the annotations, a few hundred bytes a person: that is settled where the
run is started, as on one machine, and so are resuming, skipping and the manifest. What takes the time is photos into crops, by the
same `encode_person`; here each shard is one task of a pipeline. A task streams its shard into a folder of its own and moves it into place
when it is whole, so it may be tried twice, or by two machines at once: the bytes are the same. Every worker must see the photos and
the folder of records under the same paths, on a shared file system (NFS, Lustre, a mounted bucket), and must have posekit installed.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.records.encoding import encode_at
from posekit.records.schema import CropSettings
from posekit.records.writer import ShardJob, write_shard

_ORDER, _PLACE = "order", np.dtype("<i8")


def executor(
    options: Sequence[str] = (), workers: int = 1
) -> Callable[[ShardJob], dict[str, dict]]:
    """What `records.write_records` takes as its `executor`, to write shards by an Apache Beam pipeline.

    Args:
        options: of the pipeline, as on a Beam command line: `["--runner=FlinkRunner", "--flink_master=…"]`. Without a `--runner`, or with
            `--runner=DirectRunner`, Beam runs on this machine.
        workers: processes, where it does and the options do not say (`--direct_num_workers`, `--direct_running_mode`).

    Returns:
        A function that writes the shards of a `ShardJob` and returns their entries in the manifest, by file name.

    Raises:
        DataError: when Beam is not installed. The function raises one when the pipeline fails, or for the first person in the set's order
            who cannot be written, whatever shard failed first.
    """
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        hint = "pip install -e '.[beam]', best into an environment of its own: it wants an older protobuf than the book"
        raise DataError("apache-beam", "is not installed", hint) from None

    def write(job: ShardJob) -> dict[str, dict]:
        # Of a run that was killed. Should it still have workers somewhere, they fail when they miss it.
        for left in job.folder.glob("beam-*"):
            shutil.rmtree(left)
        aside = Path(tempfile.mkdtemp(prefix="beam-", dir=job.folder))
        try:
            np.array(job.order, _PLACE).tofile(aside / _ORDER)
            _run(job, aside, options, workers)
            return {file: _entry(job.folder, aside, file) for file, *_ in job.files}
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    return write


def _run(job: ShardJob, aside: Path, options: Sequence[str], workers: int) -> None:
    """Run the pipeline to its end."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import (
        DirectOptions,
        PipelineOptions,
        StandardOptions,
        TypeOptions,
        WorkerOptions,
    )

    chosen = PipelineOptions(list(options))
    if chosen.view_as(StandardOptions).runner in (None, "DirectRunner"):
        # Else Beam tries Prism first, a program that it fetches from the network; it would see none of the direct options.
        chosen.view_as(TypeOptions).allow_unsafe_triggers = True
        if not any(option.startswith("--direct_") for option in options):
            direct = chosen.view_as(DirectOptions)
            direct.direct_num_workers, direct.direct_running_mode = workers, "multi_processing"
        workers_options = chosen.view_as(WorkerOptions)
        if workers_options.default_sdk_harness_log_level is None:
            # what Beam warns of on one machine does not matter here: an unknown folder for schemas, no client for Google's cloud
            workers_options.default_sdk_harness_log_level = "ERROR"
            logging.getLogger("apache_beam").setLevel(logging.ERROR)
    task = (job.folder, aside, job.spool, job.settings, job.skip_errors)
    try:
        pipeline = beam.Pipeline(options=chosen)
        # Reshuffle: else a runner would keep all shards with the one worker that created the list
        _ = pipeline | beam.Create(job.files) | beam.Reshuffle() | beam.Map(write_task, *task)
        state = pipeline.run().wait_until_finish()
    except Exception as error:
        logging.getLogger(__name__).debug("pipeline", exc_info=True)
        state = next(
            (line.strip() for line in reversed(str(error).splitlines()) if line.strip()),
            repr(error),
        )
    if state != "DONE":
        hint = "every worker needs posekit, and must see the photos and the records under the same paths; its log says more"
        raise DataError("beam", f"the pipeline failed: {state}", hint)


def write_task(
    shard: tuple[str, int, int],
    folder: Path,
    aside: Path,
    spool: Path,
    settings: CropSettings,
    skip_errors: bool,
) -> None:
    """Write one shard, wherever this runs.

    Args:
        shard: file name, first person, last person + 1.
        folder: where it goes when it is whole, with its entry in the manifest beside it.
        aside: the run's own folder. With a person who cannot be written, what is wrong goes there instead.
        spool: the samples.
        settings, skip_errors: as in `ShardJob`.

    Raises:
        OSError: when these folders are not to be seen from here, or are full.
    """
    import cv2

    cv2.setNumThreads(1)
    file, start, stop = shard
    places = np.fromfile(aside / _ORDER, _PLACE, count=stop - start, offset=_PLACE.itemsize * start)
    own = Path(tempfile.mkdtemp(dir=aside))
    try:
        write_shard(
            own / file, (encode_at(spool, int(place), settings, skip_errors) for place in places)
        )
        (own / file).replace(folder / file)
        (own / f"{file}.json").replace(folder / f"{file}.json")
    except DataError as error:
        (own / file).write_text(
            json.dumps([str(error.where), error.problem, error.hint]), encoding="utf-8"
        )
        (own / file).replace(aside / file)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _entry(folder: Path, aside: Path, file: str) -> dict:
    """What a task has left: its shard's entry in the manifest, or the DataError that stopped it."""
    if (aside / file).is_file():
        raise DataError(*json.loads((aside / file).read_text(encoding="utf-8")))
    return json.loads((folder / f"{file}.json").read_text(encoding="utf-8"))
