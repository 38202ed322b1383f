# The pages on which each scan is looked through, and what they load; linked from the pages of the
# report and of quality. They are apart from both: a report without them stays small.
VIEWER_BUNDLE = "scripts/lungitude/reporting/assets/niivue.js"
VIEWER_PAGES = "<results>/report/scans/{subject}/{visit}/{series}.html"


rule draw_viewer:
    """One page of a scan: its slices in three planes, with all that was found on it."""
    input:
        image="<results>/visit/{subject}/{visit}/{series}/scan.nii.gz",
        record="<results>/visit/{subject}/{visit}/{series}/scan.json",
        lungs=viewer_lungs("lungs.nii.gz"),
        lungs_record=viewer_lungs("lungs.json"),
        structures=viewer_structures,
        prm=viewer_prm,
    output:
        page=VIEWER_PAGES,
    log:
        "<results>/logs/draw_viewer/{subject}_{visit}_{series}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=3000,
        runtime=10,
    params:
        identity=identity,
        columns=viewer_columns,
        windows=viewer_windows,
        links=viewer_links,
        trial=TITLES,
        bundle="../../../assets/niivue.js",
        back={"label": "Quality of all scans", "href": "../../../quality.html"},
        cycle=lambda wildcards: IMAGING["series"][wildcards.series]["cycle"],
        code=code("draw_viewer"),
    script:
        "../scripts/draw_viewer.py"


rule copy_viewer:
    """What the pages of all scans load, once."""
    input:
        bundle=f"{workflow.basedir}/{VIEWER_BUNDLE}",
        licences=f"{workflow.basedir}/scripts/lungitude/reporting/assets/LICENSES.txt",
    output:
        bundle="<results>/report/assets/niivue.js",
        licences="<results>/report/assets/LICENSES.txt",
    log:
        "<results>/logs/copy_viewer.log",
    conda:
        "../envs/statistics.yaml"
    resources:
        mem_mb=200,
        runtime=5,
    shell:
        'cp {input:q} "$(dirname {output.bundle:q})" 2> {log:q}'


rule viewers:
    """The page of every scan."""
    input:
        viewer_pages(),
