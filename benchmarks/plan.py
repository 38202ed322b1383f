"""Time each analysis of a plan on one core: ``python benchmarks/plan.py [config.yaml] [results]``.

The data sets come from a run: ``snakemake analysis --configfile config/paper/config.yaml --cores
2``. Each analysis is the script of the workflow with a stand-in for its job, in a process
of its own. Results go to benchmarks/results/<trial>.tsv.
"""

import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from memory import peak_mb

ROOT = Path(__file__).parents[1]
# In place of this folder, where statistics.py would hide the module of the standard library.
sys.path[0] = str(ROOT / "scripts")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
COHORT = ("adsl.parquet", "adqct.parquet", "adfun.parquet", "scans.tsv")


class Parameters:
    """Parameters of a job: what config.yaml or plan.yaml has under a name, else None."""

    def __init__(self, trial, method):
        self._parts = (trial.config, trial.plan)
        self.plan = trial.plan["analyses"][method]

    def __getattr__(self, name):
        return next((part[name] for part in self._parts if name in part), None)


def analyse(config, results, method):
    """Run one analysis in this process; CPU seconds without and with imports, and peak memory."""
    from lungitude import trial as trials

    trial = trials.load(config)
    files = {Path(name).stem: results / "cohort" / name for name in COHORT}
    files = {name: str(path) for name, path in files.items() if path.exists()}
    files |= {name: str(path) for name, path in trial.paths.items() if name not in files}
    if method != "disposition":
        files.pop("scans", None)
    with tempfile.TemporaryDirectory() as folder:
        job = SimpleNamespace(
            input=SimpleNamespace(**files),
            output=SimpleNamespace(results=f"{folder}/{method}.parquet"),
            params=Parameters(trial, method),
        )
        main = runpy.run_path(str(ROOT / "scripts" / f"analyse_{method}.py"))["main"]
        start = time.process_time()
        main(job)
        seconds = time.process_time() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": seconds,
        "cpu_with_imports_s": used.ru_utime + used.ru_stime,
        "peak_mb": peak_mb(),
    }


def main(config="config/paper/config.yaml", results=None):
    """Time all analyses of the plan, print and write the table."""
    import pandas as pd

    from lungitude import trial as trials

    trial = trials.load(config)
    name = trial.config["trial"]
    results = Path(results or ROOT / "results" / name)
    if not (results / "cohort" / "adsl.parquet").exists():
        raise SystemExit(f"no data sets; run: snakemake analysis --configfile {config} --cores 2")
    rows = []
    for method in trial.plan["analyses"]:
        done = subprocess.run(  # noqa: S603
            [sys.executable, __file__, "--analysis", config, str(results), method],
            capture_output=True,
            text=True,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
        )
        if done.returncode:
            raise SystemExit(f"{method}: {done.stderr.strip().splitlines()[-1]}")
        rows.append({"analysis": method, **json.loads(done.stdout.splitlines()[-1])})
    table = pd.DataFrame(rows)
    total = {"analysis": "all", **table[["cpu_s", "cpu_with_imports_s"]].sum()}
    table = pd.concat([table, pd.DataFrame([total | {"peak_mb": table["peak_mb"].max()}])])
    path = ROOT / "benchmarks" / "results" / f"{name}.tsv"
    path.parent.mkdir(exist_ok=True)
    table.to_csv(path, sep="\t", index=False, float_format="%.4g", lineterminator="\n")
    print(table.to_string(index=False, float_format="{:.2f}".format))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--analysis"]:
        print(json.dumps(analyse(sys.argv[2], Path(sys.argv[3]), sys.argv[4])))
    else:
        main(*sys.argv[1:])
