"""Servers and nodes for the tests of this folder."""

from tests.integration.node.servers import new_nodes, postgres_dsn, tansu

__all__ = ["new_nodes", "postgres_dsn", "tansu"]
