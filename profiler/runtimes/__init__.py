"""Runtimes: one file per engine that executes an artifact."""
