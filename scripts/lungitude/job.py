"""What every script of a rule shares: its log, and outputs that are whole or absent."""

import contextlib
import logging
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path


@contextlib.contextmanager
def job_log(job):
    """Send logging, warnings and the traceback of one job to its log file.

    Parameters
    ----------
    job : snakemake.script.Snakemake or a stand-in
        Only ``job.log`` and ``job.rule`` are read.

    Notes
    -----
    On a failure the traceback goes to the log, and one line (what failed, for whom, where the log
    is) to the screen; the process then ends with status 1. Users read the line, developers the log.
    """
    path = Path(str(job.log[0]) if job.log else os.devnull)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    # No clock in the log: logs of two equal runs are equal, too.
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells each letter of each figure
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    try:
        yield
    except Exception as error:
        logging.getLogger("lungitude").error("%s", traceback.format_exc())
        whom = " ".join(str(value) for value in getattr(job, "wildcards", []))
        line = str(error).strip().splitlines()
        summary = line[0] if line else type(error).__name__
        print(
            f"{job.rule} failed{f' for {whom}' if whom else ''}: {summary} (log: {path})",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def whole(path):
    """Give a temporary path that becomes `path` when the block ends well, and vanishes otherwise.

    The temporary file lies in the same folder and keeps all suffixes, so that libraries which
    choose a format by suffix write what is wanted, and the final rename is atomic.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as folder:
        part = Path(folder) / path.name
        yield part
        os.replace(part, path)


def write_empty(*paths):
    """Write empty files: the declared outputs of a job whose scan was excluded."""
    for path in paths:
        with whole(path) as part:
            part.touch()
