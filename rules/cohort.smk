# Sheets that are made of other files; none but that of randomisation takes a column that tells the
# arm, even if all of them come from one file.
rule map_sheet:
    """Write a sheet from the files that config.yaml maps, with the origin of each row."""
    input:
        files=files_of_maps,
        parameters=units_of_maps,
    output:
        sheet="<results>/sheets/{sheet}.tsv",
        counts="<results>/sheets/{sheet}_counts.tsv",
    log:
        "<results>/logs/map_sheet/{sheet}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        maps=lambda wildcards: SETTINGS["sheets"][wildcards.sheet],
        folder=str(TRIAL.folder),
        columns=lambda wildcards: (
            trials.subject_columns(SETTINGS) if wildcards.sheet == "subjects" else {}
        ),
        code=code("map_sheet"),
    script:
        "../scripts/map_sheet.py"


# The analysis data sets: here, and nowhere before, arm and stratum join the measurements.
rule derive_adam:
    """Derive the subject-level and the two long analysis data sets (ADaM)."""
    input:
        measurements="<results>/cohort/measurements.tsv",
        parameters=sheet("parameters"),
        subjects=sheet("subjects"),
        randomisation=sheet("randomisation"),
        events=sheet("events"),
        sessions=sessions_of_sets(),
    output:
        **{"grades": "<results>/cohort/grades.tsv"} if DERIVED else {},
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
        visit_windows=WINDOWS,
        derive=DERIVED,
        reference_values=REFERENCE_VALUES,
        scans=expected_scans() if WINDOWS else [],
        code=code("derive_adam"),
    script:
        "../scripts/derive_adam.py"


rule derive_exposure:
    """Derive the analysis data set of sessions planned and attended, where the trial has them."""
    input:
        adsl="<results>/cohort/adsl.parquet",
        sessions=sheet("sessions"),
    output:
        adex="<results>/cohort/adex.parquet",
        adex_tsv="<results>/cohort/adex.tsv",
    log:
        "<results>/logs/derive_exposure.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        data_cut=SETTINGS.get("data_cut"),
        strata=SETTINGS["strata"],
        code=code("derive_exposure"),
    script:
        "../scripts/derive_exposure.py"


rule derive_adverse:
    """Derive the analysis data set of adverse events, where the trial has them."""
    input:
        adsl="<results>/cohort/adsl.parquet",
        adverse=sheet("adverse"),
    output:
        adae="<results>/cohort/adae.parquet",
        adae_tsv="<results>/cohort/adae.tsv",
    log:
        "<results>/logs/derive_adverse.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        data_cut=SETTINGS.get("data_cut"),
        strata=SETTINGS["strata"],
        code=code("derive_adverse"),
    script:
        "../scripts/derive_adverse.py"
