"""`hindcast` from its first word to its exit status."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from rich.markup import escape

from hindcast.deep.lean import import_lean
from hindcast.launch.cli.commands import app
from hindcast.launch.cli.explaining import ending_message, explain
from hindcast.launch.global_options import DEBUG, parse
from hindcast.launch.spark import ended
from hindcast.launch.watching import runs, watchers
from hindcast.launch.watching.progress import console
from hindcast.prep.errors import InputError, RunError

INTERRUPTED = 130


def main() -> None:
    """Runs a command. What the user can mend is one message and exit status 2; a defect, exit status 1."""
    import_lean()
    debug = DEBUG in sys.argv
    try:
        arguments = parse(sys.argv[1:], os.environ)
        debug = arguments.debug
        watchers.begin(arguments)
        arguments.must_make_sense()
        app(args=arguments.for_parser, obj=dict(arguments.fields))
    except SystemExit as stop:  # how the parser ends a command, also one that went well
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        watchers.end("failed" if status else "succeeded", status, "the command line is none" if status else "")
        raise
    except (InputError, RunError) as error:
        if why := ended.reason():
            fail(f"{error}. {ending_message(why)}", 1, debug)
        fail(str(error), 2 if isinstance(error, InputError) else 1, debug)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED, debug)
    except Exception as error:
        message, mendable = explain(error)
        fail(message, 2 if mendable else 1, debug)


def fail(message: str, status: int, debug: bool) -> NoReturn:
    """Ends the process with a message on standard error; where that is read by machines, as they read it."""
    shows = runs.run().shows
    watchers.end("interrupted" if status == INTERRUPTED else "failed", status, message)
    if debug:
        traceback.print_exc()
    if not shows:
        raise SystemExit(status)
    stderr = type(console)(stderr=True, soft_wrap=True, highlight=False)
    stderr.print(f"[bold red]hindcast:[/] {escape(message)}")
    raise SystemExit(status)
