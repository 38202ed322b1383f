# Biomarkers of one scan or visit: one table each, one row a region.
# Airways, vessels, heart, subtypes and lung function join here.
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


rule measure_prm:
    """Classify the lung of one visit by inspiration and registered expiration."""
    input:
        inspiration=visit_file("inspiration", "scan.nii.gz"),
        lungs=visit_file("inspiration", "lungs.nii.gz"),
        lungs_record=visit_file("inspiration", "lungs.json"),
        expiration="<results>/visit/{subject}/{visit}/exp_to_insp/expiration.nii.gz",
        record="<results>/visit/{subject}/{visit}/exp_to_insp/registration.json",
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


rule gather_measurements:
    """Put the measurements of scans and the imported ones into one long table."""
    input:
        parenchyma=per_scan("parenchyma.tsv"),
        prm=per_pair("prm/prm.tsv"),
        scans=per_scan("scan.json"),
        lungs=per_scan("lungs.json"),
        registrations=[
            *per_pair("exp_to_insp/registration.json"),
            *per_change("registration.json"),
        ],
        quality=per_scan("quality.tsv"),
        parameters=sheet("parameters"),
        measurements=sheet("measurements"),
    output:
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
        expected=expected_scans(),
        code=code("gather_measurements"),
    script:
        "../scripts/gather_measurements.py"
