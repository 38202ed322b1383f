"""Published examples whose data and results are both in print or in a public manual.

Each number is compared to the digits that its source prints.
"""

import numpy as np
import pandas as pd
import pytest

from lungitude.statistics.binary import logistic
from lungitude.statistics.counts import count_model
from lungitude.statistics.cox import cox
from lungitude.statistics.survival import (
    kaplan_meier,
    logrank,
    observed_expected,
    restricted_mean,
    survival_at,
    survival_quantile,
)

# Advanced lung cancer, North Central Cancer Treatment Group (Loprinzi et al. 1994; data set lung
# of R's survival): time status (2 dead) age sex ECOG calories weight loss.
LUNG = """
306 2 74 1 1 1175 -; 455 2 68 1 0 1225 15; 1010 1 56 1 0 - 15; 210 2 57 1 1 1150 11; 883 2 60 1 0
- 0; 1022 1 74 1 1 513 0; 310 2 68 2 2 384 10; 361 2 71 2 2 538 1; 218 2 53 1 1 825 16; 166 2 61 1
2 271 34; 170 2 57 1 1 1025 27; 654 2 68 2 2 - 23; 728 2 68 2 1 - 5; 71 2 60 1 - 1225 32; 567 2 57
1 1 2600 60; 144 2 67 1 1 - 15; 613 2 70 1 1 1150 -5; 707 2 63 1 2 1025 22; 61 2 56 2 2 238 10; 88
2 57 1 1 1175 -; 301 2 67 1 1 1025 17; 81 2 49 2 0 1175 -8; 624 2 50 1 1 - 16; 371 2 58 1 0 975
13; 394 2 72 1 0 - 0; 520 2 70 2 1 825 6; 574 2 60 1 0 1025 -13; 118 2 70 1 3 1075 20; 390 2 53 1
1 875 -7; 12 2 74 1 2 305 20; 473 2 69 2 1 1025 -1; 26 2 73 1 2 388 20; 533 2 48 1 2 - -11; 107 2
60 2 2 925 -15; 53 2 61 1 2 1075 10; 122 2 62 2 2 1025 -; 814 2 65 1 2 513 28; 965 1 66 2 1 875 4;
93 2 74 1 2 1225 24; 731 2 64 2 1 1175 15; 460 2 70 1 1 975 10; 153 2 73 2 2 1075 11; 433 2 59 2 0
363 27; 145 2 60 2 2 - -; 583 2 68 1 1 1025 7; 95 2 76 2 2 625 -24; 303 2 74 1 0 463 30; 519 2 63
1 1 1025 10; 643 2 74 1 0 1425 2; 765 2 50 2 1 1175 4; 735 2 72 2 1 - 9; 189 2 63 1 0 - 0; 53 2 68
1 0 1025 0; 246 2 58 1 0 1175 7; 689 2 59 1 1 1300 15; 65 2 62 1 0 725 -; 5 2 65 2 0 338 5; 132 2
57 1 2 - 18; 687 2 58 2 1 1225 10; 345 2 64 2 1 1075 -3; 444 2 75 2 2 438 8; 223 2 48 1 1 1300 68;
175 2 73 1 1 1025 -; 60 2 65 2 1 1025 0; 163 2 69 1 1 1125 0; 65 2 68 1 2 825 8; 208 2 67 2 2 538
2; 821 1 64 2 0 1025 3; 428 2 68 1 0 1039 0; 230 2 67 1 1 488 23; 840 1 63 1 0 1175 -1; 305 2 48 2
1 538 29; 11 2 74 1 2 1175 0; 132 2 40 1 1 - 3; 226 2 53 2 1 825 3; 426 2 71 2 1 1075 19; 705 2 51
2 0 1300 0; 363 2 56 2 1 1225 -2; 11 2 81 1 0 731 15; 176 2 73 1 0 169 30; 791 2 59 1 0 768 5; 95
2 55 1 1 1500 15; 196 1 42 1 1 1425 8; 167 2 44 2 1 588 -1; 806 1 44 1 1 1025 1; 284 2 71 1 1 1100
14; 641 2 62 2 1 1150 1; 147 2 61 1 0 1175 4; 740 1 44 2 1 588 39; 163 2 72 1 2 910 2; 655 2 63 1
0 975 -1; 239 2 70 1 1 - 23; 88 2 66 1 1 875 8; 245 2 57 2 1 280 14; 588 1 69 2 0 - 13; 30 2 72 1
2 288 7; 179 2 69 1 1 - 25; 310 2 71 1 1 - 0; 477 2 64 1 1 910 0; 166 2 70 2 0 - 10; 559 1 58 2 0
710 15; 450 2 69 2 1 1175 3; 364 2 56 1 1 - 4; 107 2 63 1 1 - 0; 177 2 59 1 2 - 32; 156 2 66 1 1
875 14; 529 1 54 2 1 975 -3; 11 2 67 1 1 925 -; 429 2 55 1 1 975 5; 351 2 75 2 2 925 11; 15 2 69 1
0 575 10; 181 2 44 1 1 1175 5; 283 2 80 1 1 1030 6; 201 2 75 2 0 - 1; 524 2 54 2 1 - 15; 13 2 76 1
2 413 20; 212 2 49 1 2 675 20; 524 2 68 1 2 1300 30; 288 2 66 1 2 613 24; 363 2 80 1 1 346 11; 442
2 75 1 0 - 0; 199 2 60 2 2 675 10; 550 2 69 2 1 910 0; 54 2 72 1 2 768 -3; 558 2 70 1 0 1025 17;
207 2 66 1 1 925 20; 92 2 50 1 1 1075 13; 60 2 64 1 1 993 0; 551 1 77 2 2 750 28; 543 1 48 2 0 -
4; 293 2 59 2 1 925 52; 202 2 53 1 1 - 20; 353 2 47 1 0 1225 5; 511 1 55 2 1 - 49; 267 2 67 1 0
313 6; 511 1 74 2 2 96 37; 371 2 58 2 1 - 0; 387 2 56 1 2 1075 -; 457 2 54 1 1 975 -5; 337 2 56 1
0 1500 15; 201 2 73 2 2 1225 -16; 404 1 74 1 1 413 38; 222 2 76 1 2 1500 8; 62 2 65 2 1 1075 0;
458 1 57 1 1 513 30; 356 1 53 2 1 - 2; 353 2 71 1 0 775 2; 163 2 54 1 1 1225 13; 31 2 82 1 0 413
27; 340 2 59 2 0 - 0; 229 2 70 1 1 1175 -2; 444 1 60 1 0 - 7; 315 1 62 2 0 - 0; 182 2 53 2 1 - 4;
156 2 55 1 2 1025 10; 329 2 69 1 2 713 20; 364 1 68 2 1 - 7; 291 2 62 1 2 475 27; 179 2 63 1 1 538
-2; 376 1 56 2 1 825 17; 384 1 62 2 0 588 8; 268 2 44 2 1 2450 2; 292 1 69 1 2 2450 36; 142 2 63 1
1 875 2; 413 1 64 1 1 413 16; 266 1 57 2 0 1075 3; 194 2 60 2 1 - 33; 320 2 46 1 0 860 4; 181 2 61
1 1 730 0; 285 2 65 1 0 1025 0; 301 1 61 1 1 825 2; 348 2 58 2 0 1225 10; 197 2 56 1 1 768 37; 382
1 43 2 0 338 6; 303 1 53 1 1 1225 12; 296 1 59 2 1 1025 0; 180 2 56 1 2 1225 -2; 186 2 55 2 1 - -;
145 2 53 2 1 588 13; 269 1 74 2 0 588 0; 300 1 60 1 0 975 5; 284 1 39 1 0 1225 -5; 350 2 66 2 0
1025 -; 272 1 65 2 1 - -1; 292 1 51 2 0 1225 0; 332 1 45 2 0 975 5; 285 2 72 2 2 463 20; 259 1 58
1 0 1300 8; 110 2 64 1 1 1025 12; 286 2 53 1 0 1225 8; 270 2 72 1 1 488 14; 81 2 52 1 2 1075 -;
131 2 50 1 1 513 -; 225 1 64 1 1 825 33; 269 2 71 1 1 1300 -2; 225 1 70 1 0 1175 6; 243 1 63 2 1
825 0; 279 1 64 1 1 - 4; 276 1 52 2 0 975 0; 135 2 60 1 1 1275 0; 79 2 64 2 1 488 37; 59 2 73 1 1
2200 5; 240 1 63 2 0 1025 0; 202 1 50 2 0 635 1; 235 1 63 2 0 413 0; 105 2 62 1 2 - -; 224 1 55 2
0 - 23; 239 2 50 2 2 1025 -3; 237 1 69 1 1 - -; 173 1 59 2 1 - 10; 252 1 60 2 0 488 -2; 221 1 67 1
1 413 23; 185 1 69 1 1 1075 0; 92 1 64 2 2 - 31; 13 2 65 1 1 - 10; 222 1 65 1 1 1025 18; 192 1 41
2 1 - -10; 183 2 76 1 2 825 7; 211 1 70 2 2 131 3; 175 1 57 2 0 725 11; 197 1 67 1 1 1500 2; 203 1
71 2 1 1025 0; 116 2 76 1 1 - 0; 188 1 77 1 1 - 3; 191 1 39 1 0 2350 -5; 105 1 75 2 2 1025 5; 174
1 66 1 1 1075 1; 177 1 58 2 1 1060 0
"""

