"""One module per group of `kwc` commands.

A module has `register(subparsers)`, which adds its parsers and sets each one's `handler`: a
function of the parsed arguments that returns the exit status. Modules import what a command needs
inside its handler, so that `kwc --help` and the light commands start at once.
"""
