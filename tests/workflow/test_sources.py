"""Sheets made by maps in the workflow: written with their origin, and made again when touched."""

from unit.sources_fixture import LONG, changed, folder_of

from helpers import edit_text, edit_yaml, snakemake
from lungitude import tables

ADSL = "SUBJ,GRP,FROM\nP-1,Drug,01MAR2024\nP-2,Placebo,02MAR2024\n"
SUBJECTS = {
    "file": "adsl.csv",
    "columns": {"USUBJID": "SUBJ", "RANDDT": "FROM"},
    "dates": {"RANDDT": "%d%b%Y"},
}
RANDOMISATION = {
    "file": "adsl.csv",
    "columns": {"USUBJID": "SUBJ", "ARM": "GRP"},
    "values": {"ARM": {"Drug": "ACT", "Placebo": "PBO"}},
}


def test_maps_run_and_run_again_when_touched(tmp_path):
    folder = folder_of(
        tmp_path, {"adsl.csv": ADSL}, subjects=SUBJECTS, randomisation=RANDOMISATION,
        measurements=changed(),
    )  # fmt: skip
    target = "results/mapped/cohort/adsl.parquet"
    snakemake(folder, target)
    results = tmp_path / "results" / "mapped"
    assert (results / "sheets" / "subjects.tsv").read_text().splitlines() == [
        "USUBJID\tRANDDT\tSRCDOM\tSRCVAR\tSRCSEQ",
        "P-1\t2024-03-01\tadsl.csv\t\t2",
        "P-2\t2024-03-02\tadsl.csv\t\t3",
    ]
    for path in results.rglob("*"):  # nothing but the list of arms, and what is joined with it
        if path.is_file() and path.name not in ("randomisation.tsv", "derive_adam.log"):
            told = b"Placebo" in path.read_bytes() or b"PBO" in path.read_bytes()
            assert not told or path.name.startswith("ad"), path
    measured = tables.read(results / "cohort" / "measurements.tsv")
    assert measured["AVAL"].fillna(0).tolist() == [2.1, 2.3, 1.5, 0]
    assert tables.read_parquet(results / "cohort" / "adsl.parquet")["TRT01P"].tolist() == [
        "ACT",
        "PBO",
    ]
    assert (folder / "long.csv").read_text() == LONG

    def planned():
        run = snakemake(folder, target, "-n", "--quiet", "rules")
        return [line for line in (run.stdout + run.stderr).splitlines() if "map_sheet" in line]

    assert planned() == []
    config = (folder / "config.yaml").read_text()
    edit_yaml(folder / "config.yaml", lambda c: c["sheets"]["measurements"].update(missing=["."]))
    assert planned()[0].split() == ["map_sheet", "1"]
    (folder / "config.yaml").write_text(config)
    assert planned() == []
    edit_text(folder / "long.csv", "2.30", "2.40")
    assert planned()[0].split() == ["map_sheet", "1"]
