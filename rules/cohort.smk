# The analysis data sets: here, and nowhere before, arm and stratum join the measurements.
rule derive_adam:
    """Derive the subject-level and the two long analysis data sets (ADaM)."""
    input:
        measurements="<results>/cohort/measurements.tsv",
        parameters=sheet("parameters"),
        subjects=sheet("subjects"),
        randomisation=sheet("randomisation"),
        events=sheet("events"),
    output:
        adsl="<results>/cohort/adsl.parquet",
        adqct="<results>/cohort/adqct.parquet",
        adfun="<results>/cohort/adfun.parquet",
        adsl_tsv="<results>/cohort/adsl.tsv",
        adqct_tsv="<results>/cohort/adqct.tsv",
        adfun_tsv="<results>/cohort/adfun.tsv",
    log:
        "<results>/logs/derive_adam.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        study=SETTINGS.get("study", SETTINGS["trial"]),
        data_cut=SETTINGS.get("data_cut"),
        arms=SETTINGS["arms"],
        visits=SETTINGS["visits"],
        strata=SETTINGS["strata"],
        characteristics=SETTINGS["characteristics"],
        populations=PLAN.get("populations"),
        code=code("derive_adam"),
    script:
        "../scripts/derive_adam.py"
