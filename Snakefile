from snakemake.utils import min_version

min_version("9.16")


include: "rules/common.smk"
include: "rules/preparation.smk"
include: "rules/registration.smk"
include: "rules/segmentation.smk"
include: "rules/external.smk"
include: "rules/quantification.smk"
include: "rules/readings.smk"
include: "rules/spread.smk"
include: "rules/cohort.smk"
include: "rules/statistics.smk"
include: "rules/report.smk"
include: "rules/export.smk"
include: "rules/viewer_inputs.smk"
include: "rules/viewer.smk"
include: "rules/validation.smk"
include: "rules/evaluation.smk"


# One target a level, in the order of the data; `all` is the last.
rule all:
    default_target: True
    input:
        targets(),


rule imaging:
    input:
        imaging_files(),


rule measurements:
    input:
        "<results>/cohort/measurements.tsv",


rule analysis:
    input:
        "<results>/analysis/results.parquet",


rule report:
    input:
        targets(),


rule datasets:
    input:
        "<results>/data/define.xml",
        "<results>/analysis/ars.json",


# The folder was checked while this file was read; nothing is left to do.
rule validate:
    input:
        [str(path) for path in TRIAL.files],
