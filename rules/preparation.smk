# From what scans.tsv names to images in HU with a record of what they are.
if PHANTOM:

    rule render_scans:
        """Make the DICOM series of one visit of a phantom patient."""
        output:
            inspiration=directory(
                f"{PHANTOM['root']}/{{subject}}/{{visit}}/{IMAGING['inspiration']}"
            ),
            expiration=directory(
                f"{PHANTOM['root']}/{{subject}}/{{visit}}/{IMAGING['expiration']}"
            ),
        log:
            "<results>/logs/render_scans/{subject}_{visit}.log",
        conda:
            "../envs/imaging.yaml"
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            truth=phantom_truth,
            phantom=PHANTOM,
            code=code("render_scans"),
        script:
            "../scripts/render_scans.py"


rule ingest_scan:
    """Read one series, check it, and keep it in HU without anything that names the patient."""
    input:
        scan=scan_path,
    output:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
    log:
        "<results>/logs/ingest_scan/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        identity=identity,
        on_bad_scan=IMAGING.get("on_bad_scan"),
        state=scan_state,
        code=code("ingest_scan"),
    script:
        "../scripts/ingest_scan.py"


rule check_quality:
    """Measure the quality of one scan, compare it with the declared protocol, and draw it."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        lungs="<results>/visit/{subject}/{visit}/{series}/lungs.nii.gz",
        lungs_record="<results>/visit/{subject}/{visit}/{series}/lungs.json",
    output:
        table="<results>/visit/{subject}/{visit}/{series}/quality.tsv",
        picture="<results>/visit/{subject}/{visit}/{series}/quality.png",
    log:
        "<results>/logs/check_quality/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=3000,
        runtime=10,
    params:
        identity=identity,
        protocol=lambda wildcards: IMAGING["series"][wildcards.series],
        code=code("check_quality"),
    script:
        "../scripts/check_quality.py"
