"""A fit that was killed and resumed is the fit that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hindcast.classical import em
from hindcast.classical.checkpoints import FileCheckpoint
from hindcast.classical.hmm.kernels.lanes import whole
from hindcast.classical.hmm.stored import CLASSES
from hindcast.prep.errors import InputError

ABOUT = {"data": "abc", "states": 3}


class KilledError(Exception):
    pass


def run(models: list[Any], file: Path | None, *, resume: bool = False, kill_at: int = 0, about: Any = ABOUT) -> list[Any]:
    def killed(iteration: int, _: dict[int, float]) -> None:
        if iteration == kill_at:
            raise KilledError

    values = np.random.default_rng(1).normal(size=(5, 40, 2))
    checkpoint = None if file is None else FileCheckpoint(file, about, CLASSES, resume, every=3)
    return em.fit_several(
        models, [whole(values[:2]), whole(values[2:])], iterations=12, tolerance=1e-4, checkpoint=checkpoint, on_iteration=killed
    )


@pytest.mark.parametrize("family", ["diagonal", "full", "autoregressive"])
def test_resumed_equals_not_interrupted_to_the_last_digit(family: str, random_model: Any, tmp_path: Path) -> None:
    models = [random_model(family, seed=seed) for seed in (0, 1)]
    whole_run = run(models, None)
    with pytest.raises(KilledError):
        run(models, tmp_path / "fit.json", kill_at=8)
    assert json.loads((tmp_path / "fit.json").read_text())["iteration"] == 6
    resumed = run(models, tmp_path / "fit.json", resume=True)
    for (model, history), (again, after) in zip(whole_run, resumed, strict=True):
        assert after.log_likelihood == history.log_likelihood
        assert after.stopped_by == history.stopped_by
        np.testing.assert_array_equal(again.transition, model.transition)
        for name, array in model.emission.arrays().items():
            np.testing.assert_array_equal(getattr(again.emission, name), array, err_msg=name)


def test_a_fit_that_is_done_is_not_done_again(random_model: Any, tmp_path: Path) -> None:
    models = [random_model("diagonal")]
    first = run(models, tmp_path / "fit.json")
    again = run(models, tmp_path / "fit.json", resume=True)
    assert again[0][1].log_likelihood == first[0][1].log_likelihood


def test_checkpoints_of_other_fits_and_damaged_ones_are_refused(random_model: Any, tmp_path: Path) -> None:
    models, file = [random_model("diagonal")], tmp_path / "fit.json"
    with pytest.raises(InputError, match="no checkpoint to resume from: fit without --resume"):
        run(models, file, resume=True)
    run(models, file)
    with pytest.raises(InputError, match="of another fit, whose states is 3; this one's is 4"):
        run(models, file, resume=True, about={**ABOUT, "states": 4})
    before = file.read_text()
    file.write_text(before[: len(before) // 2])
    with pytest.raises(InputError, match="not a checkpoint, or damaged"):
        run(models, file, resume=True)
    file.write_text(before.replace("hindcast-fit", "other"))
    with pytest.raises(InputError, match="found format 'other'"):
        run(models, file, resume=True)
    run(models, file)
    assert json.loads(file.read_text())["format"] == "hindcast-fit"


def test_checkpoints_that_cannot_be_are_refused(random_model: Any, tmp_path: Path) -> None:
    models, file = [random_model("diagonal", states=2)], tmp_path / "fit.json"
    run(models, file)
    good = json.loads(file.read_text())
    fit = good["fits"][0]
    for damage, message in (
        ({"about": []}, "damaged"),
        ({"about": {}}, "of another fit, whose data is None"),
        ({"fits": {}}, "damaged"),
        ({"fits": []}, "of another fit, of 0 models; this one is of 1"),
        ({"fits": [fit, fit]}, "of another fit, of 2 models; this one is of 1"),
        ({"fits": [3]}, "damaged .expected fits of models"),
        ({"fits": [{**fit, "model": 3}]}, "damaged .expected fits of models"),
        ({"fits": [{**fit, "log_prior": 3}]}, "damaged"),
        ({"fits": [{**fit, "model": {**fit["model"], "start": 3}}]}, "damaged"),
        ({"fits": [{**fit, "model": {**fit["model"], "emission": 3}}]}, "damaged"),
        ({"fits": [{**fit, "model": {**fit["model"], "transition": [[5, 0], [0, 1]]}}]}, "transition, row 0: expected prob"),
    ):
        file.write_text(json.dumps({**good, **damage}))
        with pytest.raises(InputError, match=message):
            run(models, file, resume=True)
