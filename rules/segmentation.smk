# Where the organs are. Lungs now; airways, vessels and heart join here, each as a rule of its own
# that gives one label map a scan, and the network takes the place of the classical method.
rule segment_lungs:
    """Find the lungs of one scan, or take them from a label map of other software."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        labels=scan_labels,
    output:
        lungs="<results>/visit/{subject}/{visit}/{series}/lungs.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/lungs.json",
    log:
        "<results>/logs/segment_lungs/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        identity=identity,
        method=IMAGING.get("segmentation"),
        label_map=IMAGING.get("label_map"),
        label_scheme=IMAGING.get("label_scheme"),
        on_bad_scan=IMAGING.get("on_bad_scan"),
        code=code("segment_lungs"),
    script:
        "../scripts/segment_lungs.py"
