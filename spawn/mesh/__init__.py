"""Between the nodes of a system: links that carry frames of messages, and who lives.

A router above uses `Peers` (links by endpoint), `Detector` and `Panel` (who is unreachable) and the
messages of `wire`. Nothing here knows who owns what or runs an action; nothing above `adapter`
modules sees a type of gRPC. All of it is about liveness: a message may be lost, and whoever needs
to know whether it took effect asks again under the same number (log protocol 7).
"""
