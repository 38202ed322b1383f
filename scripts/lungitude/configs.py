"""What a schema can't say of config.yaml: names that must be unique, known, or free."""

import itertools
import re
from pathlib import Path

from lungitude import backends, grades, label_names, windows
from lungitude.checks import nearest
from lungitude.registration import settings as registration
from lungitude.safety import DERIVED, EVENT

# What a series is for; `imaging` of config.yaml names the series of each.
ROLES = ("inspiration", "expiration", "calcium", "gated")

# Columns that the analysis data sets make, and the word of results for all arms together.
RESERVED = set(
    "STUDYID USUBJID ARM TRT01P TRT01PN RANDDT EOSSTT EOSDT DCSREAS ITTFL SAFFL PPROTFL PARAMCD "
    "PARAM PARAMN AVISIT AVISITN ADT ADY AVAL AVALU BASE CHG PCHG ABLFL ANL01FL DTYPE "
    "SOURCE AESEQ RFSTDT ASEQ VISIT AWTARGET AWTDIFF AWLO AWHI AWRANGE AWU ANLREAS".split()
) | {*EVENT, *DERIVED}
TOTAL = "TOTAL"


def problems(config, document):
    """Yield the problems of a config that fits its schema.

    Parameters
    ----------
    config : dict
        With the defaults of the schema filled in.
    document : Document
        config.yaml, for the place of each problem.
    """
    problem = document.problem
    unique = [(["arms"], "code"), (["visits"], "name"), (["visits"], "path"),
              (["characteristics"], "column"), (["strata"], "column")]  # fmt: skip
    unique += [(["strata", index, "levels"], "value") for index in range(len(config["strata"]))]
    for keys, key in unique:
        group, seen = config, set()
        for part in keys:
            group = group[part]
        for index, item in enumerate(group):
            if item[key] in seen:
                name = ".".join(map(str, keys))
                text = f"'{name}' has {key} '{item[key]}' twice; each must be unique"
                yield problem([*keys, index], text)
            seen.add(item[key])
    references = [arm["code"] for arm in config["arms"] if arm["reference"]]
    if len(config["arms"]) > 1 and len(references) != 1:
        text = f"{len(references)} arms say 'reference: true'; exactly one must, the comparator"
        yield problem(["arms"], text)
    for index, arm in enumerate(config["arms"]):
        if arm["code"].upper() == TOTAL:
            text = f"the arm code '{arm['code']}' is kept for all arms together; choose another"
            yield problem(["arms", index], text)
    visits = config["visits"]
    baselines = [visit["name"] for visit in visits if visit["baseline"]]
    if len(baselines) != 1:
        text = f"{len(baselines)} visits say 'baseline: true'; exactly one must"
        yield problem(["visits"], text)
    for index in range(1, len(visits)):
        last, this = visits[index - 1], visits[index]
        if this["number"] <= last["number"]:
            text = (
                f"visit '{this['name']}' has number {this['number']:g} after '{last['name']}' with "
                f"{last['number']:g}; list visits by time, each with a greater number"
            )
            yield problem(["visits", index], text)
    yield from windows.config_problems(config, problem)
    yield from grades.config_problems(config, problem)
    yield from _strata_problems(config, problem)
    yield from _characteristics_problems(config, problem)
    yield from _section_problems(config, problem)
    yield from _index_problems(config, problem)


def _strata_problems(config, problem):
    seen = {"all", "quality"}
    described = {item["column"]: item for item in config["characteristics"]}
    for index, factor in enumerate(config["strata"]):
        column = factor["column"]
        if column in RESERVED:
            text = f"stratum column '{column}' has a reserved name; rename the column"
            yield problem(["strata", index], text)
        item = described.get(column, {})
        if item.get("type") == "continuous":
            text = f"'{column}' is 'continuous' in 'characteristics'; a stratum is a 'category'"
            yield problem(["strata", index], text)
        for place, level in enumerate(factor["levels"]):
            keys = ["strata", index, "levels", place]
            if level["path"] in seen:
                text = f"stratum path '{level['path']}' is taken; choose another"
                yield problem(keys, text)
            seen.add(level["path"])
            if item.get("levels") and level["value"] not in item["levels"]:
                text = (
                    f"level '{level['value']}' of '{column}' is not among its levels in "
                    f"'characteristics'; {nearest(level['value'], item['levels'])}"
                )
                yield problem(keys, text)


def _characteristics_problems(config, problem):
    for index, item in enumerate(config["characteristics"]):
        keys, column = ["characteristics", index], item["column"]
        if column in RESERVED:
            text = f"characteristic '{column}' has a reserved name; rename the column"
            yield problem(keys, text)
        if item.get("low", -float("inf")) >= item.get("high", float("inf")):
            text = f"low {item['low']:g} of '{column}' is not below high {item['high']:g}"
            yield problem(keys, f"{text}; mend them")
        for value in item.get("show", []) if item.get("levels") else []:
            if value not in item["levels"]:
                text = f"'show' of '{column}' names level '{value}'; "
                yield problem([*keys, "show"], text + nearest(value, item["levels"]))


