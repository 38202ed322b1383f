# The trial, checked as a whole before any job starts, and what rules ask of it. No rules here.
# The figures of a run never depend on the number of cores: each kernel library gets one thread.
import functools
import itertools
import os
import sys
from pathlib import Path
from types import SimpleNamespace

# First, so that a copy of the project uses its own library even where another one is installed.
sys.path.insert(0, f"{workflow.basedir}/scripts")

from lungitude import backends, network_study, provenance, summary, tables
from lungitude import trial as trials

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
os.environ.update(dict.fromkeys(THREADS, "1"), PYTHONHASHSEED="0")


def stop(*lines):
    """End with plain lines in place of a traceback."""
    print(*lines, sep="\n", file=sys.stderr)
    raise SystemExit(1)


if not workflow.configfiles:
    stop("Which trial? Name its folder: snakemake --configfile config/demo/config.yaml")

try:
    TRIAL = trials.load(workflow.configfiles[-1], config)
except trials.TrialError as error:
    count = len(error.problems)
    folder = Path(workflow.configfiles[-1]).parent
    stop(f"{count} problem{'s' * (count > 1)}; nothing was run.", *error.brief(folder))


pathvars:
    results=f"results/{TRIAL.config['trial']}",


RESULTS = f"results/{TRIAL.config['trial']}"
SETTINGS = TRIAL.config
IMAGING = SETTINGS.get("imaging", {})
WINDOWS = SETTINGS.get("visit_windows", {})
REFERENCE_VALUES = SETTINGS.get("reference_values", {})
DERIVED = SETTINGS.get("derive", {})
PLAN = TRIAL.plan or {}
SCANS = trials.with_runs(TRIAL.scans, IMAGING)
EXTERNAL = IMAGING.get("external", {})
FOREIGN = IMAGING.get("label_maps", {})
VISITS = {visit["path"]: visit for visit in SETTINGS["visits"]}
STRATA = {stratum["path"]: stratum for stratum in TRIAL.strata}
SCAN_OF = SCANS.set_index(["USUBJID", "visit", "SERIES"]).sort_index()
SERIES_OF = SCANS.groupby(["USUBJID", "visit"])["SERIES"].agg(list).to_dict()
SCANS_ROOT = trials.scans_root(SETTINGS)
PHANTOM = SETTINGS.get("phantom")


wildcard_constraints:
    subject=r"[A-Za-z0-9][A-Za-z0-9._-]*",
    visit=r"[a-z][a-z0-9_]*",
    series=r"[a-z][a-z0-9_]*",
    stratum=r"[a-z][a-z0-9_]*",
    sheet="|".join(TRIAL.mapped) or "none",
    method=r"(?!(results|individual)\.)[a-z][a-z0-9_]*",


def code(script):
    """Digest of a script and the library modules that it reaches: a change reruns its jobs."""
    return provenance.digest(script)


def scan_path(wildcards):
    """Where a scan lies: given in scans.tsv, or made from the phantom's record."""
    return str(SCANS_ROOT / SCAN_OF.at[(*wildcards,), "PATH"])


def scan_state(wildcards, input):
    """Number, size and date of a scan's files; those of the phantom are made by a job."""
    if PHANTOM and Path(input.scan).is_relative_to(PHANTOM["root"]):
        return "made by the run"
    return provenance.fingerprint(input.scan)


CHEST_STRUCTURES = ("AIRWAYS", "VESSELS")
NETWORK = IMAGING.get("segmentation") == "network"
# Those that region growing finds where scans.tsv names no label map.
GROWN = [c for c in CHEST_STRUCTURES if IMAGING.get("classical", {}).get(c.lower())]
SHIPPED_WEIGHTS = "scripts/lungitude/networks/weights/hierarchical.safetensors"


ROLES_OF_SERIES = {
    role: IMAGING[role] for role in set(trials.STRUCTURES.values()) if role in IMAGING
}


