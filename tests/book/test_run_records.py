"""The records of the trainings that the book quotes: each run has learned the task, or its record
says that it has not."""

import json
from pathlib import Path

import pytest
from experiments import EXPERIMENTS, ablation, common

RUNS = Path(__file__).resolve().parents[2] / "book" / "runs"
DELIBERATE = {
    "losses": (),
    "ablations": ("unmasked", *ablation.FROM_RANDOM),
}
"""Experiments from which chapters draw reasons -> variants that are mistakes on purpose, or the
network of 2014 and its control, which start from random weights."""
LARGEST_SHARE = 0.25
"""Of the other runs of such an experiment, the share that may fail."""


def trainings(name: str) -> dict[str, dict]:
    """Return the scored runs of a record."""
    record = json.loads((RUNS / name / "record.json").read_text(encoding="utf-8"))
    runs = record.get("runs", {})
    return {run: entry for run, entry in runs.items() if "mean_pose" in entry.get("val", {})}


RECORDS = [path.parent.name for path in sorted(RUNS.glob("*/record.json"))]
SCORED = [name for name in RECORDS if trainings(name)]


def test_experiments_with_reasons_are_those_named_here():
    assert {name for name, entry in EXPERIMENTS.items() if entry.draws_reasons} == set(DELIBERATE)
    assert set(DELIBERATE) <= set(SCORED) and len(SCORED) >= 10


@pytest.mark.parametrize("name", SCORED)
def test_a_run_that_has_not_learned_the_task_is_marked(name):
    strict = name in EXPERIMENTS and EXPERIMENTS[name].draws_reasons
    for run, record in trainings(name).items():
        reason = common.failure(record["val"], strict)
        assert record.get("failure") == reason, f"{name}/{run}"


@pytest.mark.parametrize("name", DELIBERATE)
def test_at_most_a_quarter_of_the_runs_that_reasons_rest_on_have_failed(name):
    runs = trainings(name)
    counted = [run for run in runs if run.rsplit("-", 1)[0] not in DELIBERATE[name]]
    failed = [run for run in counted if "failure" in runs[run]]
    assert len(failed) <= LARGEST_SHARE * len(counted), failed


def test_the_readme_quotes_the_record_of_the_released_model():
    readme = (RUNS.parents[1] / "README.md").read_text(encoding="utf-8")
    record = trainings("stage1")["stage1"]
    wrists = record["card"]["joints"]["webcam"]["wrists"]
    mean_pose = record["card"]["mean_pose"]["webcam"]["wrists"][0]
    pcp = [record["val"]["pcp"]["mean"], *record["val"]["intervals"]["pcp"]]
    for share, baseline in (
        (wrists, mean_pose),
        (pcp, record["val"]["mean_pose"]["pcp"]["mean"]),
    ):
        value, low, high = (f"{number:.2f}" for number in share[:3])
        assert f"| {value} [{low}, {high}] | the mean pose: {baseline:.2f}" in readme
