"""What tests with Spark share."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from hindcast.launch.cli.main import main
from tests.spark.running import Run


@pytest.fixture
def run(spark: SparkSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["hindcast", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "300")
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        printed = capsys.readouterr()
        return status, (printed.out + printed.err).replace("\u00a0", " ")

    return command