def weights_digest():
    """Digest of the network's weights: other weights rerun what they find."""
    own = IMAGING.get("network", {}).get("weights")
    return provenance.digest_of(own or f"{workflow.basedir}/{SHIPPED_WEIGHTS}")


def has_labels(scan, column):
    """Whether a scan (subject, visit, series) has a label map of a structure.

    scans.tsv names it, or the network or region growing makes it on the series that the structure
    is measured on.
    """
    made = NETWORK or column in GROWN
    role = IMAGING.get(trials.STRUCTURES[column])
    return isinstance(SCAN_OF.at[scan, column], str) or (made and scan[2] == role)


def labelled_columns(wildcards):
    """Which structures of the chest a visit has label maps of."""
    scan = (wildcards.subject, wildcards.visit, IMAGING.get("inspiration"))
    return [column for column in CHEST_STRUCTURES if has_labels(scan, column)]


def structures(wildcards):
    """Their label maps, in the same order."""
    return [structure(column)(wildcards) for column in labelled_columns(wildcards)]


def prm_of_visit(wildcards):
    """The map of the classes of the lung, where the visit has an expiration."""
    visit = (wildcards.subject, wildcards.visit)
    return (
        [f"{RESULTS}/visit/{'/'.join(visit)}/prm/prm.nii.gz"] if visit in PAIRED else []
    )


def baseline_airways(wildcards):
    """Record and branches of the patient's baseline, for the airways of a follow-up."""
    scan = (wildcards.subject, TRIAL.baseline["path"], wildcards.series)
    if VISITS[wildcards.visit]["baseline"] or scan not in SCAN_OF.index:
        return []
    if not has_labels(scan, "AIRWAYS"):
        return []
    folder = f"{RESULTS}/visit/{'/'.join(scan)}"
    return [f"{folder}/scan.json", f"{folder}/branches.tsv"]


def psf_of(wildcards):
    """The point spread of a series in mm, if config.yaml declares it."""
    return IMAGING["series"][wildcards.series].get("psf_mm")


def scan_labels(wildcards):
    """The label map of the lungs for a scan, if scans.tsv names one or the network makes it."""
    subject, visit, series = scan = (*wildcards,)
    if isinstance(SCAN_OF.at[scan, "LABELS"], str):
        return [labels_at(scan, "LABELS")]
    return [
        f"{RESULTS}/visit/{subject}/{visit}/network/{series}_lobes.nii.gz"
    ] * NETWORK


def by_network(wildcards):
    """Whether the lungs of a scan come from the network."""
    return NETWORK and not isinstance(SCAN_OF.at[(*wildcards,), "LABELS"], str)


def lungs_told(wildcards, key):
    """What config.yaml tells of the label map of the lungs; the network's are lobes."""
    if by_network(wildcards):
        return {"label_scheme": "lobes"}.get(key)
    return label_map_of("LABELS", wildcards) if key == "label_map" else IMAGING.get(key)


def structure(column):
    """The label map of a structure on the series that it is measured on."""

    def path(wildcards):
        subject, visit = wildcards.subject, wildcards.visit
        scan = (subject, visit, IMAGING.get(trials.STRUCTURES[column]))
        if not isinstance(SCAN_OF.at[scan, column], str):
            maker = "network" if NETWORK else "classical"
            return f"{RESULTS}/visit/{subject}/{visit}/{maker}/{column.lower()}.nii.gz"
        if column in FOREIGN or run_at(scan, column):
            return f"{RESULTS}/visit/{'/'.join(scan)}/labels/{column.lower()}.nii.gz"
        return labels_at(scan, column)

    return path


def run_at(scan, column):
    """The run of other software that makes a scan's labels of a column; '' for those of a sheet."""
    said = SCAN_OF.at[scan, column]
    return said.removeprefix(trials.RUN) if said.startswith(trials.RUN) else ""


def labels_at(scan, column):
    """Where a scan's labels of a column lie as the software wrote them."""
    run = run_at(scan, column)
    if run:
        return f"{RESULTS}/visit/{'/'.join(scan)}/external/{run}.nii.gz"
    return str(SCANS_ROOT / SCAN_OF.at[scan, column])


