"""Building blocks of each architecture family."""
