"""Write shards on many machines, with an Apache Beam pipeline (chapter 03; extra `beam`).

The assignment of people to shards and their order follow from the annotations, a few hundred bytes
per person; they are computed where the run is started, as on one machine, and so are resuming,
skipping and the manifest. The expensive part is cropping photos, with the same `encode_person`;
here each shard is one task of a pipeline. A task streams its shard into a folder of its own and
moves it into place when it is complete, so it may be tried twice, or by two machines at once: the
bytes are the same. Every worker must see the photos and the record folder under the same paths, on
a shared file system (NFS, Lustre, a mounted bucket), and must have posekit installed.
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

#: name of the runner for a Dask cluster; Beam has no short one
DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
_ORDER = "order"
_OFFSET = np.dtype("<i8")


def executor(
    options: Sequence[str] = (), workers: int = 1
) -> Callable[[ShardJob], dict[str, dict]]:
    """Return an `executor` for `records.write_records` that runs an Apache Beam pipeline.

    Args:
        options: of the pipeline, as on a Beam command line: `["--runner=FlinkRunner",
            "--flink_master=…"]`, or for a Dask cluster `[f"--runner={DASK_RUNNER}",
            "--dask_client_address=tcp://HOST:8786"]`. Without a `--runner`, or with
            `--runner=DirectRunner`, Beam runs on this machine.
        workers: processes, where it does and the options do not say (`--direct_num_workers`,
            `--direct_running_mode`).

    Returns:
        a function that writes the shards of a `ShardJob` and returns their manifest entries by file
        name.

    Raises:
        DataError: when Beam is not installed. The function raises one when the pipeline fails, or
            for the first person in the set's order who cannot be written, whatever shard failed
            first.
    """
    try:
        import apache_beam  # noqa: F401
    except ImportError:
        raise DataError(
            "apache-beam",
            "is not installed",
            "pip install -e '.[beam]', best into an environment of its own: it wants an older "
            "protobuf than the book",
        ) from None

    def write(job: ShardJob) -> dict[str, dict]:
        # left by a run that was killed; workers of it that still run fail when their folder is gone
        for left in job.folder.glob("beam-*"):
            shutil.rmtree(left)
        scratch = Path(tempfile.mkdtemp(prefix="beam-", dir=job.folder))
        try:
            np.array(job.order, _OFFSET).tofile(scratch / _ORDER)
            _run(job, scratch, options, workers)
            return {file: _entry(job.folder, scratch, file) for file, *_ in job.files}
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    return write


def _run(job: ShardJob, scratch: Path, options: Sequence[str], workers: int) -> None:
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
    runner = chosen.view_as(StandardOptions).runner
    partitions = ("--dask_partition_size", "--dask_npartitions")
    if runner == DASK_RUNNER and not any(option.startswith(partitions) for option in options):
        # by default Beam gives 128 shards at a time to one worker
        chosen = PipelineOptions([*options, "--dask_partition_size=1"])
    if runner in (None, "DirectRunner"):
        # by default Beam first tries Prism, a program from the network that ignores the direct
        # options
        chosen.view_as(TypeOptions).allow_unsafe_triggers = True
        if not any(option.startswith("--direct_") for option in options):
            direct = chosen.view_as(DirectOptions)
            direct.direct_num_workers = workers
            direct.direct_running_mode = "multi_processing"
        workers_options = chosen.view_as(WorkerOptions)
        if workers_options.default_sdk_harness_log_level is None:
            # Beam's warnings (no folder for schemas, no client for Google's cloud) do not matter on
            # one machine
            workers_options.default_sdk_harness_log_level = "ERROR"
            logging.getLogger("apache_beam").setLevel(logging.ERROR)
    task = (job.folder, scratch, job.spool, job.settings, job.skip_errors)
    try:
        pipeline = beam.Pipeline(options=chosen)
        # Reshuffle: else a runner would keep all shards with the one worker that created the list
        _ = pipeline | beam.Create(job.files) | beam.Reshuffle() | beam.Map(write_task, *task)
        result = pipeline.run()
        try:
            state = result.wait_until_finish()
        finally:
            if runner == DASK_RUNNER:
                result.client.close()  # which Beam leaves open
    except Exception as error:
        logging.getLogger(__name__).debug("pipeline", exc_info=True)
        state = next(
            (line.strip() for line in reversed(str(error).splitlines()) if line.strip()),
            repr(error),
        )
    if state != "DONE":
        raise DataError(
            "beam",
            f"the pipeline failed: {state}",
            "every worker needs posekit, and must see the photos and the records under the same "
            "paths; its log says more",
        )


def write_task(
    shard: tuple[str, int, int],
    folder: Path,
    scratch: Path,
    spool: Path,
    settings: CropSettings,
    skip_errors: bool,
) -> None:
    """Write one shard, on any machine.

    Args:
        shard: file name, first person, last person + 1.
        folder: where it goes when it is complete, with its manifest entry as NAME.json.
        scratch: folder of this run. When a person cannot be written, the error goes there instead.
        spool: the samples.
        settings, skip_errors: as in `ShardJob`.

    Raises:
        OSError: when these folders cannot be reached from here, or are full.
    """
    import cv2

    cv2.setNumThreads(1)
    file, start, stop = shard
    offsets = np.fromfile(
        scratch / _ORDER, _OFFSET, count=stop - start, offset=_OFFSET.itemsize * start
    )
    own = Path(tempfile.mkdtemp(dir=scratch))
    try:
        write_shard(
            own / file, (encode_at(spool, int(offset), settings, skip_errors) for offset in offsets)
        )
        (own / file).replace(folder / file)
        (own / f"{file}.json").replace(folder / f"{file}.json")
    except DataError as error:
        (own / file).write_text(
            json.dumps([str(error.where), error.problem, error.hint]), encoding="utf-8"
        )
        (own / file).replace(scratch / file)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _entry(folder: Path, scratch: Path, file: str) -> dict:
    """Return the manifest entry of a task's shard, or raise the DataError that stopped it."""
    if (scratch / file).is_file():
        raise DataError(*json.loads((scratch / file).read_text(encoding="utf-8")))
    return json.loads((folder / f"{file}.json").read_text(encoding="utf-8"))
