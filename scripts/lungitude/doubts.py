"""What is doubted of the label maps that a run makes, carried to the measures made of them.

Label maps of scans.tsv are taken as they are. The network and region growing tell how far theirs
can be trusted, two of them can be held against each other, and a scan can be read again in other
views. A doubt flags; it changes no value.
"""

import pandas as pd

from lungitude import cohort, records

KEY = [*cohort.IDENTITY, "STRUCTURE"]
CHECKED = ["dice", "hd95_mm", "check_flag"]
COLUMNS = [*KEY, "found_by", "volume_ml", "confidence", "distance", "flag", *CHECKED, "spread_flag"]
# Structures that each table of measures is made of.
MADE_OF = {
    "parenchyma": ("lobes",),
    "airways": ("airways",),
    "vessels": ("vessels", "lobes"),  # those in the lungs count
    "calcium": ("coronary",),
    "ventricle": ("heart",),
    "prm": ("lobes",),
}
# SD over the views above which a value of the whole scan is doubted, by table and column. Density,
# volume and mass: the SD within patients who were scanned twice in a week (mean absolute difference
# times 0.886 [1]_; that of air trapping for normal lung and fSAD). Hearts: the low end of how two
# studies by magnetic resonance differ [2]_. Others: the error that the measure may have where the
# label maps are right (goals of docs/validation/imaging.md).
#
# .. [1] Chong et al. 2011, Proc SPIE 7963:796339, doi:10.1117/12.878240.
# .. [2] Grothues et al. 2002, Am J Cardiol 90:29-34, doi:10.1016/S0002-9149(02)02381-0.
LIMITS = {
    "parenchyma": {
        "volume_ml": 150.0,
        "mass_g": 13.0,
        "laa950_pct": 0.6,
        "perc15_hu": 2.1,
        "pd15_g_l": 2.1,
        "mld_hu": 4.4,
    },
    "prm": {"normal_pct": 2.7, "fsad_pct": 2.7, "emphysema_pct": 0.6},
    "airways": {"pi10_mm": 0.1, "wa_pct": 1.8, "wa_la": 0.15, "lumen_diameter_mm": 0.15},
    "vessels": {"bv5_pct": 2.5, "fractal_dimension": 0.03},
    "calcium": {"score": 12.0},
    "ventricle": {"ef_pct": 2.0, "sv_ml": 5.0, "lvm_g": 5.0},
}


def gather(trust, checks, grown, used):
    """Put together what is told of the label maps in use.

    Parameters
    ----------
    trust : list of path
        Tables of the network, one a visit (`networks.trust`).
    checks : list of path
        Tables of `check_network`, one a visit.
    grown : list of path
        Records of the structures that region growing found.
    used : list of dict
        `KEY` of the label maps that measures are made of; the others are passed over.

    Returns
    -------
    DataFrame
        `COLUMNS`, a row a structure of a scan. found_by is ``network`` or ``classical``; volume_ml,
        confidence (expected Dice), distance and flag are its own word; dice, hd95_mm and check_flag
        tell how it agrees with a second way to find it, NaN where there was none; spread_flag is
        empty, see `with_spreads`.
    """
    told = [cohort.stack(trust).assign(found_by="network")]
    rows = [record for record in map(records.read, grown) if record["status"] == "ok"]
    for row in rows:
        row.update(found_by="classical", flag="; ".join(row["faults"]))
    told.append(pd.DataFrame(rows))
    told = [frame for frame in told if len(frame)]
    if not told:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.concat(told, ignore_index=True)
    checked = cohort.stack(checks)
    if len(checked):
        checked = checked.rename(columns={"flag": "check_flag"})
        table = table.merge(checked[[*KEY, *CHECKED]], how="left", on=KEY)
    wanted = pd.MultiIndex.from_frame(pd.DataFrame(used, columns=KEY))
    kept = pd.MultiIndex.from_frame(table[KEY]).isin(wanted)
    return table.reindex(columns=COLUMNS)[kept].reset_index(drop=True)


def words(doubts):
    """Return what flags say, by `KEY`: a list of (who says it, what); the trusted have no entry."""
    found = {}
    for row in doubts.to_dict("records"):
        said = (
            (row["found_by"], row["flag"]),
            ("cross-check", row["check_flag"]),
            ("spread", row["spread_flag"]),
        )
        said = [(who, text) for who, text in said if isinstance(text, str) and text]
        if said:
            found[tuple(row[name] for name in KEY)] = said
    return found


