# Tables and figures of one stratum from the results alone, and the pages that hold them.
rule table_baseline:
    """Who was randomised: characteristics by arm."""
    input:
        results="<results>/analysis/results.parquet",
    output:
        html="<results>/report/{stratum}/table_baseline.html",
        tsv="<results>/report/{stratum}/table_baseline.tsv",
    log:
        "<results>/logs/table_baseline/{stratum}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **reporting("table_baseline"),
        display=display("table_baseline"),
    script:
        "../scripts/table_baseline.py"


rule table_primary:
    """The effect on the primary endpoint and on each declared family."""
    input:
        results="<results>/analysis/results.parquet",
    output:
        html="<results>/report/{stratum}/table_primary.html",
        tsv="<results>/report/{stratum}/table_primary.tsv",
    log:
        "<results>/logs/table_primary/{stratum}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **reporting("table_primary"),
        display=display("table_primary"),
    script:
        "../scripts/table_primary.py"


rule figure_trend:
    """Change from baseline by visit and arm."""
    input:
        results="<results>/analysis/results.parquet",
    output:
        svg="<results>/report/{stratum}/figure_trend.svg",
        png="<results>/report/{stratum}/figure_trend.png",
        pdf="<results>/report/{stratum}/figure_trend.pdf",
    log:
        "<results>/logs/figure_trend/{stratum}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **reporting("figure_trend"),
        display=display("figure_trend"),
    script:
        "../scripts/figure_trend.py"


rule figure_flow:
    """From randomisation to analysis, patients and scans."""
    input:
        results="<results>/analysis/results.parquet",
    output:
        svg="<results>/report/{stratum}/figure_flow.svg",
        png="<results>/report/{stratum}/figure_flow.png",
        pdf="<results>/report/{stratum}/figure_flow.pdf",
    log:
        "<results>/logs/figure_flow/{stratum}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **reporting("figure_flow"),
        display=display("figure_flow"),
    script:
        "../scripts/figure_flow.py"


rule report_stratum:
    """One page of a stratum with its displays, exclusions, methods and files."""
    input:
        unpack(display_files),
        results="<results>/analysis/results.parquet",
        scans="<results>/cohort/scans.tsv",
        adsl="<results>/cohort/adsl.parquet",
    output:
        report="<results>/report/{stratum}/report.html",
    log:
        "<results>/logs/report_stratum/{stratum}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **reporting("report_stratum"),
        displays=PLAN.get("displays", []),
        pages=list(STRATA.values()),
        links=links_of_report(),
        versions=provenance.versions(imaging=len(SCANS) > 0),
    script:
        "../scripts/report_stratum.py"


rule report_quality:
    """One page of all scans: pictures, numbers, flags, and what was left out and why."""
    input:
        quality="<results>/cohort/quality.tsv",
        scans="<results>/cohort/scans.tsv",
        registrations="<results>/cohort/registrations.tsv",
        trust="<results>/cohort/trust.tsv" if OWN_LABELS else [],
        pictures=[*per_chest("quality.png"), *pictures()],
        registration_pictures=registrations("registration.png"),
        prm_pictures=[*per_pair("prm/prm.png"), *per_response("prm.png")],
    output:
        page="<results>/report/quality.html",
    log:
        "<results>/logs/report_quality.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        visits=SETTINGS["visits"],
        trial=TITLES,
        code=code("report_quality"),
    script:
        "../scripts/report_quality.py"


onsuccess:
    print(*summary.lines(RESULTS), sep="\n", file=sys.stderr)
