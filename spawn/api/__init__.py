"""The JSON API of a node over HTTP (docs/reference/http.md).

`HttpServer` serves the port `spawn.core.ingress.Ingress`, and asks nothing else of the node. What
it is set up with is handed in; nothing here reads settings or the environment, loads an actor
type, or touches log and database. `paths`, `headers`, `problems` and `suggestions` are pure.
"""

from spawn.api.access import Access
from spawn.api.server import HttpLimits, HttpServer

__all__ = ["Access", "HttpLimits", "HttpServer"]
