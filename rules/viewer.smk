# The pages on which each scan is looked through, and what they load; linked from the pages of the
# report and of quality. They are apart from both: a report without them stays small.
VIEWER_BUNDLE = "scripts/lungitude/reporting/assets/niivue.js"


rule draw_viewer:
    """A page a scan of a visit: its slices in three planes, with all that was found on it."""
    input:
        viewer_files,
    output:
        folder=directory("<results>/report/scans/{subject}/{visit}"),
    log:
        "<results>/logs/draw_viewer/{subject}_{visit}.log",
    conda:
        "../envs/imaging.yaml"
    resources:
        mem_mb=3000,
        runtime=20,
    params:
        scans=viewer_scans,
        trial=TITLES,
        bundle="../../../assets/niivue.js",
        back={"label": "Quality of all scans", "href": "../../../quality.html"},
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