def given_labels(wildcards):
    """The same of the structure at hand."""
    scan = (wildcards.subject, wildcards.visit, wildcards.series)
    return labels_at(scan, wildcards.structure.upper())


def label_map_of(column, wildcards):
    """What the labels of a column mean: as the run says, or config.yaml."""
    scan = (wildcards.subject, wildcards.visit, wildcards.series)
    if not isinstance(SCAN_OF.at[scan, column], str):
        return None
    run = run_at(scan, column)
    if run:
        fills = EXTERNAL[run]["fills"]
        own = fills[column] if isinstance(fills, dict) else None
        return (
            own or backends.backend(**backends.settings_of(EXTERNAL[run])).label_map()
        )
    return FOREIGN.get(column, IMAGING.get("label_map") if column == "LABELS" else None)


def labels_state(wildcards, input):
    """Number, size and date of the files of labels; those that a job makes change by themselves."""
    made = str(input.labels).startswith(
        (f"{RESULTS}/", PHANTOM["root"] if PHANTOM else "//")
    )
    return "made by the run" if made else provenance.fingerprint(input.labels)


def runs_of(software):
    """Names of the runs of a software, as a pattern."""
    return "|".join(
        name for name, run in EXTERNAL.items() if run["software"] == software
    )


def run_settings(wildcards):
    """What a run is, but for its threads and what is done with its labels."""
    return backends.settings_of(EXTERNAL[wildcards.run])


def weights_state(wildcards):
    """Number, size and date of the weights that config.yaml names: new ones are used at once."""
    weights = EXTERNAL[wildcards.run].get("weights")
    return provenance.fingerprint(weights) if weights and Path(weights).exists() else ""


def visit_scans(name):
    """A file of every scan of a visit, in the order of scans.tsv."""
    return lambda wildcards: [
        f"{RESULTS}/visit/{wildcards.subject}/{wildcards.visit}/{series}/{name}"
        for series in SERIES_OF[wildcards.subject, wildcards.visit]
    ]


def identity(wildcards):
    """The columns that name a row of a visit's or a scan's table."""
    return {
        "USUBJID": wildcards.subject,
        "AVISIT": VISITS[wildcards.visit]["name"],
        "SERIES": getattr(wildcards, "series", "visit"),
    }


def identity_of(role):
    """The same for a job of a visit that reads the series of one role."""
    return lambda wildcards: {**identity(wildcards), "SERIES": IMAGING[role]}


# (subject, visit) with an inspiration; of these, with an expiration too; with a gated scan that is
# to be registered; with an earlier baseline.
INSPIRED = {
    pair: series
    for pair, series in SERIES_OF.items()
    if IMAGING.get("inspiration") in series
}
PAIRED = [
    pair for pair, series in INSPIRED.items() if IMAGING.get("expiration") in series
]
GATED = [
    pair
    for pair, series in INSPIRED.items()
    if "heart_registration" in IMAGING and IMAGING["gated"] in series
]
FOLLOWED = [
    (subject, visit)
    for subject, visit in INSPIRED
    if not VISITS[visit]["baseline"] and (subject, TRIAL.baseline["path"]) in INSPIRED
]


HEART_SERIES = {IMAGING.get("calcium"), IMAGING.get("gated")}


def made_parts(scan):
    """The structures of a row of scans.tsv whose label maps the run itself makes."""
    columns = [
        column
        for column, role in trials.STRUCTURES.items()
        if scan.SERIES == IMAGING.get(role) and (NETWORK or column in GROWN)
    ]
    columns += ["LABELS"] if NETWORK and scan.SERIES not in HEART_SERIES else []
    columns = [name for name in columns if not isinstance(getattr(scan, name), str)]
    return ["lobes" if name == "LABELS" else name.lower() for name in columns]


SOUGHT = {
    (scan.USUBJID, scan.visit, scan.SERIES): made_parts(scan)
    for scan in SCANS.itertuples()
}


