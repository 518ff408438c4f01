"""Search spaces: which rows a table needs, and how an architecture reads them."""
