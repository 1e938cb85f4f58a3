"""Spawn: event-sourced actors on a Kafka-compatible log."""
