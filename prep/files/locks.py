"""One writer at a time where nothing can be locked: a small object says who writes, and is refreshed while he does.

It keeps apart writers on any machines that begin one after the other. What a killed writer left is taken over when nothing has
refreshed it for STALE_SECONDS. A writer that was paused for longer and comes back finds another's marker, or none, and replaces
nothing: it looks just before it shows what it has written. Of two that begin in the same moment the later marker counts, and the
other one finds it by then.

What it cannot guard against: a writer that is paused for minutes between that look and the request that follows it, and clocks of
two machines that differ by minutes. That would take conditional writes, which not every store has.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from hindcast.prep.errors import InputError
from hindcast.prep.files import storage

# The underscore keeps it out of what Petastorm and Spark take for data files.
MARKER = "_writing.json"
REFRESH_SECONDS, STALE_SECONDS = 30.0, 180.0


@dataclass
class Marker:
    """Ours, under a URI.

    took_over  whether it took the place of one that a killed writer left
    stays      whether it stays when the writer ends, as one that anybody may take over at once: because something lies there that
               no manifest names
    """

    uri: str
    took_over: bool
    stays: bool
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def file(self) -> str:
        return storage.join(self.uri, MARKER)

    def must_be_ours(self) -> None:
        """Raises InputError where another writer has taken over."""
        if not self._is_ours():
            raise InputError(
                f"{self.uri}: another writer took over, because nothing was heard from this one for {STALE_SECONDS:g} s or both "
                "began in the same moment. Nothing was replaced; write again when it has ended"
            )

    def put(self, when: float) -> None:
        fields = {"process": os.getpid(), "host": socket.gethostname(), "time": int(when), "token": self.token}
        storage.put(self.file, json.dumps(fields).encode())

    def refresh(self, ended: threading.Event) -> None:
        """Until the writer has ended, or lost its place."""
        while not ended.wait(REFRESH_SECONDS):
            with suppress(InputError):  # a store that is out of reach for a moment: what counts is the look at the end
                if not self._is_ours():
                    return
                self.put(time.time())

    def release(self) -> None:
        with suppress(InputError):  # it goes stale, and whatever failed before is what must be said
            if self._is_ours():
                self.put(0) if self.stays else storage.remove(self.file)

    def _is_ours(self) -> bool:
        content = storage.get(self.file)
        return content is not None and _fields_of(content).get("token") == self.token


@contextmanager
def marked(uri: str) -> Iterator[Marker]:
    """Our marker under `uri`, for the length of a `with`. Raises InputError where another is writing there."""
    took_over = refuse_marked(uri)
    marker, ended = Marker(uri, took_over, stays=took_over), threading.Event()
    refreshing = threading.Thread(target=marker.refresh, args=(ended,), daemon=True, name="hindcast-marker")
    try:
        marker.put(time.time())
        marker.must_be_ours()
        refreshing.start()
        yield marker
    finally:
        ended.set()
        if refreshing.is_alive():
            refreshing.join()  # or it would put back what is removed now
        marker.release()


def refuse_marked(uri: str) -> bool:
    """Whether a killed writer left its marker under `uri`. Raises InputError where someone is writing there."""
    file = storage.join(uri, MARKER)
    content = storage.get(file)
    if content is None:
        return False
    fields = _fields_of(content)
    when = fields.get("time")
    since = time.time() - when if isinstance(when, int) else 0.0
    if since < STALE_SECONDS:
        raise InputError(
            f"{uri}: is being written by process {fields.get('process', '?')} on {fields.get('host', '?')}, which was heard of "
            f"{max(0.0, since):.0f} s ago. Wait until that ends, or write elsewhere. If it was killed, its place is free when it "
            f"has not been heard of for {STALE_SECONDS:g} s, or when {file} is removed"
        )
    return True


def _fields_of(content: bytes) -> dict[str, object]:
    try:
        fields = json.loads(content)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
