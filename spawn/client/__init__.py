"""Calling actors from programs that are no node (docs/reference/http.md, `spawn.Client`).

A `Client` is an ingress of its own (log protocol 7): it numbers its requests, so that repeating one
never makes it take effect twice. `paths` and `problems` are pure; the CLI
uses them too, so nothing is imported here. aiohttp is loaded when a
client is opened.
"""
