"""Weights of many models in one folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hindcast.deep.digests import digest_of
from hindcast.deep.weights_files import Entry, Index, Models, read_models
from hindcast.prep.errors import InputError

KEYS = ("", "a/b", "../../etc/passwd", "ünï.cödé\n", "CON", "x" * 400)
SHAPES = [(2, 3), (4,)]


def made() -> Models:
    weights = {key: [np.full(shape, number, np.float32) for shape in SHAPES] for number, key in enumerate(KEYS)}
    entries = {
        key: Entry(
            file=f"weights-{n}.npz", sha256=digest_of(weights[key]), windows=1, epochs=1, best_epoch=1, validation_loss=None
        )
        for n, key in enumerate(KEYS)
    }
    key_of = {key: key for key in KEYS} | {"one": "a/b", "bad": "bad"}
    return Models(Index(models=entries, key_of=key_of, without={"bad": "too short"}), weights)


def test_keys_of_any_characters_get_their_own_weights_back(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "model"
    folder.mkdir(parents=True)
    made().write(folder)
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")) == sorted(
        ["in/model/models.json", *(f"in/model/weights-{number}.npz" for number in range(len(KEYS)))]
    )
    models = read_models(folder, SHAPES)
    assert models.key_of("one") == "a/b"
    for number, key in enumerate(KEYS):
        assert [np.unique(weight).tolist() for weight in models.weights[models.key_of(key)]] == [[number], [number]]


def test_a_series_without_a_model_is_named_and_why() -> None:
    with pytest.raises(InputError, match="series 'bad': there is no model of it: too short"):
        made().key_of("bad")
    with pytest.raises(InputError, match="series 'nobody': there is no model of it: it is not in the dataset of the fit"):
        made().key_of("nobody")


def test_damaged_missing_and_foreign_weights_are_named(tmp_path: Path) -> None:
    made().write(tmp_path)
    file = tmp_path / "weights-1.npz"
    with pytest.raises(InputError, match=r"weights-0\.npz: other weights"):
        read_models(tmp_path, SHAPES[:1])
    file.write_bytes((tmp_path / "weights-2.npz").read_bytes())
    with pytest.raises(InputError, match=r"weights-1\.npz: other weights than models\.json says of 'a/b'"):
        read_models(tmp_path, SHAPES)
    np.savez(file, pickled=np.array([{}], object))
    with pytest.raises(InputError, match=r"weights-1\.npz: not the weights of 'a/b'"):
        read_models(tmp_path, SHAPES)
    file.unlink()
    with pytest.raises(InputError, match=r"weights-1\.npz: is missing, the weights of 'a/b'"):
        read_models(tmp_path, SHAPES)
    index = json.loads((tmp_path / "models.json").read_text())
    index["models"]["a/b"]["file"] = "../../elsewhere.npz"
    (tmp_path / "models.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"models\.json: not an index of models"):
        read_models(tmp_path, SHAPES)
