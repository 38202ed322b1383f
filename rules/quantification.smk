# Biomarkers of one scan or visit: one table each, one row a region.
# Airways, vessels and heart are measured where scans.tsv names their label maps or the run makes them;
# subtypes and lung function join here.
rule measure_parenchyma:
    """Measure density, low attenuation, volume and mass of the lungs of one scan."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        lungs="<results>/visit/{subject}/{visit}/{series}/lungs.nii.gz",
        lungs_record="<results>/visit/{subject}/{visit}/{series}/lungs.json",
    output:
        table="<results>/visit/{subject}/{visit}/{series}/parenchyma.tsv",
    log:
        "<results>/logs/measure_parenchyma/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        identity=identity,
        code=code("measure_parenchyma"),
    script:
        "../scripts/measure_parenchyma.py"


rule measure_airways:
    """Measure lumen and wall of the airways of one inspiration, branch by branch."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        airways=structure("AIRWAYS"),
        baseline=baseline_airways,
    output:
        table="<results>/visit/{subject}/{visit}/{series}/airways.tsv",
        branches="<results>/visit/{subject}/{visit}/{series}/branches.tsv",
        picture="<results>/visit/{subject}/{visit}/{series}/airways.png",
    log:
        "<results>/logs/measure_airways/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=3000,
        runtime=20,
    params:
        identity=identity,
        on_bad_scan=IMAGING.get("on_bad_scan"),
        psf_mm=psf_of,
        code=code("measure_airways"),
    script:
        "../scripts/measure_airways.py"


rule measure_vessels:
    """Measure the volume of the vessels of one inspiration by their cross-section."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        lungs="<results>/visit/{subject}/{visit}/{series}/lungs.nii.gz",
        lungs_record="<results>/visit/{subject}/{visit}/{series}/lungs.json",
        vessels=structure("VESSELS"),
    output:
        table="<results>/visit/{subject}/{visit}/{series}/vessels.tsv",
    log:
        "<results>/logs/measure_vessels/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=3000,
        runtime=20,
    params:
        identity=identity,
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("measure_vessels"),
    script:
        "../scripts/measure_vessels.py"


rule measure_calcium:
    """Score the coronary calcium of one scan without contrast."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        coronary=structure("CORONARY"),
    output:
        table="<results>/visit/{subject}/{visit}/{series}/calcium.tsv",
        picture="<results>/visit/{subject}/{visit}/{series}/calcium.png",
    log:
        "<results>/logs/measure_calcium/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        identity=identity,
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("measure_calcium"),
    script:
        "../scripts/measure_calcium.py"


rule measure_ventricle:
    """Measure volumes and mass of the left ventricle over one cardiac cycle."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        heart=structure("HEART"),
    output:
        table="<results>/visit/{subject}/{visit}/{series}/ventricle.tsv",
        curve="<results>/visit/{subject}/{visit}/{series}/volume_curve.tsv",
        picture="<results>/visit/{subject}/{visit}/{series}/ventricle.png",
    log:
        "<results>/logs/measure_ventricle/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        identity=identity,
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("measure_ventricle"),
    script:
        "../scripts/measure_ventricle.py"


rule measure_prm:
    """Classify the lung of one visit by inspiration and registered expiration."""
    input:
        inspiration=visit_file("inspiration", "scan.nii.gz"),
        lungs=visit_file("inspiration", "lungs.nii.gz"),
        lungs_record=visit_file("inspiration", "lungs.json"),
        expiration="<results>/visit/{subject}/{visit}/exp_to_insp/expiration.nii.gz",
        record="<results>/visit/{subject}/{visit}/exp_to_insp/registration.json",
        vessels=vessels_of_prm,
    output:
        table="<results>/visit/{subject}/{visit}/prm/prm.tsv",
        map="<results>/visit/{subject}/{visit}/prm/prm.nii.gz",
        picture="<results>/visit/{subject}/{visit}/prm/prm.png",
    log:
        "<results>/logs/measure_prm/{subject}_{visit}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        identity=identity,
        vessel_hu=IMAGING.get("prm", {}).get("vessel_hu"),
        code=code("measure_prm"),
    script:
        "../scripts/measure_prm.py"


rule draw_chest:
    """Draw one inspiration with all that was found in it."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        lungs="<results>/visit/{subject}/{visit}/{series}/lungs.nii.gz",
        lungs_record="<results>/visit/{subject}/{visit}/{series}/lungs.json",
        structures=structures,
        prm=prm_of_visit,
    output:
        picture="<results>/visit/{subject}/{visit}/{series}/chest.png",
    log:
        "<results>/logs/draw_chest/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=3000,
        runtime=10,
    params:
        identity=identity,
        columns=labelled_columns,
        code=code("draw_chest"),
    script:
        "../scripts/draw_chest.py"


