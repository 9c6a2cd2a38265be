"""The last import of the process that others are forked from: takes what was imported out of the garbage collector.

A node collects garbage once before it serves. In a fork that reads, and so copies, the memory of every import.
"""

import gc

gc.collect()
gc.freeze()
