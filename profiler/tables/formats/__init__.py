"""Tables of others: a format is a file here, found by its name.

Each has UNIT, in which its files give latencies, `write(table, path)` and `read(path)`, which gives
a `profiler.tables.foreign.Reading` and raises TableError saying what is wrong with the file. Files
of a format that holds several figures side by side have OPTIONS, names that must be given; both
functions take them as keywords. A file whose name begins with an underscore is a part of others.
"""