def _section_problems(config, problem):
    """Yield the sections of config.yaml that lack another one."""
    named = config["sheets"]
    if "randomisation" in named and not config["arms"]:
        text = "there is a randomisation sheet but no 'arms'; name them"
        yield problem(["sheets", "randomisation"], text)
    if "randomisation" in named and "subjects" not in named:
        yield problem(["sheets"], "a trial with arms needs 'sheets: subjects'; add it")
    if "screening" in named and "subjects" not in named:
        text = "screening says which patients were randomised; add 'sheets: subjects'"
        yield problem(["sheets", "screening"], text)
    if "scans" in named and "imaging" not in config:
        text = "there are scans but no 'imaging' section; add it"
        yield problem(["sheets", "scans"], text)
    imaging = config.get("imaging", {})
    for role in ROLES:
        if role in imaging and imaging[role] not in imaging["series"]:
            text = f"'imaging.{role}' is '{imaging[role]}', which is not in 'imaging.series'; "
            yield problem(["imaging", role], text + nearest(imaging[role], imaging["series"]))
        if "phantom" in config and role in ("inspiration", "expiration") and role not in imaging:
            text = f"a phantom needs 'imaging.{role}', the series that is made; add it"
            yield problem(["phantom"], text)
    roles = [role for role in ROLES if role in imaging]
    for first, second in itertools.combinations(roles, 2):
        if imaging[first] == imaging[second]:
            text = f"{first} and {second} are the same series; name two"
            yield problem(["imaging", second], text)
    for role in roles:
        series = imaging["series"].get(imaging[role], {})
        if series.get("cycle", False) != (role == "gated"):
            says = "lacks 'cycle: true'" if role == "gated" else "is no cycle, delete 'cycle'"
            yield problem(["imaging", role], f"the series '{imaging[role]}' {says}")
    codes = {"lungs": 2, "lobes": 6}[imaging.get("label_scheme", "lungs")]
    named = imaging.get("label_map", {})
    for label, code in {} if isinstance(named, str) else named.items():
        if code > codes:
            text = f"'imaging.label_map' maps {label} to {code}, but '{imaging['label_scheme']}' "
            text += f"has codes up to {codes}; mend it or 'label_scheme'"
            yield problem(["imaging", "label_map", label], text)
    try:
        registration.split(imaging.get("registration"))
    except ValueError as error:
        yield problem(["imaging", "registration"], str(error).removeprefix("registration: "))
    if "phantom" in config and ("calcium" in imaging) != ("gated" in imaging):
        text = "a phantom makes the calcium scan and the gated one together; name both or neither"
        yield problem(["imaging"], text)
    if "heart_registration" in imaging:
        yield from _heart_problems(imaging, problem)
    if "network" in imaging:
        yield from _network_problems(imaging, problem)
    yield from _classical_problems(imaging, problem)
    yield from _label_problems(imaging, problem)
    if "phantom" in config and "scans_root" in config:
        text = "the scans of a phantom are made in the project; delete 'scans_root'"
        yield problem(["scans_root"], text)


def _network_problems(imaging, problem):
    """Yield what is wrong with the settings of the network."""
    if imaging.get("segmentation") != "network":
        text = "it is read where 'imaging.segmentation' is 'network'; say so, or delete it"
        yield problem(["imaging", "network"], text)
    weights = imaging["network"].get("weights")
    if weights and not Path(weights).is_file():
        text = f"there is no file '{weights}'; mend the path, or leave it out for those shipped"
        yield problem(["imaging", "network", "weights"], text)
    views = imaging["network"].get("spread", 0)
    if views == 1:
        text = "one further reading has no spread; ask for 2 or more, better 5, or 0 for none"
        yield problem(["imaging", "network", "spread"], text)
    if "spread_limits" in imaging["network"] and not views:
        text = "no scan is read again; say how often as 'imaging.network.spread', or delete it"
        yield problem(["imaging", "network", "spread_limits"], text)


def _classical_problems(imaging, problem):
    """Yield what is wrong with what is to be found without a network."""
    network = imaging.get("segmentation") == "network"
    if "classical" in imaging and network:
        text = "the network finds airways and vessels; delete it, or say 'segmentation: classical'"
        yield problem(["imaging", "classical"], text)
    if imaging.get("cross_check") and not network:
        text = "it checks the network; say 'segmentation: network', or delete it"
        yield problem(["imaging", "cross_check"], text)
    for key in ("classical", "cross_check"):
        if imaging.get(key) and "inspiration" not in imaging:
            text = "it reads the inspiration; name that series as 'imaging.inspiration'"
            yield problem(["imaging", key], text)