# Ovarian cancer (Edmunson et al. 1979; data set ovarian of R's survival): time status age
# residual-disease treatment ECOG.
OVARIAN = """
59 1 72.3315 2 1 1; 115 1 74.4932 2 1 1; 156 1 66.4658 2 1 2; 421 0 53.3644 2 2 1;
431 1 50.3397 2 1 1; 448 0 56.4301 1 1 2; 464 1 56.9370 2 2 2; 475 1 59.8548 2 2 2;
477 0 64.1753 2 1 1; 563 1 55.1781 1 2 2; 638 1 56.7562 1 1 2; 744 0 50.1096 1 2 1;
769 0 59.6301 2 2 2; 770 0 57.0521 2 2 1; 803 0 39.2712 1 1 1; 855 0 43.1233 1 1 2;
1040 0 38.8932 2 1 2; 1106 0 44.6000 1 1 1; 1129 0 53.9068 1 2 1; 1206 0 44.2055 2 2 1;
1227 0 59.5890 1 2 2; 268 1 74.5041 2 1 2; 329 1 43.1370 2 1 1; 353 1 63.2192 1 2 2;
365 1 64.4247 2 2 1; 377 0 58.3096 1 2 1
"""

# Simulated trial of the R package beeca (trial01, complete cases): response and arm, 0 or 1 each,
# then a baseline covariate.
TRIAL01 = """
01 5.852623394 00 5.053850966 00 15.59895021 01 10.11443718 01 25.69842484 10 16.95576365 11
14.01246201 00 12.88607856 01 9.382272747 00 13.89121077 11 19.93218947 10 8.175099255 10
20.18115768 01 24.35307476 01 6.080190163 00 17.2854876 11 14.50678782 00 14.41010084 01
30.22951788 10 5.409735407 00 19.75492746 11 13.78847621 11 5.081304155 00 6.85588389 01
9.652328662 00 15.48966136 00 12.81467925 01 15.96124734 00 21.48311224 01 7.970334464 10
5.547538987 11 6.780555216 11 15.1194881 10 13.68998133 01 19.51618732 10 9.754871708 00
18.94123529 01 12.9548135 01 15.33375657 00 15.81780007 10 8.032528548 11 14.39298872 00
16.63644411 01 10.64498403 01 27.9445943 10 5.932971117 01 7.516266987 10 6.868485847 10
22.74979175 01 13.63311927 01 12.9411356 00 21.55190401 00 5.089664129 11 23.4262429 10
14.05620983 01 10.54968546 01 26.05904748 00 5.325653075 11 12.78412994 10 8.6172527 00
22.12846487 01 10.76172098 11 13.47369461 10 5.290949728 00 14.24034452 01 6.022059297 11
24.34049437 10 8.92063668 10 14.12940211 11 16.45320233 00 15.11129639 01 9.00052816 10
8.424612109 01 8.735392843 11 21.34742974 10 25.31415264 10 12.97242069 01 10.72812573 01
25.10828864 10 20.24074669 00 11.1609758 01 13.91732286 11 6.620647782 00 10.79195786 01
9.740911091 00 18.81497115 10 8.331420837 11 7.749554359 01 13.58691448 10 6.399094243 01
10.12852632 10 16.74795425 11 15.44044352 00 5.150736241 00 18.66338217 11 10.82576523 10
11.1645763 11 21.57563595 10 23.15497555 11 9.287453661 00 8.098789881 01 17.17929158 00
20.98079812 01 8.498692858 10 12.29549735 01 23.79082829 00 17.32802866 01 22.17100157 01
11.48801882 00 14.70844564 00 8.293317966 11 16.06171811 11 9.802794918 00 7.128687919 10
14.81347021 11 12.55123636 01 19.62969284 10 10.29886699 10 14.12156999 11 17.4455248 10
22.86346726 11 13.33956193 01 5.806676633 10 11.20445998 01 8.952835616 00 14.89227611 11
16.19272774 10 14.81637944 00 11.96480077 01 23.84658066 11 10.89996487 00 12.76185498 10
20.00847958 11 7.414619705 11 25.99733488 00 8.105481222 11 7.189714183 00 14.63859539 11
18.05297455 10 10.59257975 11 10.39509897 10 10.59763523 11 9.165318607 00 11.89934139 01
7.916910123 00 14.03670914 01 18.35912195 00 16.79052736 00 8.478368225 01 23.72329814 01
10.24821108 00 15.96040507 10 9.801042126 01 27.64749232 10 13.95642976 01 9.273817327 01
13.03378625 10 20.47517297 00 5.131539677 01 21.48453783 10 22.31401802 01 18.05200891 00
18.66405036 01 19.15473598 11 6.517058566 10 33.8515323 11 14.99794936 00 18.6330711 11
21.84388994 10 17.78588365 10 7.503292285 01 24.61462464 01 10.3375186 00 10.15141739 01
10.59745873 10 7.475633948 10 25.52343949 01 15.75149984 00 17.85991641 11 13.8730698 11
8.832729953 10 8.4922351 00 15.42839358 01 20.34589314 10 22.89837956 11 18.54131507 00
30.09224655 01 5.095295736 11 19.77482938 10 16.59000199 01 20.9982718 00 23.65479049 11
15.61709539 10 7.43229504 11 10.40102743 00 7.693955039 00 16.46463311 11 10.62148102 01
19.41091455 00 14.65445305 10 10.94703507 01 11.13087455 00 11.80070604 01 8.033454403 00
10.6738028 11 20.22234592 00 18.69146476 01 20.69016532 10 14.73406715 01 20.69374769 10
23.64172777 01 30.71978105 01 7.254262319 10 16.57976342 01 19.31055266 10 6.853527971 01
6.764918619 10 18.06919115 11 16.98902251 00 9.566010414 01 10.04186334 10 20.57986757 10
11.70226756 01 21.87991105 10 17.8466763 01 14.23668717 10 22.80915649 01 12.73175721 01
13.59298771 00 8.115614558 10 15.43009662 11 10.60411171 00 6.49803496 11 7.689013783 10
10.05572681 11 26.33957125 11 5.871783797 00 20.82812665 01 16.5987775 10 15.37604394 01
14.80279865 00 22.737928 11 18.88257808 00 5.573387415 11 5.908979111 10 13.16684716 01
13.27048872 10 6.59368684 01 7.320379615 00 30.36015427 01 27.85050381 00 23.66044211 11
17.76443097 00 7.423325599 01 10.39500986 10 15.09944139 11 21.4220417 00 12.96709019 11
10.58654122 00 11.68354846 11 7.708297521 00 21.4466699 10 5.617811544 01 21.30703235 00
18.0682121 01 15.78747978 11 10.81657691
"""


