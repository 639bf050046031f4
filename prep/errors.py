"""The error that a user can mend."""


class InputError(ValueError):
    """What was given cannot be used. The message says where, what was found, what was expected and how to mend it.

    The command line prints it without a traceback. Everything else that is raised is a defect of Hindcast.
    """
