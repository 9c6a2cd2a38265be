"""The last import of the process from which others are forked: excludes the imported objects from garbage collection.

A node collects garbage once before it serves. In a fork this would read, and so copy, the memory of every import.
"""

import gc

gc.collect()
gc.freeze()