def sought(wildcards):
    """The structures of a visit that the run finds, by series."""
    visit = (wildcards.subject, wildcards.visit)
    return {series: SOUGHT[*visit, series] for series in SERIES_OF[visit]}


# They are trusted as far as they say, or as a second way to find them agrees.
OWN_LABELS = [
    {
        "USUBJID": scan.USUBJID,
        "AVISIT": scan.AVISIT,
        "SERIES": scan.SERIES,
        "STRUCTURE": part,
    }
    for scan in SCANS.itertuples()
    for part in SOUGHT[scan.USUBJID, scan.visit, scan.SERIES]
]


# How often the network reads each scan again, to tell how far its measures spread.
SPREAD = IMAGING.get("network", {}).get("spread", 0) if NETWORK else 0


def trust_files():
    """What is told of these label maps, by visit."""
    visits, inspired, grown = {}, {}, []
    for scan in SCANS.itertuples():
        folder = f"{RESULTS}/visit/{scan.USUBJID}/{scan.visit}"
        parts = SOUGHT[scan.USUBJID, scan.visit, scan.SERIES]
        if parts and NETWORK:
            visits[folder] = f"{folder}/network/trust.tsv"
            if IMAGING.get("cross_check") and scan.SERIES == IMAGING["inspiration"]:
                inspired[folder] = f"{folder}/network/cross_check.tsv"
        elif parts:
            grown += [f"{folder}/classical/{part}.json" for part in parts]
    return {
        "trust": list(visits.values()),
        "checks": list(inspired.values()),
        "grown": grown,
        "spread": [f"{folder}/network/spread.tsv" for folder in visits if SPREAD],
    }


def per_scan(name, chosen=lambda scan: True):
    """A file of every scan that is chosen."""
    return [
        f"{RESULTS}/visit/{scan.USUBJID}/{scan.visit}/{scan.SERIES}/{name}"
        for scan in SCANS.itertuples()
        if chosen(scan)
    ]


def per_chest(name):
    """A file of every scan of the lungs."""
    return per_scan(name, lambda scan: scan.SERIES not in HEART_SERIES)


def labelled(scan, *columns):
    """Whether a row of scans.tsv has a label map of one of some structures."""
    key = (scan.USUBJID, scan.visit, scan.SERIES)
    return any(has_labels(key, column) for column in columns)


def per_structure(name, *columns):
    """A file of every scan with a label map of one of some structures."""
    return per_scan(name, lambda scan: labelled(scan, *columns))


def per_pair(name):
    """A file of every visit that has inspiration and expiration."""
    return [f"{RESULTS}/visit/{subject}/{visit}/{name}" for subject, visit in PAIRED]


def per_heart(name):
    """A file of every visit whose gated scan is brought onto its inspiration."""
    return [f"{RESULTS}/visit/{subject}/{visit}/{name}" for subject, visit in GATED]


def heart_of_visit(wildcards):
    """The label map of the heart on the gated scan, if scans.tsv names one."""
    scan = (wildcards.subject, wildcards.visit, IMAGING["gated"])
    return structure("HEART")(wildcards) if has_labels(scan, "HEART") else []


def registrations(name):
    """A file of every registration."""
    return [
        *per_pair(f"exp_to_insp/{name}"),
        *per_heart(f"heart_to_insp/{name}"),
        *per_change(name),
    ]


def per_change(name):
    """A file of every follow-up that is registered to its baseline."""
    return [
        f"{RESULTS}/subject/{subject}/{visit}_to_baseline/{name}"
        for subject, visit in FOLLOWED
    ]


def visit_file(role, name):
    """A file of the inspiration or expiration of the visit at hand, as a path with wildcards."""
    return f"{RESULTS}/visit/{{subject}}/{{visit}}/{IMAGING.get(role, role)}/{name}"


def baseline_file(role, name):
    """The same of the patient's baseline."""
    return visit_file(role, name).replace("{visit}", TRIAL.baseline["path"])


