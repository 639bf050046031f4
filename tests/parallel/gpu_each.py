"""What the test starts as a driver: ranks with a made-up GPU each. Not a test itself.

python gpu_each.py DISCOVERY DATASET READS: two executors of three cores, whose GPUs are those that the script prints. Prints as
JSON the slots of other stages, those with a GPU, how many ranks there are by default, what each rank saw, what was said to one
too many, and the log-likelihoods of a hidden Markov model fitted to the dataset on these GPUs, which numba simulates, and
without. Into the folder READS goes a file for each time that the fit on GPUs read a part of the dataset.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from functools import partial

from hindcast.classical.hmm.data import training
from hindcast.classical.hmm.from_settings import fit_hmm
from hindcast.classical.hmm.settings import HmmSettings
from hindcast.deep.ways.ranks import launcher
from hindcast.deep.ways.ranks.launcher import run_on_ranks
from hindcast.deep.ways.ranks.watch import Line
from hindcast.launch.settings import ClusterSettings
from hindcast.launch.spark.cluster import ranks_on, session_on
from hindcast.launch.spark.java import sharing_options
from hindcast.prep.dataset.blocks import Address, Block, read
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.spark.gpus import gpus_a_task
from hindcast.prep.spark.slots import task_slots


def seen(line: Line) -> tuple[int, str]:
    return os.getppid(), os.environ["CUDA_VISIBLE_DEVICES"]


def noted(folder: str, address: Address) -> Block:
    if "HINDCAST_WORKERS" in os.environ:  # and not for the sample that a fit begins with
        tempfile.mkstemp(dir=folder)
    return read(address)


if __name__ == "__main__":
    script, cluster = sys.argv[1], ClusterSettings(master="local-cluster[2,3,1024]", gpus_per_worker=2)
    more = {"spark.executor.memory": "600m", "spark.executor.resource.gpu.discoveryScript": script}
    more |= {"spark.worker.resource.gpu.amount": "2", "spark.worker.resource.gpu.discoveryScript": script}
    more |= {"spark.executor.extraJavaOptions": " ".join([os.environ["SPARK_SUBMIT_OPTS"], *sharing_options()])}
    with session_on(cluster, "gpus", more) as spark:
        ranks = ranks_on(spark, cluster)
        found = {"slots": task_slots(spark), "gpu slots": task_slots(spark, gpus_a_task(spark, 1)), "ranks": ranks}
        found["seen"] = run_on_ranks(spark, seen, ranks=ranks, silence_seconds=60, gpu_each=True)
        launcher.SLOTS_SECONDS = 1.0  # all executors are there
        try:
            run_on_ranks(spark, seen, ranks=ranks + 1, silence_seconds=60, gpu_each=True)
        except InputError as error:
            found["refused"] = str(error)
        dataset, settings = SequenceDataset.open(sys.argv[2]), HmmSettings(states=2, order=2, iterations=3, tolerance=0.0)
        # As many idle workers as there are cores, any of which an iteration could come to.
        spark.sparkContext.parallelize(range(6), 6).map(lambda _: time.sleep(2)).collect()
        for gpus, reader in ((False, read), (True, partial(noted, sys.argv[3]))):
            training.reader_for = lambda dataset, reader=reader: reader
            found[f"hmm, gpus {gpus}"] = fit_hmm(dataset, settings, spark=spark, gpus=gpus).history_.log_likelihood
    print(json.dumps(found))
