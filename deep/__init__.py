"""LSTM networks: one training function, run in one process, under horovodrun, or by Horovod on Spark."""

import os

# Read when TensorFlow and Keras are first imported, which is under this package alone.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