def sheet(name):
    """A sheet of the trial, which a job writes where it is made by maps; nothing if it has none."""
    if name in TRIAL.mapped:
        return f"{RESULTS}/sheets/{name}.tsv"
    return str(TRIAL.paths[name]) if name in TRIAL.paths else []


def files_of_maps(wildcards):
    """The files that a sheet is made of."""
    made = TRIAL.mapped[wildcards.sheet]
    return [str(made.folder / source.file) for source in made.maps]


def units_of_maps(wildcards):
    """parameters.tsv, where the maps of a sheet convert values of parameters."""
    converted = any(source.units for source in TRIAL.mapped[wildcards.sheet].maps)
    return sheet("parameters") if converted and wildcards.sheet != "subjects" else []


def sessions_of_sets():
    """sessions.tsv where an analysis set asks for a share of them, so that no other trial waits."""
    asked = any(
        "adherence_pct" in rule for rule in PLAN.get("populations", {}).values()
    )
    return sheet("sessions") if asked else []


# Sheet: the data set that is made of it, its rule, and what it is.
SAFETY = {
    "sessions": ("adex", "derive_exposure", "Analysis data set of adherence (ADEX)"),
    "adverse": ("adae", "derive_adverse", "Analysis data set of adverse events (ADAE)"),
}
SAFETY = {name: made for name, made in SAFETY.items() if name in TRIAL.paths}
DATASETS = ["adsl", "adqct", "adfun", *(name for name, _, _ in SAFETY.values())]


def phantom_truth(wildcards):
    """The row of the phantom's sheet that a visit's scans are made from."""
    frame = phantom_records()
    return frame.loc[(wildcards.subject, VISITS[wildcards.visit]["name"])].to_dict()


# Where the files of the phantom lie is the rules' matter.
PHANTOM_SETTINGS = {
    key: value
    for key, value in (PHANTOM or {}).items()
    if key not in ("root", "records")
}


@functools.cache
def phantom_records():
    """The phantom's sheet, one row a visit."""
    path = TRIAL.folder / PHANTOM["records"]
    return tables.read(path).set_index(["USUBJID", "AVISIT"], drop=False)


def expected_scans():
    """The columns of scans.tsv that name a scan, as rows."""
    return SCANS[["USUBJID", "AVISIT", "SERIES", "ADT"]].to_dict("records")


def individual_input(wildcards):
    """The data sets, and what the pairs of agreement and accuracy are made from."""
    files = analysis_input(SimpleNamespace(method="describe"))
    for method in ("agreement", "accuracy"):
        if method in PLAN.get("analyses", ()):
            files |= analysis_input(SimpleNamespace(method=method))
    return files


def analysis_input(wildcards):
    """The data sets of an analysis; scans count for the flow, reads for agreement, the phantom's
    own sheet for accuracy, sessions and adverse events for themselves if the trial has them.
    """
    if wildcards.method == "network_study":
        return network_study.inputs(PLAN["analyses"]["network_study"])
    files = {
        name: f"{RESULTS}/cohort/{name}.parquet" for name in ("adsl", "adqct", "adfun")
    }
    files["parameters"] = sheet("parameters")
    if wildcards.method == "disposition":
        files["scans"] = f"{RESULTS}/cohort/scans.tsv"
        files["screening"] = sheet("screening")
    if wildcards.method == "agreement":
        files = {
            "adsl": files["adsl"],
            "parameters": files["parameters"],
            "reads": sheet("reads"),
        }
    if wildcards.method == "accuracy":
        files = {
            "adsl": files["adsl"],
            "parameters": files["parameters"],
            "measurements": f"{RESULTS}/cohort/measurements.tsv",
            "truth": str(TRIAL.folder / PHANTOM["records"]),
        }
    for name, sheet_of in (("adherence", "sessions"), ("adverse", "adverse")):
        if wildcards.method == name:
            made = [SAFETY[sheet_of][0]] if sheet_of in SAFETY else []
            files = {
                data: f"{RESULTS}/cohort/{data}.parquet" for data in ("adsl", *made)
            }
    return files


