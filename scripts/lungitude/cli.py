"""The `lungitude` command: what a person asks before a run."""

import argparse
import sys
from pathlib import Path

from lungitude import trial


def main(arguments=None):
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="lungitude", description="Help with the folder of a trial, outside of a run."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say everything that is wrong with a trial folder")
    check.add_argument("trial", help="name under config/, or path of the folder or its config.yaml")
    options = parser.parse_args(arguments)
    return check_trial(options.trial)


def check_trial(name):
    """Print all problems of a trial folder, or what it holds; return 1 or 0."""
    path = config_of(name)
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
    return 0


def config_of(name):
    """Return the config.yaml that a name, a folder or a file stands for."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    return (path if path.is_dir() else Path("config") / name) / "config.yaml"


if __name__ == "__main__":
    sys.exit(main())
