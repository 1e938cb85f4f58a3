"""The event log and the snapshot store, behind ports."""
