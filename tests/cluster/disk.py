"""A disk that can be filled without harm."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest


class Disk:
    """A small file system of its own."""

    BYTES, FILES = 32 << 20, 4000

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self) -> None:
        """Skips the test where that is not allowed."""
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("a file system is mounted by root alone, with mount")
        size = f"size={self.BYTES},nr_inodes={self.FILES}"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder)], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"this machine mounts no file system: {mounted.stderr.strip()}")

    def fill(self) -> None:
        """With bytes and with files: nothing can be made there any more."""
        with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 12))
        with suppress(OSError):
            for number in range(self.FILES):
                (self.folder / f"filler-{number}").touch()

    def empty(self) -> None:
        """Of what `fill` made."""
        for filler in self.folder.glob("filler*"):
            filler.unlink()
