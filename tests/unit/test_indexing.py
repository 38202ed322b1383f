"""An export is indexed: what is taken, what is set aside, and what is left to a person."""

import os
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from unit import dicom_series
from unit.export_case import BORN, IDENTIFIER, NAME, Export

from lungitude import cli, dicom, trial


@pytest.fixture
def export(tmp_path):
    return Export(tmp_path)


def only(found, code=None):
    """Return the one row of index.tsv (with a code)."""
    rows = found.index if code is None else found.index[found.index["CODE"] == code]
    assert len(rows) == 1, found.index[["DECISION", "CODE", "REASON"]]
    return rows.iloc[0]


def test_a_series_that_fits_is_taken_with_patient_visit_date_and_path(export):
    place = export.put("a/b/nested")
    found = export.run()
    row = found.scans.iloc[0]
    assert len(found.scans) == 1
    assert (row.USUBJID, row.AVISIT, row.SERIES, row.ADT) == (
        "P-1",
        "Baseline",
        "insp",
        "2024-03-01",
    )
    assert os.path.samefile(row.PATH, place)
    assert only(found).DECISION == "taken"
    assert only(found).ADY == "1"


def test_the_proposal_is_a_valid_sheet_that_the_ingest_can_read(export):
    export.put("one")
    export.put("flat", "THORAX EXP")
    export.put("flat", "THORAX EXP", AcquisitionDate="20240412")
    found = export.run()
    export.config["sheets"]["scans"] = "scans.tsv"
    export.config["scans_root"] = os.getcwd()
    shutil.copy(export.out / "scans.tsv", export.trial / "scans.tsv")
    export.write(
        "parameters.tsv", "PARAMCD\tPARAM\tAVALU\tLOW\tHIGH\tDECIMALS\tDIRECTION\tDATASET\n"
    )
    frame = trial.sheets.read(export.trial / "scans.tsv", [], "scans", "")
    assert trial.sheets.check(frame, "scans", "scans.tsv", []) == []
    assert len(found.scans) == 3
    for row in found.scans.itertuples():
        _, facts = dicom.read(row.PATH)
        series = found.index.loc[found.index["USUBJID"] == row.USUBJID]
        assert facts["series_digest"][:12] in set(series["SERIESID"])
        assert facts["n_slices"] == 12


def test_series_that_share_a_folder_get_folders_of_links(export):
    export.put("flat")
    export.put("flat", "THORAX EXP")
    found = export.run()
    assert len(found.scans) == 2
    for path in found.scans["PATH"]:
        assert "flat" not in path
        assert dicom.read(path)[1]["n_slices"] == 12
    export.put("before-all-others", "THORAX INSP", PatientID="stranger")
    again = export.run()
    assert list(again.scans["PATH"]) == list(found.scans["PATH"])  # named by their content


def test_links_can_hide_the_folders_of_the_export(export):
    export.put("PLANTED NAME")
    export.config["index"]["links"] = "always"
    found = export.run()
    assert "PLANTED" not in found.scans["PATH"].iloc[0]
    assert dicom.read(found.scans["PATH"].iloc[0])[1]["n_slices"] == 12


