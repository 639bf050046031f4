"""The process that Spark forks its Python workers from: pyspark's own, with a shorter module path."""

from __future__ import annotations

from prep.workers import forget_archives

if __name__ == "__main__":
    forget_archives()
    from pyspark.daemon import manager

    manager()
