"""Whether the tests' session compiles what it runs, as a user's does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

# Of readings as few as those of tests, Spark takes longer to compile what it runs than to run it.
UNCOMPILED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


@contextmanager
def compiled(spark: SparkSession) -> Iterator[None]:
    """The session has no settings but the product's own. At least one test of each way through Spark runs so."""
    for key in UNCOMPILED:
        spark.conf.unset(key)
    try:
        yield
    finally:
        for key, value in UNCOMPILED.items():
            spark.conf.set(key, value)
