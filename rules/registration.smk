# The same anatomy in two images: through the breath, through time, and of the heart.
rule register_exp_to_insp:
    """Bring the expiration of a visit onto its inspiration."""
    input:
        fixed=visit_file("inspiration", "scan.nii.gz"),
        fixed_record=visit_file("inspiration", "scan.json"),
        fixed_lungs=visit_file("inspiration", "lungs.nii.gz"),
        fixed_lungs_record=visit_file("inspiration", "lungs.json"),
        moving=visit_file("expiration", "scan.nii.gz"),
        moving_record=visit_file("expiration", "scan.json"),
        moving_lungs=visit_file("expiration", "lungs.nii.gz"),
        moving_lungs_record=visit_file("expiration", "lungs.json"),
    output:
        transform="<results>/visit/{subject}/{visit}/exp_to_insp/transform.tfm",
        image="<results>/visit/{subject}/{visit}/exp_to_insp/expiration.nii.gz",
        record="<results>/visit/{subject}/{visit}/exp_to_insp/registration.json",
        picture="<results>/visit/{subject}/{visit}/exp_to_insp/registration.png",
    log:
        "<results>/logs/register_exp_to_insp/{subject}_{visit}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        identity=identity,
        registration=IMAGING.get("registration"),
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("register_exp_to_insp"),
    script:
        "../scripts/register_exp_to_insp.py"


rule register_to_baseline:
    """Bring the inspiration of a follow-up onto that of the baseline."""
    input:
        fixed=baseline_file("inspiration", "scan.nii.gz"),
        fixed_record=baseline_file("inspiration", "scan.json"),
        fixed_lungs=baseline_file("inspiration", "lungs.nii.gz"),
        fixed_lungs_record=baseline_file("inspiration", "lungs.json"),
        moving=visit_file("inspiration", "scan.nii.gz"),
        moving_record=visit_file("inspiration", "scan.json"),
        moving_lungs=visit_file("inspiration", "lungs.nii.gz"),
        moving_lungs_record=visit_file("inspiration", "lungs.json"),
    output:
        transform="<results>/subject/{subject}/{visit}_to_baseline/transform.tfm",
        record="<results>/subject/{subject}/{visit}_to_baseline/registration.json",
        picture="<results>/subject/{subject}/{visit}_to_baseline/registration.png",
    log:
        "<results>/logs/register_to_baseline/{subject}_{visit}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        identity=identity,
        registration=IMAGING.get("registration"),
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("register_to_baseline"),
    script:
        "../scripts/register_to_baseline.py"


rule register_heart:
    """Bring the gated scan of a visit onto its inspiration."""
    input:
        fixed=visit_file("inspiration", "scan.nii.gz"),
        fixed_record=visit_file("inspiration", "scan.json"),
        moving=visit_file("gated", "scan.nii.gz"),
        moving_record=visit_file("gated", "scan.json"),
        heart=heart_of_visit,
    output:
        transform="<results>/visit/{subject}/{visit}/heart_to_insp/transform.tfm",
        record="<results>/visit/{subject}/{visit}/heart_to_insp/registration.json",
        picture="<results>/visit/{subject}/{visit}/heart_to_insp/registration.png",
    log:
        "<results>/logs/register_heart/{subject}_{visit}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=3000,
        runtime=20,
    params:
        identity=identity,
        registration=IMAGING.get("heart_registration"),
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("register_heart"),
    script:
        "../scripts/register_heart.py"
