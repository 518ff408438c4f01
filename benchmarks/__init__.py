"""What there is to measure: operators, blocks, whole networks, search spaces."""
