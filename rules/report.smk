# Tables and figures of one stratum from the results alone, and the pages that hold them.
rule render_displays:
    """All tables and figures that the plan asks for, and a list of what was left out."""
    input:
        study=study_files(),
        results="<results>/analysis/results.parquet",
        individual="<results>/analysis/individual.parquet",
    output:
        displays=directory("<results>/report/{stratum}/displays"),
    log:
        "<results>/logs/render_displays/{stratum}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1500,
        runtime=20,
    params:
        **reporting("render_displays"),
    script:
        "../scripts/render_displays.py"


rule write_documents:
    """The report of a stratum for Word, for LaTeX, as RTF tables and as PDF."""
    input:
        displays="<results>/report/{stratum}/displays",
        results="<results>/analysis/results.parquet",
    output:
        docx="<results>/report/{stratum}/report.docx",
        rtf="<results>/report/{stratum}/tables.rtf",
        tex="<results>/report/{stratum}/tables.tex",
        pdf="<results>/report/{stratum}/report.pdf",
    log:
        "<results>/logs/write_documents/{stratum}.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=1500,
        runtime=20,
    params:
        **reporting("write_documents"),
        versions=VERSIONS,
    script:
        "../scripts/write_documents.py"


rule report_stratum:
    """One page of a stratum with its displays, exclusions, methods and files."""
    input:
        displays="<results>/report/{stratum}/displays",
        results="<results>/analysis/results.parquet",
        scans="<results>/cohort/scans.tsv",
        adsl="<results>/cohort/adsl.parquet",
        adqct="<results>/cohort/adqct.parquet",
        adfun="<results>/cohort/adfun.parquet",
        grades="<results>/cohort/grades.tsv" if DERIVED else [],
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
        pages=list(STRATA.values()),
        links=links_of_report,
        viewers=len(SCANS) > 0,
        versions=VERSIONS,
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
        viewers=len(SCANS) > 0,
        code=code("report_quality"),
    script:
        "../scripts/report_quality.py"


onsuccess:
    print(*summary.lines(RESULTS), sep="\n", file=sys.stderr)
