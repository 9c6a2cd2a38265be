"""Runs a module under `cProfile` with a clock of CPU time: `python -m bench.experiments.cpu_profile FILE MODULE ...`.

On a busy machine the time for which the process did not run would otherwise count for the function that it was in,
most often a system call that wakes another process.
"""

import cProfile
import runpy
import sys
import time

if __name__ == "__main__":
    _, file, module, *sys.argv[1:] = sys.argv
    profile = cProfile.Profile(time.thread_time_ns, 1e-9)
    try:
        profile.runcall(runpy.run_module, module, run_name="__main__", alter_sys=True)
    finally:
        profile.dump_stats(file)
