"""Names of the files and folders of a dataset that are no data files."""

from __future__ import annotations

# The underscore keeps it out of what Petastorm and Spark take for data files.
MANIFEST = "_manifest.json"
# The names of folders and files beside it.
TAIL = "_tail"
QUARANTINE = "_quarantine"
PETASTORM = "_common_metadata"
# What names the datasets of a folder of them.
ORIGINS = "_origins.json"
