"""What the test starts as a driver: ranks with a made-up GPU each. Not a test itself.

python gpu_each.py DISCOVERY DATASET: two executors of three cores, whose GPUs are those that the script prints. Prints as JSON
the slots of other stages, those with a GPU, how many ranks there are by default, what each rank saw, what was said to one too
many, and the log-likelihoods of a hidden Markov model fitted to the dataset on these GPUs, which numba simulates, and without.
"""

from __future__ import annotations

import json
import sys

from classical.hmm.fitting import fit_hmm
from classical.hmm.settings import HmmSettings
from deep.ranks import launcher
from deep.ranks.launcher import run_on_ranks
from deep.ranks.watch import Line
from launch.cluster import ranks_on, session_on
from launch.settings import ClusterSettings
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.gpus import one_gpu_a_task
from prep.slots import task_slots


def seen(line: Line) -> tuple[int, str]:
    import os

    return os.getppid(), os.environ["CUDA_VISIBLE_DEVICES"]


if __name__ == "__main__":
    script, cluster = sys.argv[1], ClusterSettings(master="local-cluster[2,3,1024]", gpus_per_worker=2)
    more = {"spark.executor.memory": "600m", "spark.executor.resource.gpu.discoveryScript": script}
    more |= {"spark.worker.resource.gpu.amount": "2", "spark.worker.resource.gpu.discoveryScript": script}
    with session_on(cluster, "gpus", more) as spark:
        ranks = ranks_on(spark, cluster)
        found = {"slots": task_slots(spark), "gpu slots": task_slots(spark, one_gpu_a_task(spark)), "ranks": ranks}
        found["seen"] = run_on_ranks(spark, seen, ranks=ranks, silence_seconds=60, gpu_each=True)
        launcher.SLOTS_SECONDS = 1.0  # all executors are there
        try:
            run_on_ranks(spark, seen, ranks=ranks + 1, silence_seconds=60, gpu_each=True)
        except InputError as error:
            found["refused"] = str(error)
        dataset, settings = SequenceDataset.open(sys.argv[2]), HmmSettings(states=2, order=2, iterations=2, tolerance=0.0)
        for gpus in (True, False):
            found[f"hmm, gpus {gpus}"] = fit_hmm(dataset, settings, spark=spark, gpus=gpus).history.log_likelihood
    print(json.dumps(found))
