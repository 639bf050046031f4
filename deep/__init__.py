"""LSTM networks: one training function, run in one process, under horovodrun, or by Horovod on Spark."""
