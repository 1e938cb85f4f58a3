"""The shell around the pure core: tasks, time, and the ports of log and store.

One `PartitionWorker` drives one partition's state machine. Forbidden here: client libraries (the
ports of `eventstore` hide them), the environment, and the SDK (actor types are `Behavior`s).
"""