rule compare_visits:
    """Measure the same branches and the same regions of the lungs at each visit of one patient."""
    input:
        branches=visits_of("branches.tsv", "AIRWAYS"),
        images=visits_of("scan.nii.gz"),
        lungs=visits_of("lungs.nii.gz"),
        lungs_records=visits_of("lungs.json"),
        transforms=changes_of("transform.tfm"),
        registrations=changes_of("registration.json"),
    output:
        parenchyma="<results>/subject/{subject}/parenchyma.tsv",
        airways="<results>/subject/{subject}/airways.tsv",
    log:
        "<results>/logs/compare_visits/{subject}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        subject=lambda wildcards: wildcards.subject,
        visits=SETTINGS["visits"],
        code=code("compare_visits"),
    script:
        "../scripts/compare_visits.py"


rule compare_prm:
    """Follow the response map of one patient from visit to visit, on the baseline's anatomy."""
    input:
        maps=responses_of("prm/prm.nii.gz"),
        images=visits_of("scan.nii.gz"),
        lungs=visits_of("lungs.nii.gz"),
        lungs_records=visits_of("lungs.json"),
        transforms=changes_of("transform.tfm"),
        registrations=changes_of("registration.json"),
    output:
        table="<results>/subject/{subject}/prm.tsv",
        picture="<results>/subject/{subject}/prm.png",
    log:
        "<results>/logs/compare_prm/{subject}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        subject=lambda wildcards: wildcards.subject,
        visits=SETTINGS["visits"],
        code=code("compare_prm"),
    script:
        "../scripts/compare_prm.py"


rule gather_measurements:
    """Put the measurements of scans and the imported ones into one long table."""
    input:
        **biomarkers(),
        **trust_files(),
        scans=per_scan("scan.json"),
        lungs=per_chest("lungs.json"),
        registrations=registrations("registration.json"),
        quality=per_chest("quality.tsv"),
        parameters=sheet("parameters"),
        measurements=sheet("measurements"),
        subjects=sheet("subjects") if REFERENCE_VALUES else [],
    output:
        **{"trust": "<results>/cohort/trust.tsv"} if OWN_LABELS else {},
        measurements="<results>/cohort/measurements.tsv",
        scans="<results>/cohort/scans.tsv",
        registrations="<results>/cohort/registrations.tsv",
        quality="<results>/cohort/quality.tsv",
    log:
        "<results>/logs/gather_measurements.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        visits=SETTINGS["visits"],
        by_date=WINDOWS.get("assign") == "by_date",
        reference_values=REFERENCE_VALUES,
        expected=expected_scans(),
        tables=list(biomarkers()),
        made=OWN_LABELS,
        spread_limits=IMAGING.get("network", {}).get("spread_limits", {}),
        roles={role: IMAGING.get(role) for role in ("inspiration", "expiration")},
        without_vessels=IMAGING.get("prm", {}).get("leave_out_vessels", False),
        code=code("gather_measurements"),
    script:
        "../scripts/gather_measurements.py"
