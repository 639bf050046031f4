"""Somebody else's code beside ours, called as our folders are: whoever imports it ends with its name."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("prep.py", "deep.py", "launch.py", "forecasting.py", "classical/__init__.py")
NAMES = [name.removesuffix(".py").partition("/")[0] for name in FILES]
# Not the whole repository, in which the environment may lie.
OURS = tuple(f"{ROOT / name}{os.sep}" for name in (*NAMES, "hindcast"))
# Defines `faults()`: what of ours is loaded under two names, and what is loaded by a name that is not ours to use.
FAULTS = f"""
def faults():
    import os, sys
    from collections import defaultdict
    names = defaultdict(set)
    for name, module in list(sys.modules.items()):
        file = os.path.realpath(getattr(module, "__file__", None) or "")
        if file.startswith({OURS!r}) and name not in ("__main__", "__mp_main__"):
            names[file].add(name)
    twice = sorted(str(sorted(found)) for found in names.values() if len(found) > 1)
    bare = sorted(set({NAMES!r}) & sys.modules.keys())
    return twice + bare
"""


def working_folder(folder: Path) -> Path:
    """A folder to work in, with modules of those names in it."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"raise SystemExit('imported somebody else\\'s {name}')\n")
    return folder


def python_path(folder: Path) -> str:
    """A PYTHONPATH on which a package called `launch` is installed, before ours."""
    (folder / "launch").mkdir(parents=True, exist_ok=True)
    (folder / "launch/__init__.py").write_text("raise SystemExit('imported somebody else\\'s package launch')\n")
    return os.pathsep.join(map(str, (folder, ROOT)))