TITLES = {key: SETTINGS.get(key) for key in ("trial", "title", "synthetic", "data_cut")}
TITLES["name"] = TITLES.pop("trial")
# The numbers of a display come from these scripts and its own.
NUMBERS = ["gather_measurements", "derive_adam", "gather_results", "list_individuals"]
NUMBERS += [rule for _, rule, _ in SAFETY.values()]
NUMBERS += [f"analyse_{method}" for method in PLAN.get("analyses", ())]


DATA_DIGEST = provenance.digest_of(*TRIAL.files)
if TRIAL.mapped:
    MAPS = {name: SETTINGS["sheets"][name] for name in TRIAL.mapped}
    DATA_DIGEST = provenance.digest_of_text([DATA_DIGEST, MAPS])


# Of the software that the numbers come from.
VERSIONS = provenance.versions(
    imaging=len(SCANS) > 0, network=IMAGING.get("segmentation") == "network"
)


def study_files():
    """What the displays of the network's study show beside its numbers, if the plan has it."""
    section = network_study.section_of(PLAN)
    names = ("picture", "architecture")
    return list(network_study.inputs(section, names).values()) if section else []


def reporting(script):
    """The params that every display and page shares."""
    return {
        "stratum": lambda wildcards: STRATA[wildcards.stratum],
        "arms": SETTINGS["arms"],
        "visits": SETTINGS["visits"],
        "strata": SETTINGS["strata"],
        "visit_windows": WINDOWS,
        "reference_values": REFERENCE_VALUES,
        "characteristics": SETTINGS["characteristics"],
        "parameters": parameter_rows(),
        "plan": PLAN,
        "trial": TITLES,
        "provenance": {
            "data": DATA_DIGEST,
            "plan": provenance.digest_of_text(PLAN),
            "code": provenance.digest_of_text(
                [code(name) for name in (*NUMBERS, script)]
            ),
        },
        "code": code(script),
    }


DOCUMENTS = {
    "report.docx": "This report for Word",
    "report.pdf": "This report as PDF",
    "tables.rtf": "All tables as RTF",
    "tables.tex": "All tables as LaTeX",
}


def links_of_report(wildcards):
    """Other files of the run that a report points to."""
    folder = f"{RESULTS}/report/{wildcards.stratum}"
    links = [
        *(
            {"label": label, "path": f"{folder}/{name}"}
            for name, label in DOCUMENTS.items()
        ),
        {
            "label": "All results, one row a statistic",
            "path": f"{RESULTS}/analysis/results.tsv",
        },
        {"label": "Measurements", "path": f"{RESULTS}/cohort/measurements.tsv"},
        {
            "label": "Analysis data set of patients (ADSL)",
            "path": f"{RESULTS}/cohort/adsl.tsv",
        },
        {
            "label": "Analysis data set of imaging (ADQCT)",
            "path": f"{RESULTS}/cohort/adqct.tsv",
        },
        {
            "label": "Analysis data set of function (ADFUN)",
            "path": f"{RESULTS}/cohort/adfun.tsv",
        },
    ]
    links += [
        {"label": label, "path": f"{RESULTS}/cohort/{name}.tsv"}
        for name, _, label in SAFETY.values()
    ]
    if DERIVED:
        path = f"{RESULTS}/cohort/grades.tsv"
        links.append({"label": "Derived classes and those recorded", "path": path})
    if len(SCANS):
        page = f"{RESULTS}/report/quality.html"
        links.append({"label": "Quality of all scans", "path": page})
    return links


@functools.cache
def parameter_rows():
    """The rows of parameters.tsv as plain values; empty cells are left out."""
    rows = tables.read(sheet("parameters")).to_dict("records")
    return [{k: v for k, v in row.items() if v == v} for row in rows]


def visits_of(name, *columns):
    """A file of each inspiration of a patient, or of those with a label map of a structure."""
    return lambda wildcards: per_scan(
        name,
        lambda scan: scan.USUBJID == wildcards.subject
        and scan.SERIES == IMAGING.get("inspiration")
        and (not columns or labelled(scan, *columns)),
    )