def frame(text, columns):
    rows = [row.split() for row in text.strip().split(";")]
    table = pd.DataFrame(rows, columns=columns.split())
    return table.replace("-", np.nan).astype(float)


@pytest.fixture(scope="module")
def lung():
    data = frame(LUNG, "time status age sex ecog calories loss")
    data["event"] = data["status"] - 1
    data["sex"] = data["sex"].map({1: "1", 2: "2"})
    data["gain"] = (data["loss"] > 0).astype(float).where(data["loss"].notna())
    # The arms that the CAMIS comparison of R and SAS assigns by the order of the rows.
    data["arm"] = np.where(np.arange(len(data)) < 158, "Active", "Placebo")
    return data


@pytest.fixture(scope="module")
def ovarian():
    data = frame(OVARIAN, "time event age residual rx ecog")
    return data.assign(rx=data["rx"].map({1: "1", 2: "2"}), ecog=data["ecog"].map({1: "1", 2: "2"}))


@pytest.fixture(scope="module")
def aml():
    """Maintenance in acute myelogenous leukaemia (Miller 1981)."""
    return pd.DataFrame(
        {
            "time": np.array(
                "9 13 13 18 23 28 31 34 45 48 161 5 5 8 8 12 16 23 27 30 33 43 45".split(), float
            ),
            "event": [int(digit) for digit in "11011011010111110111111"],
            "x": ["Maintained"] * 11 + ["Nonmaintained"] * 12,
        }
    )


