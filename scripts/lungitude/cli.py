"""The `lungitude` command: what a person asks before and after a run."""

import argparse
import os
import sys
from pathlib import Path

from lungitude import checks, starting, summary, trial, windows


def main(arguments=None):
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="lungitude", description="Help with the folder of a trial, outside of a run."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say everything that is wrong with a trial folder")
    check.add_argument("trial", help="name under config/, or path of the folder or its config.yaml")
    begin = commands.add_parser("init", help="write the folder of a trial, to be edited")
    begin.add_argument("name", help="of the trial; its folder is config/<name>")
    begin.add_argument("--from", dest="source", choices=starting.SOURCES, default="empty",
                       help="trial whose folder is copied")  # fmt: skip
    tell = commands.add_parser("summary", help="say where a run's report is and what it left out")
    tell.add_argument("trial", help="the same")
    held = commands.add_parser("compare", help="say what changed between two runs, and why")
    for name in ("run_a", "run_b"):
        held.add_argument(name, help="folder of a run, such as results/mytrial, or a trial's name")
    held.add_argument("--out", default="results/compare", help="folder of what is written")
    held.add_argument("--tolerance", type=float, default=1e-9, help="relative difference to pass")
    mock = commands.add_parser("shells", help="write mock shells of a plan before there are data")
    mock.add_argument("trial", help="the same as for check; its sheets of patients need not exist")
    mock.add_argument("--out", help="folder of what is written; results/<trial>/shells if absent")
    mock.add_argument(
        "--stratum", action="append", help="path of a stratum, several times if wanted; all"
    )
    listed = commands.add_parser(
        "index", help="propose scans.tsv from an export of DICOM, NIfTI, NRRD and MHA files"
    )
    listed.add_argument("folder", metavar="DIR", help="folder of the export; it is only read")
    listed.add_argument("--trial", required=True, help="the same as for check")
    listed.add_argument(
        "--patients", help="sheet with PATIENTID and USUBJID, in place of 'sheets: patients'"
    )
    listed.add_argument("--out", help="folder of what is written; results/<trial>/index if absent")
    listed.add_argument(
        "--cores", type=int, default=min(4, os.cpu_count() or 1), help="headers read at once"
    )
    options = parser.parse_args(arguments)
    if options.command == "init":
        return begin_trial(options)
    if options.command == "index":
        return index_scans(options)
    if options.command == "compare":
        return compare_runs(options)
    if options.command == "shells":
        return write_shells(options)
    return {"check": check_trial, "summary": tell_summary}[options.command](options.trial)


def begin_trial(options):
    """Write a trial's folder and say what to do with it; return 0, or 1 where that can't be."""
    try:
        written = starting.begin(options.name, options.source)
    except starting.StartError as error:
        print(error, file=sys.stderr)
        return 1
    print(*written, sep="\n")
    print(
        "The folder runs as it is; its patients are invented. Put yours into the sheets, say in",
        "config.yaml and plan.yaml what your trial is, delete 'synthetic: true', and ask",
        f"lungitude check {options.name}",
        sep="\n",
    )
    return 0


def check_trial(name):
    """Print all problems of a trial folder, or what it holds; return 1 or 0."""
    path = config_of(name)
    if not os.path.lexists(path):
        trials = sorted(p.parent.name for p in Path("config").glob("*/config.yaml"))
        print(f"There is no trial '{name}', as {path} does not exist; ", end="", file=sys.stderr)
        print(checks.nearest(name, trials), file=sys.stderr)
        return 1
    try:
        found = trial.load(path)
    except trial.TrialError as error:
        count = len(error.problems)
        print(f"{count} problem{'s' * (count > 1)} in {path.parent}:", file=sys.stderr)
        print(*error.problems, sep="\n", file=sys.stderr)
        return 1
    counts = [
        f"{len(getattr(found, sheet))} rows in {sheet}.tsv"
        for sheet in trial.SHEETS
        if sheet in found.paths
    ]
    print(f"{path.parent}: no problem found ({', '.join(counts)}).")
    for note in windows.notes(found):
        print(f"Note: {note}")
    for made in found.mapped.values():
        print(*made.told(), sep="\n")
    if found.doubts:
        print("Please look at this; it may be right:", *found.doubts, sep="\n")
    return 0


def tell_summary(name):
    """Print what the last run of a trial left behind."""
    path = config_of(name)
    try:
        found = trial.load(path)
    except trial.TrialError:
        return check_trial(name)
    results = Path("results") / found.config["trial"]
    print(*summary.lines(results) or [f"Nothing in {results} yet."], sep="\n")
    return 0


def compare_runs(options):
    """Print what changed between two runs and write it; return 0, or 1 where a run is missing."""
    from lungitude import runs

    folders = [
        name if os.path.isdir(name) else Path("results") / name
        for name in (options.run_a, options.run_b)
    ]
    try:
        change = runs.compare(*folders, tolerance=options.tolerance)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(*runs.summary(change), runs.write(change, options.out), sep="\n")
    return 0


def write_shells(options):
    """Write the mock shells of a trial's plan; return 0, or 1 where config or plan are wrong."""
    from lungitude.reporting import shells

    path = config_of(options.trial)
    if not os.path.lexists(path):
        return check_trial(options.trial)
    try:
        found = shells.design_of(path)
        folder = options.out or Path("results") / found.config["trial"] / "shells"
        written = shells.write(found, folder, options.stratum or ["all"])
    except trial.TrialError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for page, left_out in written.items():
        print(page, page.with_suffix(".docx"), sep="\n")
        for title, why in left_out:
            print(f"no shell of '{title}': {why}")
    return 0


def index_scans(options):
    """Propose the scans.tsv of a trial from an export; return 0, or 1 where that can't be done."""
    from lungitude.indexing import export

    path = config_of(options.trial)
    if not os.path.lexists(path):
        return check_trial(options.trial)
    try:
        made = export.begin(path, options.patients)
        out = options.out or Path("results") / made.config["trial"] / "index"
        lines = export.index(options.folder, made, out, max(1, options.cores))
    except trial.TrialError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*lines, sep="\n")
    return 0


def config_of(name):
    """Return the config.yaml that a name, a folder or a file stands for."""
    path = Path(name)
    if path.name == "plan.yaml":
        return path.with_name("config.yaml")
    if path.suffix in (".yaml", ".yml"):
        return path
    return (path if os.path.isdir(path) else Path("config") / name) / "config.yaml"


if __name__ == "__main__":
    sys.exit(main())
