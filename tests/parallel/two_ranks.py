"""What the test starts as ranks, or alone: trains on waves and writes what it ended with as JSON. Not a test itself.

python two_ranks.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from hindcast.deep.inputs import Inputs
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.collective import HorovodRanks, OneProcess
from hindcast.deep.training.training import digest_of, train
from hindcast.deep.ways.started import started_by_horovod
from hindcast.prep.dataset.blocks import Block
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.windows import Windows

# A last step of a single window: one of two ranks holds none of it.
STEP, COUNT, CONTEXT, HORIZON = 16, 49, 24, 12
# Four steps each.
EPOCHS = 25
INPUTS = Inputs(context=CONTEXT, horizon=HORIZON, lead=0, channels=2)


def windows(seed: int) -> Windows:
    steps, generator = COUNT + CONTEXT + HORIZON - 1, np.random.default_rng(seed)
    values = np.sin(np.arange(steps)[:, None] / 2 + np.arange(2)) + generator.normal(0, 0.1, (steps, 2))
    observed = generator.random((1, steps, 2)) < 0.8
    zero, layout = np.zeros(1, np.int32), Layout(context=CONTEXT, horizon=HORIZON, stride=1, windows_per_row=COUNT)
    block = Block(
        values=values[None].astype(np.float32),
        observed=observed.astype(np.uint8),
        covariates=np.zeros((1, steps, 0), np.float32),
        covariates_observed=np.zeros((1, steps, 0), np.uint8),
        labels=np.zeros((1, steps, 0), np.int32),
        attributes=np.zeros((1, 0), np.float32),
        series=np.array(["a"]),
        start=np.array(["2020-01-01"], "datetime64[us]"),
        windows=zero + COUNT,
        own_start=zero,
        own_stop=zero + steps,
    )
    return Windows.over([block], layout, 3_600_000_000)


def main(folder: Path) -> None:
    collective = HorovodRanks() if started_by_horovod() else OneProcess()
    settings = LstmSettings(units=16, segment=12, batch=2 * STEP, dropout=0.0, epochs=EPOCHS, patience=EPOCHS, checkpoint_steps=1)
    told: list[dict[str, float]] = []
    totals: list[float] = []
    trained = train(
        windows(0), windows(1), INPUTS, settings, collective, on_epoch=told.append,
        on_checkpoint=lambda state: totals.append(state.total),
    )  # fmt: skip
    result = {
        "size": collective.size,
        "ranks": collective.gather(collective.rank),
        "first_broadcast": float(collective.broadcast([np.array([collective.rank], np.float32)])[0][0]),
        "history": trained.history,
        "told": len(told),
        "totals": totals,
        "weights": digest_of(list(trained.weights)),
    }
    (folder / f"{collective.rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
