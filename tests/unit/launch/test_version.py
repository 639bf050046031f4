"""`hindcast --version`: the version, at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hindcast
from hindcast.__main__ import main
from hindcast.launch.cli import main as cli

ROOT = Path(__file__).resolve().parents[3]


def test_the_version_is_told_without_importing_what_commands_need(tmp_path: Path) -> None:
    code = (
        "import sys; from hindcast.__main__ import main; sys.argv[1:] = ['--version']; main(); "
        "print(*sorted(name for name in sys.modules if name.startswith(('hindcast.', 'numpy', 'typer', 'rich'))))"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=300)
    assert ran.stdout.splitlines() == [f"hindcast {hindcast.__version__}", "hindcast.__main__"]


def test_among_other_options_it_is_told_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["hindcast", "--debug", "--version"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert (stop.value.code, capsys.readouterr().out) == (0, f"hindcast {hindcast.__version__}\n")


def test_any_other_command_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str] = []
    monkeypatch.setattr(cli, "main", lambda: run.extend(sys.argv[1:]))
    monkeypatch.setattr("sys.argv", ["hindcast", "inspect", "--version"])
    main()
    assert run == ["inspect", "--version"]
