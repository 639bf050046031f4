"""The error that a user can mend."""


class InputError(ValueError):
    """What was given cannot be used. The message says where, what was found, what was expected and how to mend it.

    The command line prints it without a traceback.
    """


class RunError(RuntimeError):
    """A run ended because a process or a machine failed. The message says which, where, and what it said last."""