@pytest.fixture(scope="module")
def leukaemia():
    """6-MP and placebo (Freireich et al. 1963)."""
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    mp = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    return pd.DataFrame(
        {
            "time": mp + placebo,
            "event": [1] * 9 + [0] * 12 + [1] * 21,
            "arm": ["6-MP"] * 21 + ["placebo"] * 21,
        }
    )


@pytest.fixture(scope="module")
def polyps():
    """Sulindac in adenomatous polyposis (Giardiello et al. 1993; polyps of R's HSAUR)."""
    return pd.DataFrame(
        {
            "number": [63, 2, 28, 17, 61, 1, 7, 15, 44, 25, 3, 28, 10, 40, 33, 46, 50, 3, 1, 4],
            "treat": list("pdpdpdpppddpppdppddd"),
            "age": [20, 16, 18, 22, 13, 23, 34, 50, 19, 17, 23, 22, 30, 27, 23, 22, 34, 23, 22, 42],
        }
    )


def test_leukaemia_as_in_every_textbook(leukaemia):
    one = cox(leukaemia, "time", "event", "arm").contrasts.iloc[0]
    assert one[["estimate", "se"]].tolist() == pytest.approx([1.5721, 0.4124], abs=5e-5)
    one = cox(leukaemia, "time", "event", "arm", ties="breslow").contrasts.iloc[0]
    assert one[["estimate", "se"]].tolist() == pytest.approx([1.5092, 0.4096], abs=5e-5)
    found = logrank(leukaemia, "time", "event", "arm").iloc[0]
    assert found["statistic"] == pytest.approx(16.79, abs=5e-3)
    expected = observed_expected(leukaemia, "time", "event", "arm")
    assert expected["observed"].tolist() == [9, 21]
    assert expected["expected"].tolist() == pytest.approx([19.25, 10.75], abs=5e-3)


