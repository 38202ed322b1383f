# The analysis data sets for other software and for agencies; made when they are asked for:
#
#     snakemake --cores 2 datasets --configfile config/mytrial/config.yaml
rule export_data:
    """All analysis data sets as CSV, SAS transport file and Dataset-JSON, and define.xml."""
    input:
        **{name: f"{RESULTS}/cohort/{name}.parquet" for name in DATASETS},
    output:
        **{
            f"{name}_{suffix}": f"{RESULTS}/data/{name}.{suffix}"
            for name in DATASETS
            for suffix in ("csv", "xpt", "json")
        },
        define="<results>/data/define.xml",
    log:
        "<results>/logs/export_data.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        arms=SETTINGS["arms"],
        columns=[*SETTINGS["characteristics"], *SETTINGS["strata"]],
        study=SETTINGS.get("study", SETTINGS["trial"]),
        title=SETTINGS.get("title") or SETTINGS["trial"],
        cut=SETTINGS.get("data_cut"),
        code=code("export_data"),
    script:
        "../scripts/export_data.py"


rule write_ars:
    """All results, their methods and displays as a reporting event of CDISC ARS 1.0 (JSON)."""
    input:
        results="<results>/analysis/results.parquet",
        displays=expand(f"{RESULTS}/report/{{stratum}}/displays", stratum=STRATA),
    output:
        event="<results>/analysis/ars.json",
    log:
        "<results>/logs/write_ars.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        **{**reporting("write_ars"), "stratum": next(iter(STRATA.values()))},
        pages=list(STRATA.values()),
    script:
        "../scripts/write_ars.py"