def changes_of(name):
    """A file of each follow-up of a patient that is registered to the baseline."""
    return lambda wildcards: [
        f"{RESULTS}/subject/{subject}/{visit}_to_baseline/{name}"
        for subject, visit in FOLLOWED
        if subject == wildcards.subject
    ]


def responses_of(name):
    """A file of each visit of a patient that has inspiration and expiration."""
    return lambda wildcards: [
        f"{RESULTS}/visit/{subject}/{visit}/{name}"
        for subject, visit in PAIRED
        if subject == wildcards.subject
    ]


def per_response(name):
    """A file of every patient whose baseline has inspiration and expiration."""
    return [
        f"{RESULTS}/subject/{subject}/{name}"
        for subject, visit in PAIRED
        if VISITS[visit]["baseline"]
    ]


def vessels_of_prm(wildcards):
    """The vessels that a response map leaves out, if the trial asks for it and names them."""
    scan = (wildcards.subject, wildcards.visit, IMAGING["inspiration"])
    if not IMAGING.get("prm", {}).get("leave_out_vessels"):
        return []
    if not has_labels(scan, "VESSELS"):
        raise ValueError(
            f"{' '.join(scan)}: scans.tsv names no VESSELS, which the response map is to leave "
            "out; name them for every inspiration, or set imaging.prm.leave_out_vessels to false"
        )
    return structure("VESSELS")(wildcards)


def per_subject(name):
    """A file of every patient whose visits are compared: those with an inspiration."""
    subjects = dict.fromkeys(subject for subject, _ in INSPIRED)
    return [f"{RESULTS}/subject/{subject}/{name}" for subject in subjects]


def pictures():
    """Pictures of what was measured, beside those of quality and registration."""
    return [
        *per_structure("chest.png", *CHEST_STRUCTURES),
        *per_structure("airways.png", "AIRWAYS"),
        *per_structure("calcium.png", "CORONARY"),
        *per_structure("ventricle.png", "HEART"),
    ]


def biomarkers():
    """The tables of measures, by the name that MEASURE of parameters.tsv uses."""
    return {
        "parenchyma": [*per_chest("parenchyma.tsv"), *per_subject("parenchyma.tsv")],
        "airways": [
            *per_structure("airways.tsv", "AIRWAYS"),
            *per_subject("airways.tsv"),
        ],
        "vessels": per_structure("vessels.tsv", "VESSELS"),
        "calcium": per_structure("calcium.tsv", "CORONARY"),
        "ventricle": per_structure("ventricle.tsv", "HEART"),
        "prm": [*per_pair("prm/prm.tsv"), *per_response("prm.tsv")],
    }


def imaging_files():
    """All that is made of scans, before anything of the cohort."""
    return [
        *itertools.chain(*biomarkers().values()),
        *pictures(),
        *per_chest("quality.tsv"),
        *registrations("registration.json"),
        *itertools.chain(*trust_files().values()),
    ]


def targets():
    """What the whole run makes of this trial, the report, or what its folder suffices for."""
    if len(SCANS) and SETTINGS["skip_without_scans"] and not SCANS_ROOT.exists():
        print(
            f"Trial '{SETTINGS['trial']}' is skipped: there is no folder '{SCANS_ROOT}'. "
            "Name yours as scans_root in its config.yaml.",
            file=sys.stderr,
        )
        return []
    pages = [f"{RESULTS}/report/quality.html", *viewer_pages()] if len(SCANS) else []
    if not TRIAL.planned:
        return [f"{RESULTS}/cohort/measurements.tsv", *pages]
    return [
        *expand(
            f"{RESULTS}/report/{{stratum}}/{{name}}",
            stratum=STRATA,
            name=["report.html", *DOCUMENTS],
        ),
        *(f"{RESULTS}/cohort/{name}.tsv" for name, _, _ in SAFETY.values()),
        *pages,
    ]