ASIDE = {
    "localiser": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    "localiser by word": {"description": "Topogram 0.6 T20s INSP"},
    "capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
    "capture in colour": {"SamplesPerPixel": 3},
    "report": {"Modality": "SR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"},
    "modality": {"Modality": "PT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"},
    "derived": {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
    "derived as GE says it": {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]},
    "derived as Siemens says it": {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CSA MPR"]},
    "derived, coronal": {"ImageOrientationPatient": [1.0, 0, 0, 0, 0, -1.0]},
    "burned in": {"BurnedInAnnotation": "YES"},
    "few slices": {"n": 2},
    "not wanted": {"KVP": 80, "SliceThickness": 5},
    "not wanted: few": {"n": 6},
}


@pytest.mark.parametrize("kind", ASIDE)
def test_what_is_no_scan_of_the_trial_is_set_aside_with_its_reason(kind, export):
    export.put(**ASIDE[kind])
    found = export.run()
    row = only(found)
    assert found.scans.empty
    assert row.DECISION == "set aside"
    assert (
        kind.split(",")[0].split(":")[0].split(" by")[0].split(" as ")[0].split(" in c")[0]
        == row.CODE
    )
    assert row.REASON


UNDECIDED = {
    "both phases": ({"description": "Inspiration Expiration"}, "not told", "expiration and insp"),
    "a part of a word": ({"description": "INSPECT THORAX"}, "not told", "nothing in the header"),
    "grown together": ({"description": "THORAXINSP"}, "not told", "nothing in the header"),
    "negated": ({"description": "THORAX no insp"}, "not told", "no inspiration"),
    "protocol against": ({"ProtocolName": "Expiration"}, "not told", "expiration and insp"),
    "gated as well": ({"ScanOptions": "CARDIAC GATING"}, "not told", "gated and inspiration"),
    "no kernel": ({"ConvolutionKernel": ""}, "not told", "not recorded"),
    "derived": ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}, "not told", "derived"),
    "prone": ({"PatientPosition": "HFP"}, "not told", "back"),
    "prone by word": ({"description": "INSP prone"}, "not told", "back"),
    "another part": ({"BodyPartExamined": "ABDOMEN", "description": "INSP"}, "not told", "part"),
    "contrast both ways": (
        {"description": "INSP nativ", "ContrastBolusAgent": "IOMEPROL"}, "not told", "both",
    ),
    "no date": ({"AcquisitionDate": None}, "date", "no date"),
    "a date that is none": ({"AcquisitionDate": "20240000"}, "date", "no date"),
    "between windows": ({"AcquisitionDate": "20240320"}, "visit", "day 20"),
    "long before": ({"AcquisitionDate": "20190320"}, "visit", "window of no visit"),
    "two dates, two visits": ({"StudyDate": "20240412"}, "visit", "several visits"),
    "a stranger": ({"PatientID": "somebody"}, "patient", "unknown 1"),
    "nobody": ({"PatientID": None}, "patient", "no PatientID"),
    "other capitals": ({"PatientID": IDENTIFIER.lower()}, "patient", "unknown 1"),
    "no reference": ({"PatientID": "0003"}, "date", "P-3 has no RANDDT"),
    "leading zeros lost": ({"PatientID": "3"}, "patient", "unknown 1"),
    "another voltage": ({"KVP": 100}, "deviates", "kv: 100 kV"),
    "said to be contrast": ({"description": "INSP C+"}, "deviates", "with contrast"),
    "said to be MPR": ({"description": "INSP MPR 1.0"}, "deviates", "reformatted"),
    "enhanced": ({"NumberOfFrames": 40}, "multi-frame", "multi-frame"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNDECIDED)
def test_what_a_header_does_not_tell_is_left_to_a_person(kind, export):
    tags, code, words = UNDECIDED[kind]
    export.put(**tags)
    found = export.run()
    row = only(found)
    assert found.scans.empty
    assert ("undecided", code) == (row.DECISION, row.CODE)
    assert words in row.REASON
    assert found.page.index('id="undecided"') < found.page.index("Series 1")


