"""Calling actors from programs that are no node (docs/reference/http.md, `spawn.Client`).

A `Client` is an ingress of its own (log protocol 7): it numbers its requests, so that repeating one
never makes it take effect twice. `problems` is pure. aiohttp is loaded when a
client is opened.
"""

from spawn.client.client import Client

__all__ = ["Client"]
