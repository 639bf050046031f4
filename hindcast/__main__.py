"""`python -m hindcast` is `hindcast`, so that spark-submit and horovodrun can run it."""

import sys
from pathlib import Path

if not __package__:
    # Started as a file, as spark-submit does: then this folder is first on the path, and the project's own is not on it.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from hindcast.launch.cli import main

if __name__ == "__main__":
    main()
