"""The row of the truth sheet that tests of the phantom begin with."""

ROW = {
    "USUBJID": "S001",
    "AVISIT": "Baseline",
    "LUNGVOL_L": 5.5,
    "EMPH_PCT": 12.0,
    "FSAD_PCT": 28.0,
    "EXPRATIO": 0.65,
    "LUNG_HU": -865.0,
}
