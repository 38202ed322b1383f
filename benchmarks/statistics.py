"""Time the statistics on one core: ``python benchmarks/statistics.py [case ...]``.

Each case runs in a process of its own, so that its peak of memory is its own. Results go to
benchmarks/results/statistics.tsv, beside figures of R measured elsewhere (published.tsv).
"""

import json
import os
import platform
import subprocess
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from memory import peak_mb

ROOT = Path(__file__).parents[1]
# In place of this folder, where this file would hide the module of the standard library.
sys.path[0] = str(ROOT / "scripts")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
RESULT = ROOT / "benchmarks" / "results" / "statistics.tsv"
FEV = ROOT / "tests" / "reference" / "stats" / "data" / "mmrm_fev_data.csv"
BUDGET = 10.0  # seconds of repeats of a case, but at least 3 and at most 30 repeats

FEV_MODEL = ("FEV1 ~ RACE + SEX + ARMCD * AVISIT", "USUBJID", "AVISIT")
LARGE_MODEL = ("chg ~ base + strata + arm * visit", "id", "visit")


def fev():
    """Artificial trial of the R package mmrm: 197 patients with 537 observations, 4 visits."""
    return pd.read_csv(FEV)


def large(patients=2000, visits=10, seed=20262):
    """Simulate a trial with a different covariance of every pair of visits, 13.5 % missing."""
    rng = np.random.default_rng(seed)
    deviation = np.sqrt(1 + 0.5 * np.arange(visits))
    mixing = rng.standard_normal((visits, visits))
    covariance = mixing.T @ mixing + 4 * np.eye(visits)
    scale = np.sqrt(np.diag(covariance))
    covariance = np.abs(covariance / np.outer(scale, scale)) * np.outer(deviation, deviation)
    base = rng.normal(75, 10, patients).round(4)[:, None]
    stratum = rng.choice(3, patients, p=[0.3, 0.3, 0.4])[:, None]
    treated = rng.integers(0, 2, patients)[:, None]
    time_ = np.arange(1, visits + 1)
    noise = rng.standard_normal((patients, visits)) @ np.linalg.cholesky(covariance).T
    mean = 5 - 0.02 * base - (stratum == 1) + (stratum == 2) + 0.25 * treated
    change = mean + 0.25 * time_ * (1 + treated) + noise
    log_odds = 0.4 * time_ + 0.5 * (treated == 0) + 0.01 * base
    log_odds = log_odds - 5 - 0.5 * (stratum == 1) - (stratum == 2)
    change[rng.random(change.shape) < 1 / (1 + np.exp(-log_odds))] = np.nan
    names = [f"S{i:04d}" for i in range(1, patients + 1)]
    return pd.DataFrame(
        {
            "id": np.repeat(names, visits),
            "visit": np.tile([f"V{i:02d}" for i in time_], patients),
            "arm": np.repeat(np.array(["CTL", "TRT"])[treated[:, 0]], visits),
            "strata": np.repeat(np.array(["R1", "R2", "R3"])[stratum[:, 0]], visits),
            "base": np.repeat(base[:, 0], visits),
            "chg": change.round(5).ravel(),
        }
    )


def ready(data, formula, subject, visit, df="satterthwaite"):
    """Fit, and test all coefficients, once design matrix and response stand as arrays."""
    from lungitude.statistics.covariance import Structure
    from lungitude.statistics.likelihood import Likelihood
    from lungitude.statistics.mmrm import mmrm
    from lungitude.validation.fits import inferred

    rows = mmrm(data, formula, subject, visit).design
    codes, positions = (pd.factorize(rows.rows[x], sort=True)[0] for x in (subject, visit))
    m, identity = positions.max() + 1, np.eye(rows.matrix.shape[1])

    def fit():
        likelihood = Likelihood(rows.matrix, rows.response, codes, positions, [Structure(m, "us")])
        return inferred(likelihood, identity, [df])

    return fit


def whole(data, formula, subject, visit, df="satterthwaite"):
    """Call the public function, from the data frame to the table of coefficients."""
    from lungitude.statistics.mmrm import mmrm

    return lambda: mmrm(data, formula, subject, visit, df=df).coefficients


def random_intercept(data, formula, subject, visit):
    """Random intercept of the patient by the public function."""
    from lungitude.statistics.mixed import mixed_model

    return lambda: mixed_model(data, formula, groups=subject, random="1").coefficients


def statsmodels_intercept(data, formula, subject, visit):
    """Fit the same model by statsmodels MixedLM, which has no unstructured covariance of visits."""
    import statsmodels.formula.api as smf

    data = data.dropna()

    def fit():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return smf.mixedlm(formula, data, groups=data[subject]).fit(reml=True).summary()

    return fit


def imputed(way, strategy="j2r"):
    """Impute and analyse a trial of 200 patients an arm, 3 visits, 25 % drop-out."""
    from lungitude.statistics.imputation import impute_reference_based
    from lungitude.validation.imputations import frame
    from lungitude.validation.scenarios import SCENARIOS, draw, generator

    scenario = SCENARIOS["imputations_n200_dropout25_effect"]
    data = frame(*draw(scenario, generator(scenario, 0)))
    return lambda: impute_reference_based(
        data,
        value="CHG",
        covariates=["BASE", "BASE:AVISIT"],
        reference="control",
        strategy=strategy,
        method=way,
    )


