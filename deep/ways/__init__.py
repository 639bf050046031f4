"""The ways to train: in this process, under horovodrun, in Spark's partitions, on ranks by Horovod on Spark."""