def test_aml_as_survival_prints_it(aml):
    found = logrank(aml, "time", "event", "x").iloc[0]
    assert found[["statistic", "p"]].tolist() == pytest.approx([3.40, 0.0653], abs=5e-3)
    expected = observed_expected(aml, "time", "event", "x")["expected"]
    assert expected.tolist() == pytest.approx([10.69, 7.31], abs=5e-3)
    efron = cox(aml, "time", "event", "x")
    assert efron.coefficients["term"].tolist() == ["xNonmaintained"]
    one = efron.contrasts.iloc[0]
    assert one[["estimate", "se"]].tolist() == pytest.approx([0.9155, 0.5119], abs=5e-5)
    tests = efron.tests.set_index(["of", "test"])["statistic"]
    assert tests["model", "likelihood ratio"] == pytest.approx(3.38, abs=5e-3)
    breslow = cox(aml, "time", "event", "x", ties="breslow")
    assert breslow.contrasts.loc[0, "estimate"] == pytest.approx(0.904, abs=5e-4)
    tests = breslow.tests.set_index(["of", "test"])["p"]
    assert tests["model", "likelihood ratio"] == pytest.approx(0.0694, abs=5e-5)


def test_aml_curve_as_survival_prints_it(aml):
    curve = kaplan_meier(aml, "time", "event", "x", interval="log")
    one = curve.loc[(curve["x"] == "Maintained") & (curve["n_event"] > 0)]
    assert one["n_risk"].tolist() == [11, 10, 8, 7, 5, 4, 2]
    survival = [0.909, 0.818, 0.716, 0.614, 0.491, 0.368, 0.184]
    assert one["survival"].tolist() == pytest.approx(survival, abs=5e-4)
    se = [0.0867, 0.1163, 0.1397, 0.1526, 0.1642, 0.1627, 0.1535]
    assert one["se"].tolist() == pytest.approx(se, abs=5e-5)
    low = [0.7541, 0.6192, 0.4884, 0.3769, 0.2549, 0.1549, 0.0359]
    assert one["ci_low"].tolist() == pytest.approx(low, abs=5e-5)
    high = [1, 1, 1, 0.999, 0.946, 0.875, 0.944]
    assert one["ci_high"].tolist() == pytest.approx(high, abs=5e-4)
    last = curve.iloc[-1]
    assert last["survival"] == 0
    assert last[["se", "ci_low", "ci_high"]].isna().all()
    median = survival_quantile(aml, "time", "event", "x", interval="log")
    assert median["estimate"].tolist() == [31, 23]
    assert median["ci_low"].tolist() == [18, 8]
    assert median["ci_high"].isna().all()


