"""How much memory a benchmark took."""

import resource
import sys
from pathlib import Path


def as_mb(maxrss):
    """Return what getrusage calls ru_maxrss in MB: Linux counts KiB, macOS bytes."""
    return maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def peak_mb():
    """Largest resident memory of this process so far, MB.

    Linux hands the figure of getrusage on from the process that started this one, however small
    this one is; the mark of /proc begins anew with each program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    return as_mb(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
