"""The read side without a node: what the CLI (and later console and replay) asks of log and store.

It wakes no actor and writes nothing. What it shows may be ahead of what a lease read answers at
the owner by up to 1.1 L (log protocol 6). Forbidden here: the runtime and the SDK.
"""
