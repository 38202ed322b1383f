# From what scans.tsv names to images in HU with a record of what they are.
if PHANTOM:
    MADE = f"{PHANTOM['root']}/{{subject}}/{{visit}}"

    rule render_chest:
        """Make the DICOM series of the lungs of one visit of a phantom patient, and true labels."""
        output:
            inspiration=directory(f"{MADE}/{IMAGING['inspiration']}"),
            expiration=directory(f"{MADE}/{IMAGING['expiration']}"),
            airways=f"{MADE}/labels/airways.nii.gz",
            vessels=f"{MADE}/labels/vessels.nii.gz",
        log:
            "<results>/logs/render_chest/{subject}_{visit}.log",
        conda:
            "../envs/imaging.yaml"
        resources:
            mem_mb=3000,
            runtime=10,
        params:
            truth=phantom_truth,
            phantom=PHANTOM_SETTINGS,
            code=code("render_chest"),
        script:
            "../scripts/render_chest.py"

    if {"calcium", "gated"} <= set(IMAGING):

        rule render_heart:
            """Make the DICOM series of the heart of one visit of a phantom patient, and true labels."""
            output:
                calcium=directory(f"{MADE}/{IMAGING['calcium']}"),
                gated=directory(f"{MADE}/{IMAGING['gated']}"),
                coronary=f"{MADE}/labels/coronary.nii.gz",
                heart=f"{MADE}/labels/heart.nii.gz",
            log:
                "<results>/logs/render_heart/{subject}_{visit}.log",
            conda:
                "../envs/imaging.yaml"
            resources:
                mem_mb=2000,
                runtime=10,
            params:
                truth=phantom_truth,
                phantom=PHANTOM_SETTINGS,
                code=code("render_heart"),
            script:
                "../scripts/render_heart.py"


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
        cycle=lambda wildcards: IMAGING["series"][wildcards.series]["cycle"],
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
