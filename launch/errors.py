"""What a user of the launcher is meant to read of an error."""

_OF_GIN = "In call to configurable"


class LaunchError(Exception):
    """Bad input or a failed launch; the message names the cause and the mend.

    The `kwc` command prints the message without a traceback.
    """


def last_line(text: str) -> str:
    r"""Returns the last line of a traceback but those of gin, which say where it was raised.

    >>> last_line("ValueError: no such rate\n  In call to configurable 'EPR' (<class 'EPR'>)")
    'ValueError: no such rate'
    """
    lines = [x for x in text.splitlines() if x.strip() and not x.lstrip().startswith(_OF_GIN)]
    return lines[-1].strip() if lines else "no message"
