"""The command `spawn`: one module per command, and what they share.

Data goes to stdout, words to stderr. What a command needs is imported inside it, so that
`spawn --help` answers at once; `render` is pure. Forbidden here: decisions that a library user of
the packages below would miss, tracebacks without `--debug`, colour away from a terminal.
"""