def test_lung_by_performance_as_survival_prints_it(lung):
    used = lung.loc[lung["ecog"] < 3]
    median = survival_quantile(used, "time", "event", "ecog", interval="log")
    assert median["estimate"].tolist() == [394, 306, 199]
    assert median["ci_low"].tolist() == [348, 268, 156]
    assert median["ci_high"].tolist() == [574, 429, 288]
    year = survival_at(used, "time", "event", [365, 730], "ecog", interval="log")
    assert year["n_risk"].tolist() == [22, 5, 34, 7, 9, 1]
    survival = [0.535, 0.193, 0.431, 0.114, 0.2147, 0.0371]
    assert year["survival"].tolist() == pytest.approx(survival, abs=5e-4)
    se = [0.0728, 0.0707, 0.0509, 0.0388, 0.0614, 0.0345]
    assert year["se"].tolist() == pytest.approx(se, abs=5e-5)
    assert year.loc[4, ["ci_low", "ci_high"]].tolist() == pytest.approx([0.123, 0.376], abs=5e-4)


def test_lung_regression_as_survival_prints_it(lung):
    found = cox(lung, "time", "event", "sex", ["age", "ecog"]).coefficients.set_index("term")
    assert found["estimate"].to_dict() == pytest.approx(
        {"sex2": -0.552612, "age": 0.011067, "ecog": 0.463728}, abs=5e-7
    )
    assert found["se"].to_dict() == pytest.approx(
        {"sex2": 0.167739, "age": 0.009267, "ecog": 0.113577}, abs=5e-7
    )


def test_lung_restricted_mean_as_survrm2_and_sas(lung):
    """Published side by side by CAMIS: R survRM2::rmst2 and SAS PROC RMSTREG, tau 350."""
    found = restricted_mean(lung, "time", "event", "arm", tau=350, reference="Placebo")
    means = found.means.set_index("arm")
    assert means["estimate"].tolist() == pytest.approx([248.2156, 272.9520], abs=5e-5)
    assert means["se"].tolist() == pytest.approx([9.2343, 11.9889], abs=5e-5)
    assert means["ci_low"].tolist() == pytest.approx([230.1166, 249.4542], abs=5e-5)
    one = found.contrasts.iloc[0]
    assert one["contrast"] == "Active - Placebo"
    numbers = one[["estimate", "se", "p", "ci_low", "ci_high"]].tolist()
    want = [-24.7364, 15.1330, 0.1021, -54.3965, 4.9237]
    assert numbers == pytest.approx(want, abs=5e-5)


def test_ovarian_as_survival_prints_it(ovarian):
    fit = cox(ovarian, "time", "event", "rx", ["age", "ecog"])
    found = fit.coefficients.set_index("term")
    assert found["estimate"].to_dict() == pytest.approx(
        {"rx2": -0.815, "age": 0.147, "ecog2": 0.103}, abs=5e-4
    )
    assert found["se"].to_dict() == pytest.approx(
        {"rx2": 0.6342, "age": 0.0463, "ecog2": 0.6064}, abs=5e-5
    )
    assert fit.tests.loc[0, "p"] == pytest.approx(0.00118, abs=5e-6)


