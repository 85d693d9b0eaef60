"""The one exception that a user of the launcher is meant to read."""


class LaunchError(Exception):
    """Bad input or a failed launch; the message names the cause and the mend.

    The `kwc` command prints the message without a traceback.
    """