def _label_problems(imaging, problem):
    """Yield what is wrong with label maps of other software, and with the runs that make them."""
    named = imaging.get("label_maps", {})
    if "LABELS" in named and "label_map" in imaging:
        text = "'label_map' and 'label_maps: LABELS' say the same; keep one"
        yield problem(["imaging", "label_maps", "LABELS"], text)
    for column, names in named.items():
        text = _label_map_fault(names, label_names.COLUMNS[column])
        if text:
            yield problem(["imaging", "label_maps", column], text)
    filled = {}
    for name, run in imaging.get("external", {}).items():
        keys = ["imaging", "external", name]
        backend = backends.backend(**backends.settings_of(run))
        try:
            known = backend.label_map()
        except ValueError as error:
            yield problem(keys, str(error))
            continue
        for column in run["fills"]:
            role = {"CORONARY": "calcium", "HEART": "gated"}.get(column, "inspiration")
            own = run["fills"][column] if isinstance(run["fills"], dict) else None
            text = _label_map_fault(own, label_names.COLUMNS[column]) if own else None
            if column in filled:
                text = f"'{filled[column]}' fills {column}, too; choose one"
            elif column != "LABELS" and role not in imaging:
                text = f"{column} belongs to the series of {role}, which 'imaging' does not name"
            elif not own and known in label_names.MAPS:
                can = label_names.columns_of(known)
                if column not in can:
                    text = f"task '{run['task']}' does not give {column}, but {', '.join(can)}"
            if text:
                yield problem([*keys, "fills"], text)
            filled[column] = name


def _label_map_fault(names, structures):
    """Return why a label map can't be right; None if it can.

    Whether its names are of codes or of masks shows at the files.
    """
    if isinstance(names, str):
        if names == label_names.NAMED or names.endswith(".json"):
            return None
        if names not in label_names.MAPS:
            return f"label map '{names}' is unknown; {nearest(names, label_names.MAPS)}"
    masks = isinstance(names, dict) and any(isinstance(v, str) for v in names.values())
    try:
        label_names.check(names, structures, masks)
    except ValueError as error:
        return str(error)
    return None


def _heart_problems(imaging, problem):
    """Yield what is wrong with the registration of the gated scan."""
    keys = ["imaging", "heart_registration"]
    for role in ("inspiration", "gated"):
        if role not in imaging:
            yield problem(keys, f"it brings the gated scan onto the inspiration; name '{role}'")
    try:
        registration.split_heart(imaging["heart_registration"])
    except ValueError as error:
        yield problem(keys, str(error).removeprefix("registration: "))


OPPOSITE = ({"thinnest", "thickest"}, {"softest", "sharpest"}, {"earliest", "latest"})


def _index_problems(config, problem):
    """Yield what in the section of `lungitude index` names nothing, or says two things."""
    if "index" not in config:
        return
    section = config["index"]
    if "imaging" not in config:
        yield problem(["index"], "series are looked for but there is no 'imaging' section; add it")
        return
    known = config["imaging"]["series"]
    visits = [visit["name"] for visit in config["visits"] if visit["imaging"]]
    for name, rule in section["series"].items():
        keys = ["index", "series", name]
        if name not in known:
            yield problem(keys, f"'{name}' is not in 'imaging.series'; {nearest(name, known)}")
        low, high = rule.get("slice_mm", (0, 0))
        if low > high:
            yield problem([*keys, "slice_mm"], f"{low:g} mm is above {high:g} mm; swap the two")
        for pair in OPPOSITE:
            if pair <= set(rule["prefer"]):
                text = f"{' and '.join(sorted(pair))} are opposites; keep one"
                yield problem([*keys, "prefer"], text)
    for value, visit in section["time_points"].items():
        if visit not in visits:
            text = f"'{visit}' is no visit with imaging; {nearest(visit, visits)}"
            yield problem(["index", "time_points", value], text)
    phases = ("inspiration", "expiration", "gated")
    for first, second in (*itertools.combinations(phases, 2), ("contrast", "no_contrast")):
        words = {word.casefold() for word in section["words"].get(second, [])}
        for word in section["words"].get(first, []):
            if word.casefold() in words:
                text = f"the word '{word}' stands for {first}, too; keep it in one of the two"
                yield problem(["index", "words", second], text)
    for index, pattern in enumerate(section["files"]):
        keys = ["index", "files", index]
        for key, names in (("visit", visits), ("series", known)):
            if key in pattern and pattern[key] not in names:
                text = f"{key} '{pattern[key]}' is unknown; {nearest(pattern[key], names)}"
                yield problem([*keys, key], text)
        for key in ("patient", "visit", "series"):
            said = pattern["path"].count("{" + key + "}") + (key in pattern)
            if said > 1:
                text = f"the {key} is said {said} times; say it once, in the path or beside it"
                yield problem(keys, text)
            elif not said and "ignore" not in pattern:
                text = f"nothing says the {key}; put {{{key}}} into the path or a key beside it"
                yield problem(keys, text)
        found = set(re.findall(r"\{(.*?)\}", pattern["path"])) - {"patient", "visit", "series"}
        for name in sorted(found):
            text = f"{{{name}}} is unknown; known: {{patient}}, {{visit}}, {{series}}"
            yield problem([*keys, "path"], text)