def test_stratified_ovarian_as_survival_prints_it(ovarian):
    fit = cox(ovarian, "time", "event", "ecog", ["age"], strata="rx")
    found = fit.coefficients.set_index("term")
    assert found["estimate"].to_dict() == pytest.approx(
        {"ecog2": -0.09670, "age": 0.13853}, abs=5e-6
    )
    assert found["se"].to_dict() == pytest.approx({"ecog2": 0.62994, "age": 0.04801}, abs=5e-6)
    age = found.loc["age"]
    assert age[["hr_ci_low", "hr_ci_high"]].tolist() == pytest.approx([1.0454, 1.262], abs=5e-4)
    assert fit.tests["statistic"].head(3).tolist() == pytest.approx([12.71, 8.43, 12.24], abs=5e-3)
    assert fit.tests["p"].head(3).tolist() == pytest.approx([0.001736, 0.01476, 0.002195], abs=5e-6)


def test_proportional_hazards_of_ovarian_as_survival_3_prints_it(ovarian):
    found = cox(ovarian, "time", "event", "ecog", ["age"]).proportional_hazards()
    assert found["term"].tolist() == ["ecog", "age", "GLOBAL"]
    assert found["statistic"].tolist() == pytest.approx([2.371, 0.698, 3.633], abs=5e-4)
    assert found["p"].tolist() == pytest.approx([0.12, 0.40, 0.16], abs=5e-3)


@pytest.mark.parametrize(
    ("ties", "truth"),
    [
        ("breslow", np.log(1.5 + np.sqrt(33) / 2)),
        ("efron", np.log(np.cos(np.arccos(45 / 23 * np.sqrt(3 / 23)) / 3) * 2 * np.sqrt(23 / 3))),
    ],
)
def test_small_example_of_therneau_and_grambsch_is_exact(ties, truth):
    """Appendix E of their book (2000): the maximum is known in closed form."""
    data = pd.DataFrame({"t": [1, 1, 6, 6, 8, 9], "d": [1, 0, 1, 1, 0, 1], "x": list("111000")})
    fit = cox(data, "t", "d", "x", ties=ties)
    r = np.exp(truth)
    assert fit.contrasts.loc[0, "estimate"] == pytest.approx(truth, rel=1e-9)
    if ties == "breslow":
        loglik = 2 * truth - np.log(3 * r + 3) - 2 * np.log(r + 3)
        information = r / (r + 1) ** 2 + 6 * r / (r + 3) ** 2
    else:
        loglik = 2 * truth - np.log(3 * r + 3) - np.log((r + 5) / 2) - np.log(r + 3)
        information = sum(q - q**2 for q in (r / (r + 1), r / (r + 5), r / (r + 3)))
    assert fit.loglik == pytest.approx(loglik, rel=1e-12)
    assert fit.contrasts.loc[0, "se"] == pytest.approx(information**-0.5, rel=1e-9)


def test_logistic_regression_as_r_prints_it(lung):
    """CAMIS: glm and confint.default."""
    found = logistic(lung, "gain", "sex", ["age", "ecog", "calories"])
    assert found.contrasts.loc[0, "n"] == 170
    terms = found.coefficients.set_index("term").drop("(Intercept)")
    want = [-0.8717357187, -0.0101717451, 0.4179665342, -0.0008869427]
    assert terms["estimate"].tolist() == pytest.approx(want, rel=1e-7)
    low = [-1.599674572, -0.050960015, -0.089400173, -0.001762538]
    assert terms["ci_low"].tolist() == pytest.approx(low, rel=1e-6)
    # glm stops at a change of the deviance of 1e-8; a limit near 0 shows it in the sixth digit.
    high = [-1.437969e-01, 3.061653e-02, 9.253332e-01, -1.134731e-05]
    assert terms["ci_high"].tolist() == pytest.approx(high, rel=5e-6)