KR = "kenward-roger"
RI = "random intercept"
CASES = {  # name: data, task, tool, preparation
    "fev_ready": (
        "fev",
        "us, Satterthwaite",
        "lungitude, design matrix ready",
        lambda: ready(fev(), *FEV_MODEL),
    ),
    "fev": ("fev", "us, Satterthwaite", "lungitude, whole call", lambda: whole(fev(), *FEV_MODEL)),
    "fev_kr": (
        "fev",
        "us, Kenward-Roger",
        "lungitude, whole call",
        lambda: whole(fev(), *FEV_MODEL, KR),
    ),
    "fev_mixed": ("fev", RI, "lungitude, whole call", lambda: random_intercept(fev(), *FEV_MODEL)),
    "fev_statsmodels": (
        "fev",
        RI,
        "statsmodels MixedLM",
        lambda: statsmodels_intercept(fev(), *FEV_MODEL),
    ),
    "large_ready": (
        "large",
        "us, Satterthwaite",
        "lungitude, design matrix ready",
        lambda: ready(large(), *LARGE_MODEL),
    ),
    "large": (
        "large",
        "us, Satterthwaite",
        "lungitude, whole call",
        lambda: whole(large(), *LARGE_MODEL),
    ),
    "large_kr_ready": (
        "large",
        "us, Kenward-Roger",
        "lungitude, design matrix ready",
        lambda: ready(large(), *LARGE_MODEL, KR),
    ),
    "large_kr": (
        "large",
        "us, Kenward-Roger",
        "lungitude, whole call",
        lambda: whole(large(), *LARGE_MODEL, KR),
    ),
    "large_mixed": (
        "large",
        RI,
        "lungitude, whole call",
        lambda: random_intercept(large(), *LARGE_MODEL),
    ),
    "large_statsmodels": (
        "large",
        RI,
        "statsmodels MixedLM",
        lambda: statsmodels_intercept(large(), *LARGE_MODEL),
    ),
    "impute": (
        "400 x 3",
        "J2R, conditional mean, jackknife",
        "lungitude, whole call",
        lambda: imputed("conditional-mean"),
    ),
    "impute_bayes": (
        "400 x 3",
        "J2R, Bayes, 500 imputations",
        "lungitude, whole call",
        lambda: imputed("bayes"),
    ),
}


def measure(name):
    """Time one case in this process: CPU seconds of each repeat, and memory."""
    call = CASES[name][3]()
    before = peak_mb()
    call()  # imports and caches
    times = []
    while len(times) < 3 or (sum(times) < BUDGET and len(times) < 30):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return {"times": times, "peak_mb": peak_mb(), "added_mb": peak_mb() - before}


def machine():
    """Describe the machine and the software in one line."""
    model = platform.processor() or platform.machine()
    path = Path("/proc/cpuinfo")
    if path.exists():
        lines = path.read_text().splitlines()
        model = next((x.split(":", 1)[1].strip() for x in lines if "model name" in x), model)
    versions = [f"{n} {metadata.version(n)}" for n in ("numpy", "scipy", "pandas", "statsmodels")]
    return "; ".join(
        [
            f"{model}, {os.cpu_count()} cores, one used",
            f"Python {platform.python_version()}",
            *versions,
        ]
    )


def main(names):
    """Run the cases, print the table, and write it when all were run."""
    rows = []
    for name in names or CASES:
        data, task, tool, _ = CASES[name]
        done = subprocess.run(  # noqa: S603
            [sys.executable, __file__, "--case", name],
            capture_output=True,
            text=True,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
        )
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
        found = json.loads(done.stdout)
        times = found["times"]
        rows.append(
            {
                "data": data,
                "task": task,
                "tool": tool,
                "cpu_min_s": f"{min(times):.4g}",
                "cpu_median_s": f"{np.median(times):.4g}",
                "repeats": str(len(times)),
                "peak_mb": f"{found['peak_mb']:.0f}",
                "added_mb": f"{found['added_mb']:.0f}",
                "where": machine(),
            }
        )
        print(
            f"{name:20s} {rows[-1]['cpu_min_s']:>9s} s (median {rows[-1]['cpu_median_s']} s, "
            f"{len(times)} repeats), {rows[-1]['added_mb']} MB",
            flush=True,
        )
    if names:
        return
    published = pd.read_csv(ROOT / "benchmarks" / "published.tsv", sep="\t", dtype=str)
    published = published.rename(columns={"cpu_s": "cpu_median_s", "source": "where"})
    table = pd.concat([pd.DataFrame(rows), published]).sort_values(
        ["data", "task"],
        kind="stable",
        key=lambda column: column.map(
            list(
                dict.fromkeys([*(row[column.name] for row in rows), *published[column.name]])
            ).index
        ),
    )
    RESULT.parent.mkdir(exist_ok=True)
    table.to_csv(RESULT, sep="\t", index=False, lineterminator="\n")
    print(f"{machine()}\nwritten: {RESULT.relative_to(ROOT)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:])