TAKEN = {
    "words beside": {"description": "1.1 CHEST_INSP_1.0_B31f"},
    "joined by capitals": {"description": "ThoraxInsp"},
    "another language": {"description": "Thorax Inspiração"},
    "the protocol names both": {"ProtocolName": "CHEST INSP EXP"},
    "the protocol alone": {"description": "1.0 B31f", "ProtocolName": "Chest inspiration"},
    "an identifier like a path": {"PatientID": "../../P", "AcquisitionDate": "20240402"},
    "no agent": {"ContrastBolusAgent": "NONE"},
    "said to be plain": {"description": "INSP without contrast"},
    "date of the study": {"AcquisitionDate": None, "StudyDate": "20240302"},
    "the chest under another part": {"BodyPartExamined": "ABDOMEN"},
    "compressed kernel name": {"ConvolutionKernel": ["B35f", "3"]},
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_a_header_tells_is_believed(kind, export):
    export.put(**TAKEN[kind])
    found = export.run()
    assert list(found.scans["SERIES"]) == ["insp"], only(found).REASON


def test_same_day_repeats_stay_undecided_until_a_preference_parts_them(export):
    export.put()
    export.put(AcquisitionTime="104500")
    found = export.run()
    assert found.scans.empty
    assert set(found.index["CODE"]) == {"several"}
    export.config["index"] = {"series": {"insp": {"prefer": ["thinnest", "latest"]}}}
    found = export.run()
    assert [row.CODE for row in found.index.itertuples()] == ["not preferred", "taken"]
    assert "latest" in found.index["REASON"].iloc[0]


@pytest.mark.parametrize(
    ("prefer", "kernels", "winner"),
    [("softest", ("B35f", "B31f"), 1), ("sharpest", ("B31f", "B35f"), 1),
     ("softest", ("B31f", "B3-odd"), None)],
)  # fmt: skip
def test_kernels_are_compared_where_their_names_have_an_order(prefer, kernels, winner, export):
    for kernel in kernels:
        export.put(ConvolutionKernel=kernel)
    export.config["index"] = {"series": {"insp": {"prefer": [prefer]}}}
    decisions = list(export.run().index["DECISION"])
    if winner is None:
        assert decisions == ["undecided"] * 2
    else:
        assert decisions[winner] == "taken"
        assert decisions[1 - winner] == "set aside"


def test_visits_of_one_patient_and_patients_of_one_day_are_kept_apart(export):
    export.put()
    export.put(AcquisitionDate="20240412")
    export.put("z", PatientID="../../P", AcquisitionDate="20240412", PatientBirthDate="19110101")
    found = export.run()
    assert [tuple(row[:3]) for row in found.scans.to_numpy()] == [
        ("P-1", "Baseline", "insp"), ("P-1", "Week 6", "insp"),
    ]  # fmt: skip
    assert only(found, "visit").USUBJID == "P-2"  # day 12 of this one


def test_two_studies_of_one_day_belong_to_one_visit_and_are_several(export):
    export.put()
    export.put(StudyInstanceUID=f"{dicom_series.UID}.98", AcquisitionTime="160000")
    assert set(export.run().index["CODE"]) == {"several"}


def test_time_points_of_headers_tell_visits_and_may_not_contradict_dates(export):
    export.config["index"]["time_points"] = {"V1": "Baseline", "V2": "Week 6"}
    export.put(AcquisitionDate=None, ClinicalTrialTimePointID="V2")
    export.put(ClinicalTrialTimePointID="V2")
    found = export.run()
    assert list(found.scans["AVISIT"]) == ["Week 6"]
    assert "several visits" in only(found, "visit").REASON


def test_a_patient_id_of_two_persons_is_doubted(export):
    export.put()
    export.put(description="EXP", PatientBirthDate="19500101")
    found = export.run()
    assert found.scans.empty
    assert set(found.index["CODE"]) == {"two persons"}
    assert "1950" not in found.page


def test_one_uid_with_two_stacks_is_two_series(export):
    def second(number, data):
        if number >= 12:
            data.ImagePositionPatient = [-10.0, -20.0, -300.0 + number - 12]
            data.ConvolutionKernel = "B70f"

    export.put(n=24, change=second)
    found = export.run()
    assert list(found.index["POSITIONS"]) == ["12", "12"]
    assert sorted(found.index["CODE"]) == ["not wanted", "taken"]  # another kernel
    assert len(found.scans) == 1
    assert dicom.read(found.scans["PATH"].iloc[0])[1]["tags"]["kernel"] == "B31f"


def test_acquisitions_of_one_uid_at_the_same_place_are_several_series(export):
    def second(number, data):
        data.AcquisitionNumber = 1 + number // 12
        data.ImagePositionPatient = [-10.0, -20.0, -300.0 + number % 12]

    export.put(n=24, change=second)
    found = export.run()
    assert set(found.index["CODE"]) == {"several"}
    assert "acquisition 1 of 2" in found.index["NOTES"].iloc[0]


def test_orientations_of_one_uid_are_parted(export):
    def coronal(number, data):
        if number >= 12:
            data.ImageOrientationPatient = [1.0, 0, 0, 0, 0, -1.0]
            data.ImagePositionPatient = [-10.0, float(number), -300.0]

    export.put(n=24, change=coronal)
    found = export.run()
    assert sorted(found.index["CODE"]) == ["derived", "taken"]
    assert dicom.read(found.scans["PATH"].iloc[0])[1]["n_slices"] == 12


def _tilted(number, data):
    data.ImagePositionPatient = [-10.0, -20.0 + 0.2 * number, -300.0 + number]


def _gap(number, data):
    return number not in (5, 6)


@pytest.mark.parametrize(("change", "words"), [(_tilted, "tilted"), (_gap, "missing slice")])
def test_faults_of_geometry_are_noted_and_a_sound_series_goes_before(change, words, export):
    export.put(n=14, change=change)
    found = export.run()
    assert only(found).DECISION == "taken"
    assert words in only(found).NOTES
    export.put()
    found = export.run()
    assert list(found.index["CODE"]) == ["faulty", "taken"]


def test_a_truncated_file_is_a_fault(export):
    place = export.put()
    path = sorted(place.iterdir())[4]
    path.write_bytes(path.read_bytes()[:-50])
    assert "1 of 12 files end early" in only(export.run()).NOTES


def test_a_file_that_cannot_be_read_makes_its_neighbours_doubtful(export):
    place = export.put()
    path = sorted(place.iterdir())[0]
    path.write_bytes(path.read_bytes()[:400])
    found = export.run()
    assert only(found).CODE == "unreadable beside"
    assert "broken DICOM file" in set(found.paths["DECISION"])


def _phases(export, series_each=False, **tags):
    export.config["imaging"]["series"]["cta"] = {
        "phase": "gated", "contrast": True, "cycle": True
    }  # fmt: skip
    tags = {"description": "CTA heart", "ContrastBolusAgent": "IOMEPROL", **tags}
    if series_each:
        for percent in (0, 40, 75):
            export.put("cta", NominalPercentageOfCardiacPhase=percent, **tags)
        return

    def phase(number, data):
        data.ImagePositionPatient = [-10.0, -20.0, -300.0 + number % 12]
        data.NominalPercentageOfCardiacPhase = 20 * (number // 12)

    export.put("cta", n=36, change=phase, **tags)


@pytest.mark.parametrize("series_each", [False, True])
def test_a_cardiac_cycle_is_one_series_that_the_ingest_reads(series_each, export):
    _phases(export, series_each)
    found = export.run()
    row = only(found)
    assert (row.DECISION, row.SERIES, row.PHASES) == ("taken", "cta", "3")
    phases, _ = dicom.read_cycle(found.scans["PATH"].iloc[0])
    assert len(phases) == 3


def test_one_phase_is_no_cycle_and_a_cycle_is_no_single_scan(export):
    export.put(description="CTA heart", ContrastBolusAgent="A", NominalPercentageOfCardiacPhase=75)
    export.config["imaging"]["series"]["cta"] = {"phase": "gated", "contrast": True, "cycle": True}
    assert only(export.run()).CODE == "not wanted"


def test_copies_of_files_and_of_series_are_found(export):
    place = export.put()
    shutil.copytree(place, export.scans / "copy")  # the same UIDs
    export.put(seed=1, SeriesInstanceUID=f"{dicom_series.UID}.77")  # other UIDs, the same pixels
    found = export.run()
    assert len(found.scans) == 1
    assert only(found, "duplicate").DECISION == "set aside"
    assert "12 file(s) are copies" in only(found, "taken").NOTES
    assert dicom.read(found.scans["PATH"].iloc[0])[1]["n_slices"] == 12


def test_the_same_pixels_under_two_patients_are_left_to_a_person(export):
    export.put(seed=5)
    export.put(seed=5, PatientID="../../P", AcquisitionDate="20240401")
    found = export.run()
    assert found.scans.empty
    assert set(found.index["CODE"]) == {"same pixels"}


def test_the_same_pixels_with_two_descriptions_are_left_to_a_person(export):
    export.put(seed=5)
    export.put(seed=5, description="EXP")
    found = export.run()
    assert found.scans.empty
    assert set(found.index["CODE"]) == {"same pixels"}


def test_without_a_sheet_of_patients_only_the_usubjid_itself_is_believed(export):
    del export.config["sheets"]["patients"]
    export.put()
    export.put(PatientID="P-1")
    export.put(PatientID="SMITH")
    found = export.run()
    assert len(found.scans) == 1
    assert sorted(found.index["UNKNOWN"]) == ["", "1", "2"]
    assert any("2 patient(s)" in line for line in found.lines)


def test_a_header_without_words_is_taken_where_the_trial_says_so(export):
    export.put(description="1.0 B31f")
    assert only(export.run()).CODE == "not told"
    export.config["index"] = {"series": {"insp": {"assume_phase": True}}}
    assert list(export.run().scans["SERIES"]) == ["insp"]
    export.config["index"]["series"]["exp"] = {"assume_phase": True}
    assert only(export.run()).CODE == "several series"


def test_a_trial_has_words_of_its_own(export):
    export.put(description="THX VOLLE LUFT 1.0")
    export.put(description="THX 1.0 LEER")
    export.config["index"] = {
        "words": {"inspiration": ["volle Luft"], "expiration": ["leer"]},
        "series": {"insp": {"words": ["thx"], "without": ["leer"]}},
    }
    assert sorted(export.run().scans["SERIES"]) == ["exp", "insp"]


def test_archives_are_never_opened(export):
    place = export.put()
    with zipfile.ZipFile(export.scans / "more.zip", "w") as packed:
        packed.write(next(iter(place.iterdir())), "a.dcm")
    shutil.move(export.scans / "more.zip", export.scans / "more")  # no suffix
    (export.scans / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (export.scans / "readme.txt").write_text("hello")
    found = export.run()
    assert any("archive, not opened" in line for line in found.lines)
    assert [path for path in export.out.rglob("*") if "more" in path.name] == []
    assert "DICOMDIR" in found.page
    assert len(found.scans) == 1


def _image(path, size=(16, 14, 12), kind=sitk.sitkInt16):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(str(path))).integers(-1000, 400, size[::-1])
    sitk.WriteImage(sitk.Cast(sitk.GetImageFromArray(values.astype(np.int16)), kind), str(path))


def test_loose_files_need_a_pattern_and_their_paths_may_not_contradict(export):
    export.config["index"]["files"] = [
        {"path": "**/{patient}_{visit}_insp.nii.gz", "series": "insp"},
        {"path": "masks/**", "ignore": "label map"},
        {"path": "old/**", "patient": "P-2", "visit": "Baseline", "series": "insp"},
    ]
    _image(export.scans / f"nii/{IDENTIFIER}_week06_insp.nii.gz")
    _image(export.scans / "old/P-1_baseline_insp.nii.gz")
    _image(export.scans / "other.nrrd")
    _image(export.scans / "lungs.mha", kind=sitk.sitkUInt8)
    _image(export.scans / "masks/m.nii.gz", kind=sitk.sitkUInt8)
    (export.scans / "broken.nii").write_bytes(b"nothing")
    found = export.run()
    assert [tuple(row[:3]) for row in found.scans.to_numpy()] == [("P-1", "Week 6", "insp")]
    codes = dict(zip(found.paths["FIRST"].map(os.path.basename), found.index["CODE"], strict=False))
    assert codes["P-1_baseline_insp.nii.gz"] == "patient"
    assert codes["other.nrrd"] == codes["lungs.mha"] == "no header"
    assert codes["m.nii.gz"] == "ignored"
    assert codes["broken.nii"] == "broken"


def test_nothing_that_names_a_patient_or_a_folder_leaves_the_headers(export, capsys):
    export.put("PLANTED NAME/DOE^JOHN", "INSP PLANTED^NAME 19010203")
    export.put("flat", "EXP DOE JOHN", PatientID="SMITH-77")
    export.put("flat", "INSP", PatientID="SMITH-77", PatientBirthDate="19330303")
    export.put("x\ty\nz", "PLANTED INSP", AcquisitionDate="20240412")
    (export.scans / "PLANTED.zip").write_bytes(b"PK\x03\x04")
    found = export.run()
    secrets = [
        "PLANTED",
        IDENTIFIER,
        BORN,
        "DOE",
        "JOHN",
        "SMITH",
        "19330303",
        "1901",
        "1933",
        NAME,
    ]
    texts = [found.page, (export.out / "index.tsv").read_text(encoding="utf-8"), *found.lines]
    texts += [*found.told, *capsys.readouterr()]
    texts += [path.name for path in export.out.rglob("*")]
    for text in texts:
        for secret in secrets:
            assert secret not in text, secret
        assert "2024" not in text
        assert "flat" not in text
    assert len(found.scans) == 2
    assert "\t" not in "".join(found.scans["PATH"])
    assert all(
        secret not in (export.out / "scans.tsv").read_text() for secret in ("19010203", "SMITH")
    )


def test_problems_of_the_sheet_of_patients_do_not_quote_identifiers(export):
    export.write(
        "patients.tsv", "PATIENTID\tUSUBJID\nSMITH-77\tP-1\nSMITH-77\tP-2\nDOE\tP-9\n\tP-1\n"
    )
    with pytest.raises(trial.TrialError) as error:
        export.run()
    text = str(error.value)
    assert "SMITH" not in text
    assert "DOE" not in text
    assert "line 3" in text
    assert "P-9" in text
    assert "line 5" in text


def test_the_page_shows_no_picture_of_letters(export):
    export.put(BurnedInAnnotation="YES")
    export.put(RecognizableVisualFeatures="YES", AcquisitionDate="20240412")
    found = export.run()
    assert len(found.scans) == 1
    assert "<img" not in found.page
    export.put(description="EXP")
    assert export.run().page.count("<img") == 1


def test_cores_and_second_runs_change_nothing(export):
    export.put("a")
    export.put("b", "EXP")
    export.put("a", "odd")
    first = export.run()
    second = export.run(cores=2)
    for name in ("scans", "index", "paths"):
        assert getattr(first, name).equals(getattr(second, name))
    assert first.page == second.page


def test_what_is_lacking_is_counted(export):
    export.put()
    export.put(description="no words", AcquisitionDate="20240412")
    export.config["index"] = {"series": {"exp": {"optional": True}}}
    found = export.run()
    told = "\n".join(found.lines)
    assert "Baseline, insp: 1 of 3 patients, 0 undecided, 2 without." in told
    assert "Week 6, insp: 0 of 3 patients, 1 undecided, 2 without." in told
    assert "Week 6, exp: 0 of 3 patients, 1 undecided, 2 without (optional)." in told
    assert "4 visits of patients lack a series" in told


def test_what_a_trial_must_say_first_is_told_at_once(export):
    for visit in export.config["visits"]:
        del visit["window"]
    export.write("subjects.tsv", "USUBJID\nP-1\nP-2\nP-3\n")
    export.config["index"] = {"reference": "RFSTDT"}
    with pytest.raises(trial.TrialError, match="RFSTDT: the column is missing"):
        export.run()
    export.config["index"] = {}
    with pytest.raises(trial.TrialError) as error:
        export.run()
    assert [("window" in line) for line in error.value.problems] == [True, True]


def test_another_reference_date_may_be_named(export):
    export.write("subjects.tsv", "USUBJID\tRFSTDT\nP-1\t2024-03-01\nP-2\t\nP-3\t\n")
    export.config["index"] = {"reference": "RFSTDT"}
    export.put()
    assert len(export.run().scans) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["visits"][1].update(window=[5, 50]), "overlap; a day belongs to one visit"),
        (lambda c: c["visits"][1].update(window=[-7, 7]), "day 43 of .* lies outside its window"),
        (lambda c: c["visits"][1].update(window=[50, 36]), "begins on day 50 after its end 36"),
        (lambda c: c["visits"][0].update(window=[0, 7]), "day 0"),
        (lambda c: c["index"].update(series={"inps": {}}), "did you mean 'insp'"),
        (lambda c: c["index"].update(serie={}), "did you mean 'series'"),
        (lambda c: c["index"].update(time_points={"V1": "Weak 6"}), "did you mean 'Week 6'"),
        (lambda c: c["index"].update(series={"insp": {"prefer": ["thinnest", "thickest"]}}),
         "opposites"),
        (lambda c: c["index"].update(series={"insp": {"slice_mm": [2, 1]}}), "swap"),
        (lambda c: c["index"].update(words={"inspiration": ["a"], "expiration": ["A"]}), "stands"),
        (lambda c: c["index"].update(files=[{"path": "{patient}_{vist}.nii"}]), "vist"),
        (lambda c: c["index"].update(files=[{"path": "a", "visit": "Baseline"}]), "the patient"),
        (lambda c: c.pop("imaging"), "imaging"),
    ],
)  # fmt: skip
def test_slips_of_the_config_are_told(change, words, export):
    change(export.config)
    with pytest.raises(trial.TrialError, match=words) as error:
        export.run()
    assert all(len(line) <= 400 for line in error.value.problems)


