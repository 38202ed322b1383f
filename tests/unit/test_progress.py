"""The progress line: jobs done of all, what runs, time left."""

from snakemake_logger_plugin_lungitude import Progress


def test_progress_counts_and_estimates():
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    progress.plan({"slow": 4, "quick": 2})
    assert progress.line() == "0 of 6 jobs (0 %)"
    for job in range(2):
        progress.start(job, "slow", "S1 week06")
        now[0] += 10
        progress.finish(job)
    # Two of four slow jobs took 10 s each, one after the other; the quick ones are guessed alike.
    assert progress.seconds_left() == 40
    progress.start(7, "quick", "S2 baseline")
    assert progress.line() == "2 of 6 jobs (33 %), about 40 s left | quick S2 baseline"
    progress.start(8, "quick", "S3 baseline")
    assert "quick x2" in progress.line()


def test_no_estimate_before_the_first_job_ends():
    progress = Progress(clock=lambda: 5.0)
    progress.plan({"slow": 1})
    assert progress.seconds_left() is None