def onto(measures, doubts, scans, baseline, without_vessels=False):
    """Add the doubts about structures to the flags of the measures that are made of them.

    Parameters
    ----------
    measures : dict of str to DataFrame
        Tables by name, see `cohort.from_scans`.
    doubts : DataFrame
        Of `gather`.
    scans : dict of str
        Series by role: ``inspiration``, ``expiration``.
    baseline : str
        Name of the visit: measures of the series ``subject`` are made of its scans, too.
    without_vessels : bool
        Whether the map of the response leaves the vessels out.

    Returns
    -------
    dict of str to DataFrame
        The tables; in `flag` each doubt follows what stood there, after "; ", as ``network: ...``,
        or ``network, <scan>: ...`` where the measure is made of several scans.
    """
    told = words(doubts)
    if not told:
        return measures
    flagged = {}
    for name, table in measures.items():
        parts = (*MADE_OF[name], *(("vessels",) if name == "prm" and without_vessels else ()))
        flags = []
        for row in table.to_dict("records"):
            own = row.get("flag")
            said = [own] if isinstance(own, str) and own else []
            for visit, series, place in sources(row, name, scans, baseline):
                for part in parts:
                    key = (row["USUBJID"], visit, series, part)
                    said += [f"{who}{place}: {text}" for who, text in told.get(key, ())]
            flags.append("; ".join(said))
        flagged[name] = table.assign(flag=pd.Series(flags, table.index, dtype=object))
    return flagged


def sources(row, name, scans, baseline):
    """Return visit and series of the scans that a row of a table is made of, and a word for them.

    A row of one scan needs no word; those of a visit take the inspiration (the response map: the
    expiration, too), those of a patient also the scans of the baseline.
    """
    if row["SERIES"] not in ("visit", "subject"):
        return [(row["AVISIT"], row["SERIES"], "")]
    visits = [row["AVISIT"]] if row["SERIES"] == "visit" else [baseline, row["AVISIT"]]
    series = [scans["inspiration"]] + [scans["expiration"]] * (name == "prm")
    return [
        (visit, one, f", {visit} {one}" if visit != row["AVISIT"] else f", {one}")
        for visit in dict.fromkeys(visits)
        for one in series
    ]


def of_spreads(spreads, parameters, limits):
    """Say which values spread too far over the views of their scans.

    Parameters
    ----------
    spreads : DataFrame
        USUBJID, AVISIT and the columns of `networks.spread.summarise`.
    parameters : DataFrame
        parameters.tsv.
    limits : dict of float
        By PARAMCD; where it has none, `LIMITS` hold for values of the region ``all``.

    Returns
    -------
    DataFrame
        The table with MEASURE, and flag: empty, or why to doubt the value, in words.
    """
    known = parameters.set_index("PARAMCD").reindex(columns=["MEASURE", "AVALU"])
    table = spreads.join(known, on="PARAMCD")
    flags = []
    for row in table.to_dict("records"):
        _, name, region, column = row["MEASURE"].split(":")
        usual = LIMITS[name].get(column) if region == "all" else None
        limit = limits.get(row["PARAMCD"], usual)
        said = []
        if limit is not None and row["sd"] > limit:
            unit = f" {row['AVALU']}" if isinstance(row["AVALU"], str) else ""
            sd = f"{row['sd']:.3g}{unit}"
            said.append(f"{row['views']} further readings have an SD of {sd}, above {limit:g}")
        if row["missing"]:
            said.append(f"{row['missing']} of {row['views']} further readings give no value")
        flags.append("; ".join(said))
    return table.drop(columns="AVALU").assign(flag=pd.Series(flags, table.index, dtype=object))


def with_spreads(doubts, spreads, roles):
    """Add to what is told of label maps which of the values made of them spread too far.

    Such a doubt is of one value, not of all that is made of the map, so `onto` must not see it.

    Parameters
    ----------
    doubts : DataFrame
        Of `gather`.
    spreads : DataFrame
        Of `of_spreads`.
    roles : dict of str
        Series by role: ``inspiration``, which measures of a visit or a patient are made of.

    Returns
    -------
    DataFrame
        `doubts` with spread_flag: each value by its PARAMCD, at the first structure of `MADE_OF`
        that the network found.
    """
    keys = list(doubts[KEY].itertuples(index=False, name=None))
    told = {}
    for row in spreads[spreads["flag"] != ""].to_dict("records"):
        series, name, *_ = row["MEASURE"].split(":")
        series = roles["inspiration"] if series in ("visit", "subject") else series
        parts = (*MADE_OF[name], "vessels")  # a response map may leave these out
        at = [(row["USUBJID"], row["AVISIT"], series, part) for part in parts]
        at = next(key for key in at if key in keys)
        told.setdefault(at, []).append(f"{row['PARAMCD']}: {row['flag']}")
    flags = ["; ".join(told.get(key, ())) for key in keys]
    return doubts.assign(spread_flag=pd.Series(flags, doubts.index, dtype=object))
