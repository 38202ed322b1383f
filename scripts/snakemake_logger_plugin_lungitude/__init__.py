"""Progress of a run in plain lines: jobs done of all, what runs now, time left.

Use it with ``snakemake --logger lungitude``; `make demo` does. Errors of jobs come from their own
scripts as one line each; everything else of Snakemake's talk stays in its log file.
"""

import collections
import logging
import sys
import time

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Without a terminal (a log file, CI) a line now and then is enough.
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts jobs and estimates the time left; knows nothing of Snakemake.

    The estimate takes, for each rule, the mean duration of its finished jobs (of all jobs until one
    has finished) and divides the work left by how many jobs ran side by side so far.
    """

    def __init__(self, clock=time.monotonic):
        self.clock = clock
        self.began = clock()
        self.total = self.done = 0
        self.waiting = collections.Counter()
        self.running = {}
        self.spent = collections.defaultdict(list)

    def plan(self, jobs_of_rule):
        """Take the number of jobs of each rule."""
        self.waiting = collections.Counter(jobs_of_rule)
        self.total = sum(self.waiting.values())

    def start(self, job, rule, whom):
        """Note that a job starts."""
        self.running[job] = (rule, whom, self.clock())

    def finish(self, job):
        """Note that a job ended well."""
        self.done += 1
        if job in self.running:
            rule, _, since = self.running.pop(job)
            self.waiting[rule] -= 1
            self.spent[rule].append(self.clock() - since)

    def seconds_left(self):
        """Estimate the seconds left, or None before there is anything to go by."""
        durations = [seconds for spent in self.spent.values() for seconds in spent]
        elapsed = self.clock() - self.began
        if not durations or elapsed <= 0:
            return None
        overall = sum(durations) / len(durations)
        work = sum(
            count * (sum(self.spent[rule]) / len(self.spent[rule]) if self.spent[rule] else overall)
            for rule, count in self.waiting.items()
            if count > 0
        )
        return work / max(1.0, sum(durations) / elapsed)

    def line(self):
        """Return the progress line."""
        share = 100 * self.done // self.total if self.total else 0
        left = self.seconds_left()
        left = "" if left is None or self.done == self.total else f", about {_words(left)} left"
        now = collections.Counter(rule for rule, _, _ in self.running.values())
        whom = {rule: name for rule, name, _ in self.running.values()}
        names = [
            f"{rule} x{count}" if count > 1 else f"{rule} {whom[rule]}".strip()
            for rule, count in sorted(now.items())
        ]
        doing = f" | {', '.join(names)}" if names else ""
        return f"{self.done} of {self.total} jobs ({share} %){left}{doing}"


def _words(seconds):
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _is_echo(message):
    """Tell whether a message only repeats that some job failed; its own line said why."""
    echoes = ("CalledProcessError", "Exiting because a job", "At least one job did not complete")
    return any(echo in message for echo in echoes)


class LogHandler(LogHandlerBase):
    """Snakemake's side of it: turns log events into calls of `Progress`."""

    def __post_init__(self):
        self.progress = Progress()
        self.terminal = sys.stderr.isatty()
        self.printed = 0.0

    def emit(self, record):
        """Take one log record of Snakemake."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            counts = {k: v for k, v in record.stats.items() if k != "total"}
            self.progress.plan(counts)
        elif event == LogEvent.JOB_INFO:
            whom = " ".join(str(value) for value in (record.wildcards or {}).values())
            self.progress.start(record.jobid, record.rule_name, whom)
            self._show()
        elif event == LogEvent.JOB_FINISHED:
            self.progress.finish(record.job_id)
            self._show(last=self.progress.done == self.progress.total)
        elif event == LogEvent.JOB_ERROR:
            self._print(f"Error in {record.rule_name}; see {', '.join(record.log or ['its log'])}")
        elif record.levelno >= logging.ERROR and not _is_echo(record.getMessage()):
            self._print(record.getMessage().strip())
        elif record.getMessage().startswith("Nothing to be done"):
            self._print("Nothing to do: all results are up to date.")

    def _show(self, last=False):
        now = time.monotonic()
        if self.terminal:
            print(f"\r\033[K{self.progress.line()[:118]}", end="", file=sys.stderr, flush=True)
            if last:
                print(file=sys.stderr)
        elif last or now - self.printed >= SECONDS_BETWEEN_LINES:
            print(self.progress.line(), file=sys.stderr, flush=True)
            self.printed = now

    def _print(self, text):
        print(f"\r\033[K{text}" if self.terminal else text, file=sys.stderr, flush=True)

    @property
    def writes_to_stream(self):
        """Progress goes to standard error."""
        return True

    @property
    def writes_to_file(self):
        """Nothing goes to a file."""
        return False

    @property
    def has_filter(self):
        """Take every record, whatever --quiet says."""
        return True

    @property
    def has_formatter(self):
        """The lines are formatted here."""
        return True

    @property
    def needs_rulegraph(self):
        """The graph of rules is not needed."""
        return False
