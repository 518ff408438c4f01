"""The latency lookup table: what it holds, how it is built, checked and used."""