def test_places_that_would_be_overwritten_are_refused(export, capsys, monkeypatch):
    export.put()
    export.run()
    config = str(export.trial)
    arguments = ["index", str(export.scans), "--trial", config, "--cores", "1", "--out"]
    assert cli.main([*arguments, config]) == 1
    assert cli.main([*arguments, str(export.scans / "out")]) == 1
    assert cli.main(["index", str(export.scans / "nowhere"), *arguments[2:], "x"]) == 1
    assert "never replaced" in (error := capsys.readouterr().err)
    assert "folder that is indexed" in error
    assert "does not exist" in error
    assert not (export.trial / "scans.tsv").exists()
    assert cli.main([*arguments, str(export.out / "again")]) == 0
    assert "1 taken" in capsys.readouterr().out


def test_files_of_pydicom_are_never_taken(export):
    folder = os.path.join(os.path.dirname(pydicom.__file__), "data", "test_files")
    shutil.copytree(folder, export.scans / "mixed")
    export.config["imaging"]["series"]["any"] = {"phase": "inspiration"}
    export.config["index"] = {"series": {"any": {"min_slices": 3, "assume_phase": True}}}
    found = export.run()
    assert found.scans.empty
    assert {"report", "modality", "localiser", "few slices"} <= set(found.index["CODE"])
