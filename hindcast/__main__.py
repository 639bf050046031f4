"""The command `hindcast`; `python -m hindcast` is the same, so that spark-submit and horovodrun can run it."""

import sys
from pathlib import Path

if not __package__:
    # Started as a file, as spark-submit does: then this folder is first on the path, and the project's own is not on it.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import hindcast


def main() -> None:
    """Runs a command. What is imported to run one takes a second, and the version is told without it."""
    if sys.argv[1:] == ["--version"]:
        print(f"hindcast {hindcast.__version__}")
        return
    from hindcast.launch.cli import main as command_line

    command_line.main()


if __name__ == "__main__":
    main()
