# Label maps of other software: brought onto the scan with our codes, and made where config.yaml
# says so (imaging: external). One environment a software; none of them ships with the project.
if EXTERNAL or FOREIGN:

    rule adopt_labels:
        """Bring the labels of other software onto a scan, with our codes."""
        input:
            image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
            record="<results>/visit/{subject}/{visit}/{series}/scan.json",
            labels=given_labels,
        output:
            labels="<results>/visit/{subject}/{visit}/{series}/labels/{structure}.nii.gz",
            record="<results>/visit/{subject}/{visit}/{series}/labels/{structure}.json",
        log:
            "<results>/logs/adopt_labels/{subject}_{visit}_{series}_{structure}.log",
        wildcard_constraints:
            structure="|".join(column.lower() for column in trials.STRUCTURES),
        conda:
            "../envs/imaging.yaml"
        resources:
            mem_mb=4000,
            runtime=20,
        params:
            identity=identity,
            column=lambda wildcards: wildcards.structure.upper(),
            label_map=lambda wildcards: label_map_of(
                wildcards.structure.upper(), wildcards
            ),
            cycle=lambda wildcards: IMAGING["series"][wildcards.series]["cycle"],
            resample_labels=IMAGING.get("resample_labels"),
            on_bad_scan=IMAGING.get("on_bad_scan"),
            state=labels_state,
            code=code("adopt_labels"),
        script:
            "../scripts/adopt_labels.py"


for SOFTWARE in sorted({run["software"] for run in EXTERNAL.values()}):

    # Before anything else: what is missing is told before a long run has begun.
    rule:
        name:
            f"check_{SOFTWARE}"
        output:
            record="<results>/external/{run}.json",
        log:
            f"<results>/logs/check_{SOFTWARE}/{{run}}.log",
        wildcard_constraints:
            run=runs_of(SOFTWARE),
        priority: 100
        conda:
            f"../envs/{SOFTWARE}.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            settings=run_settings,
            state=weights_state,
            code=code("check_external"),
        script:
            "../scripts/check_external.py"

    rule:
        name:
            f"run_{SOFTWARE}"
        input:
            image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
            record="<results>/visit/{subject}/{visit}/{series}/scan.json",
            check="<results>/external/{run}.json",
        output:
            labels="<results>/visit/{subject}/{visit}/{series}/external/{run}.nii.gz",
            record="<results>/visit/{subject}/{visit}/{series}/external/{run}.json",
        log:
            f"<results>/logs/run_{SOFTWARE}/{{subject}}_{{visit}}_{{series}}_{{run}}.log",
        wildcard_constraints:
            run=runs_of(SOFTWARE),
        conda:
            f"../envs/{SOFTWARE}.yaml"
        threads: lambda wildcards: EXTERNAL[wildcards.run]["threads"]
        resources:
            mem_mb=16000,
            runtime=120,
            gpu=lambda wildcards: int(EXTERNAL[wildcards.run]["device"] == "gpu"),
        params:
            identity=identity,
            settings=run_settings,
            cycle=lambda wildcards: IMAGING["series"][wildcards.series]["cycle"],
            code=code("run_external"),
        script:
            "../scripts/run_external.py"