def test_firth_regression_as_logistf_prints_it(lung):
    """CAMIS: logistf with profile intervals; the SE are SAS', which differ from logistf's."""
    found = logistic(lung, "gain", "sex", ["age", "ecog", "calories"], method="firth")
    terms = found.coefficients.set_index("term").drop("(Intercept)")
    want = [-0.8455619163, -0.0098111679, 0.4018229715, -0.0008495327]
    assert terms["estimate"].tolist() == pytest.approx(want, rel=1e-7)
    low = [-1.571158740, -0.050518148, -0.090278518, -0.001722033]
    assert terms["ci_low"].tolist() == pytest.approx(low, rel=1e-6)
    high = [-1.356810e-01, 2.974343e-02, 9.093255e-01, -7.098976e-06]
    assert terms["ci_high"].tolist() == pytest.approx(high, rel=1e-6)
    p = [0.01952718, 0.62876680, 0.10992492, 0.04811912]
    assert terms["p"].tolist() == pytest.approx(p, rel=1e-6)
    chisq = [5.4536777, 0.2337368, 2.5553004, 3.9058205]
    assert (terms["statistic"] ** 2).tolist() == pytest.approx(chisq, rel=1e-6)
    assert terms.loc["age", "se"] == pytest.approx(0.02065, abs=5e-6)


@pytest.mark.parametrize(("variance", "se"), [("model", 0.06071641), ("ye", 0.0608836)])
def test_standardised_risk_difference_as_beeca_robincar_and_sas(variance, se):
    """Beeca's vignette; model: also SAS %Margins and R margins, ye: also RobinCar."""
    words = TRIAL01.split()
    data = pd.DataFrame(
        {
            "y": [int(word[0]) for word in words[::2]],
            "arm": [word[1] for word in words[::2]],
            "base": [float(word) for word in words[1::2]],
        }
    )
    one = logistic(data, "y", "arm", ["base"], variance=variance).contrasts.iloc[0]
    assert one["n"] == 267
    assert one["risk_difference"] == pytest.approx(-0.06836399, abs=5e-9)
    assert one["rd_se"] == pytest.approx(se, abs=5e-9)


def test_poisson_regression_as_r_and_sas_print_it(polyps):
    found = count_model(polyps, "number", "treat", ["age"], family="poisson", reference="p")
    terms = found.coefficients
    want = [4.529024, -1.359083, -0.038830]
    assert terms["estimate"].tolist() == pytest.approx(want, abs=5e-7)
    assert terms["se"].tolist() == pytest.approx([0.146872, 0.117643, 0.005955], abs=3e-6)
    one = found.contrasts.loc[0, ["rate_ratio", "rr_ci_low", "rr_ci_high"]].tolist()
    assert one == pytest.approx([0.2569, 0.2040, 0.3235], abs=5e-5)
    # LS means of SAS; covariate at its mean, 25.
    rates = found.rates.set_index("treat")[["rate", "ci_low", "ci_high"]]
    assert rates.loc["d"].tolist() == pytest.approx([9.017654, 7.30, 11.13], abs=5e-3)
    assert rates.loc["p"].tolist() == pytest.approx([35.102332, 31.72, 38.84], abs=5e-3)
    assert found.dispersion.loc[0, "loglik"] == pytest.approx((273.88 - 6) / -2, abs=5e-3)


def test_negative_binomial_regression_as_r_prints_it(polyps):
    found = count_model(polyps, "number", "treat", ["age"], reference="p")
    terms = found.coefficients
    assert terms["estimate"].tolist() == pytest.approx([4.52603, -1.36812, -0.03856], abs=5e-6)
    assert terms["se"].tolist() == pytest.approx([0.59466, 0.36903, 0.02095], abs=5e-6)
    assert terms["p"].tolist()[1:] == pytest.approx([0.000209, 0.065751], abs=5e-7)
    one = found.dispersion.iloc[0]
    assert one["theta"] == pytest.approx(1.719491, abs=5e-7)
    assert one["theta_se"] == pytest.approx(0.607, abs=5e-4)
    assert 2 * one["loglik"] == pytest.approx(-156.880, abs=5e-4)


def test_negative_binomial_regression_as_sas_prints_it(polyps):
    """CAMIS: PROC GENMOD, whose standard errors come from the observed information."""
    found = count_model(polyps, "number", "treat", ["age"], reference="p", information="observed")
    one = found.contrasts.loc[0, ["rate_ratio", "rr_ci_low", "rr_ci_high"]].tolist()
    assert one == pytest.approx([0.2546, 0.1232, 0.5259], abs=5e-5)
    rates = found.rates.set_index("treat")[["rate", "ci_low", "ci_high"]]
    assert rates.loc["d"].tolist() == pytest.approx([8.97, 5.18, 15.53], abs=5e-3)
    assert rates.loc["p"].tolist() == pytest.approx([35.24, 22.12, 56.13], abs=5e-3)
