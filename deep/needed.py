"""The packages that LSTMs need and a bare installation has not: looked for, and named where they are missing, before any work."""

from __future__ import annotations

from importlib.util import find_spec

from hindcast.prep.errors import InputError


def must_have_keras() -> None:
    """Raises InputError where TensorFlow or Keras is not installed."""
    for package, title in (("tensorflow", "TensorFlow"), ("keras", "Keras")):
        if find_spec(package) is None:
            raise InputError(f"{title} is not installed here, and LSTMs need it: pip install 'hindcast[lstm]'")


def must_have_horovod() -> None:
    """Raises InputError where Horovod is not installed."""
    if find_spec("horovod") is None:
        raise InputError(
            "Horovod is not installed here, and cluster.on is horovod: --cluster.on local trains in this process, --cluster.on "
            "partitions in Spark's tasks; requirements/install.sh of a clone builds Horovod against TensorFlow"
        )
