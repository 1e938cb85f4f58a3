"""The pure core: the partition as a state machine, its fold, and the vocabulary around it.

Forbidden here: asyncio, clocks, randomness, the environment, files, sockets and client libraries.
Of `eventstore` the core sees only `records`, `codec`, `fencing`, `rows` and `errors`.
"""
