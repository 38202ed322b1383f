# Operating characteristics of the statistics by simulation, and agreement of the imaging with its
# truth on random phantoms; the same whatever the trial.
# Finished blocks are kept, so that a run that was stopped goes on.
from lungitude.validation import imaging_cases, scenarios

VALIDATION = "results/validation/statistics"
SIMULATED = [
    f"{VALIDATION}/{scenario.kind}/{name}/{block}.parquet"
    for name, scenario in scenarios.SCENARIOS.items()
    for block in range(scenarios.BLOCKS[scenario.kind][0])
]


# The blocks stand here, too: documents that came with the project do not hide missing ones.
rule validate_statistics:
    input:
        SIMULATED,
        "docs/validation/statistics.md",


rule simulate_trials:
    """Simulate and analyse one block of trials of a scenario."""
    output:
        block="results/validation/statistics/{kind}/{scenario}/{block}.parquet",
    log:
        "results/validation/logs/{kind}/{scenario}/{block}.log",
    wildcard_constraints:
        kind=r"[a-z]+",
        scenario=r"[a-z][a-z0-9_]*",
        block=r"\d+",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        code=lambda wildcards: code(f"simulate_{wildcards.kind}"),
    script:
        "../scripts/simulate_{wildcards.kind}.py"


rule gather_validation:
    """Summarise all blocks with their Monte Carlo errors, and write the document."""
    input:
        SIMULATED,
    output:
        table="docs/validation/statistics.tsv",
        document="docs/validation/statistics.md",
    log:
        "results/validation/logs/gather_validation.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("gather_validation"),
    script:
        "../scripts/gather_validation.py"


MEASURED = [
    f"results/validation/imaging/{part}/{block}.parquet"
    for part in imaging_cases.PARTS
    for block in range(imaging_cases.BLOCKS)
]


PREPROCESSED = [
    f"results/validation/preprocessing/{case}.parquet" for case in range(20)
]


rule validate_imaging:
    input:
        MEASURED,
        PREPROCESSED,
        "docs/validation/imaging.md",
        "docs/validation/preprocessing.md",


rule validate_cases:
    """Measure one part of a block of random phantoms."""
    output:
        block="results/validation/imaging/{part}/{block}.parquet",
    log:
        "results/validation/logs/imaging/{part}/{block}.log",
    wildcard_constraints:
        part=r"[a-z]+",
        block=r"\d+",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=lambda wildcards: code(f"validate_{wildcards.part}"),
    script:
        "../scripts/validate_{wildcards.part}.py"


rule gather_imaging:
    """Summarise the measured phantoms, and write the document."""
    input:
        MEASURED,
    output:
        table="docs/validation/imaging.tsv",
        document="docs/validation/imaging.md",
    log:
        "results/validation/logs/gather_imaging.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("gather_imaging"),
    script:
        "../scripts/gather_imaging.py"


rule validate_preprocessing:
    """Measure what the published preprocessing does to the biomarkers of one random phantom."""
    output:
        case="results/validation/preprocessing/{case}.parquet",
    log:
        "results/validation/logs/preprocessing/{case}.log",
    wildcard_constraints:
        case=r"\d+",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code("validate_preprocessing"),
    script:
        "../scripts/validate_preprocessing.py"


rule gather_preprocessing:
    """Summarise what the preprocessing does, and write the document."""
    input:
        PREPROCESSED,
    output:
        table="docs/validation/preprocessing.tsv",
        document="docs/validation/preprocessing.md",
    log:
        "results/validation/logs/gather_preprocessing.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("gather_preprocessing"),
    script:
        "../scripts/gather_preprocessing.py"
