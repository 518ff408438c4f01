"""opclock: on-device latency profiling."""

__version__ = "0.1.0"
