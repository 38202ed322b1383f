"""Networks compared on equal terms: trained together on one stream, reading the same patients.

Each step's samples are drawn once, and every network learns from them, so none has other data, more
of it, or a better order. All have the same losses, schedule and number of steps; the rate is the
design's own where it can't do with the common one.
"""

import functools
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch
import yaml

from lungitude.checks import nearest

from . import baselines, evaluation, inference, settings, training, unseen, weights
from .hierarchical import BRANCHES, PASSES

log = logging.getLogger(__name__)

FOLDER = settings.FOLDER
OF_MODEL = ("title", "network", "rate", "parts_of")
SECTIONS = ("training", "models", "cases")


def load(path=FOLDER / "comparison.yaml"):
    """Read and check what is compared.

    Parameters
    ----------
    path : path
        YAML with the sections `SECTIONS`; see config/networks/comparison.yaml.

    Returns
    -------
    dict
        training : all of `training.DEFAULTS`; models : dict by name, each a title and networks:
        settings of `baselines.of` and a rate, by branch, or ``all`` where one has all branches;
        cases : patients by domain.

    Raises
    ------
    ValueError
        An unknown section or key, a model without a network; it names the file and the model.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return _checked(content)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name}: not YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _checked(content):
    for section, given in content.items():
        if section not in SECTIONS:
            raise ValueError(f"'{section}' is unknown; {nearest(section, SECTIONS)}")
        if not isinstance(given, dict):
            raise ValueError(f"{section}: is {given!r}; write keys with values")
    if not content.get("models"):
        raise ValueError("names no models")
    options = settings.check({"training": content.get("training", {})})["training"]
    found = {}
    for name, given in content["models"].items():
        try:
            found[name] = _model(given, content["models"], options)
        except ValueError as error:
            raise ValueError(f"model {name}: {error}") from None
    wanted = content.get("cases", {})
    for domain, patients in wanted.items():
        if domain not in unseen.DOMAINS:
            raise ValueError(f"cases: '{domain}' is unknown; {nearest(domain, unseen.DOMAINS)}")
        if type(patients) is not int or patients < 1:
            raise ValueError(f"cases.{domain}: is {patients!r}; write how many patients")
    return {"training": options, "models": found, "cases": wanted}


def _model(given, models, options):
    if not isinstance(given, dict) or "title" not in given:
        raise ValueError("give it a title, and a network")
    for key in given:
        if key not in OF_MODEL:
            raise ValueError(f"'{key}' is unknown; {nearest(key, OF_MODEL)}")
    whole = given
    if "parts_of" in given:
        if "network" not in models.get(given["parts_of"], {}):
            raise ValueError(f"parts_of: no model '{given['parts_of']}' with a network")
        whole = {**models[given["parts_of"]], **given}
    if "network" not in whole:
        raise ValueError("give its network, or the model that its networks are parts of")
    network, _ = settings.arguments(settings.check({"network": whole["network"]}))
    rate = float(whole.get("rate", options["rate"]))
    networks = {"all": network}
    if "parts_of" in given:
        networks = {branch: baselines.single_task(branch, network) for branch in BRANCHES}
    parts = {part: {"network": network, "rate": rate} for part, network in networks.items()}
    return {"title": given["title"], "networks": parts}


def train(folder, out, plan, until=None):
    """Train all networks of a plan at once, from the checkpoint in `out` if there is one.

    Parameters
    ----------
    folder : path
        Anatomies, see `anatomies.write`.
    out : path
        Folder of checkpoint.pt, log.jsonl and the weights, MODEL-PART.safetensors.
    plan : dict
        Of `load`.
    until : float, optional
        Stop before this time (seconds since the epoch), at a checkpoint.

    Returns
    -------
    bool
        Whether all steps were done; only then are there weights.
    """
    config, out = plan["training"], Path(out)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    learners = {
        (model, part): training.Learner(row["network"], {**config, "rate": row["rate"]})
        for model, facts in plan["models"].items()
        for part, row in facts["networks"].items()
    }
    spent, told, first = dict.fromkeys(learners, 0.0), {key: [] for key in learners}, 0
    path, terms = out / "checkpoint.pt", json.dumps([config, plan["models"]], sort_keys=True)
    if path.exists():
        first = _resume(path, learners, spent, terms)
    seen, _ = training.split(folder, config)
    # Networks learn side by side, each on one core: two threads in one network gain less.
    pool = ThreadPoolExecutor(config["threads"], initializer=torch.set_num_threads, initargs=(1,))
    with pool, (out / "log.jsonl").open("a", encoding="utf-8") as file:
        for step, (name, batch) in training.stream(folder, seen, config, first):
            learn = functools.partial(_learn, step, name, batch)
            reading = [
                key
                for key, learner in learners.items()
                if set(PASSES[name]["branches"]) & set(learner.net.decoders)
            ]
            reading.sort(key=spent.get, reverse=True)  # the slow ones first, the others beside them
            results = pool.map(learn, [learners[key] for key in reading])
            for key, (parts, seconds) in zip(reading, results, strict=True):
                told[key].append((name, parts))
                spent[key] += seconds
            done = step + 1 == training.steps_of(config)
            late = until is not None and time.time() > until
            if (step + 1) % config["check_every"] == 0 or done or late:
                log.info("step %d of %d", step + 1, training.steps_of(config))
                for model, part in learners:
                    row = {"step": step + 1, "model": model, "part": part}
                    row["cpu_s"] = round(spent[model, part], 1)
                    row |= training.mean_of(told[model, part])
                    file.write(json.dumps(row) + "\n")
                    told[model, part] = []
                file.flush()
                nets = {_joined(*key): learner.state() for key, learner in learners.items()}
                state = {"terms": terms, "nets": nets}
                used = {_joined(*key): seconds for key, seconds in spent.items()}
                training.save_checkpoint(path, {**state, "step": step + 1, "spent": used})
            if late and not done:
                return False
    for (model, part), learner in learners.items():
        net = learner.average.eval().cpu()
        facts = {"steps": training.steps_of(config), "cpu_s": round(spent[model, part], 1)}
        facts["parameters"] = baselines.parameters(net)
        weights.save(_path(out, model, part), net, facts)
    return True


def _learn(step, name, batch, learner):
    """Let a network learn from a batch; return the parts of its loss, and the seconds it took."""
    begun = time.thread_time()
    return learner.step(step, name, batch), time.thread_time() - begun


def _joined(model, part):
    return f"{model}-{part}"


def _path(out, model, part):
    return Path(out) / f"{_joined(model, part)}.safetensors"


def _resume(path, learners, spent, terms):
    state = torch.load(path, weights_only=True)
    if state["terms"] != terms:
        raise ValueError(f"{path}: of other models or another training; delete it, or use its plan")
    for key, learner in learners.items():
        learner.load(state["nets"][_joined(*key)])
        spent[key] = state["spent"][_joined(*key)]
    log.info("goes on at step %d", state["step"])
    return state["step"]


def readers(out, plan, precision="float32"):
    """Return a reader for each model of a plan that `train` left in a folder, and its facts.

    Returns
    -------
    dict of inference.Reader
        By model; ``facts``: title, steps, parameters and cpu_s of its training, over all parts.
    """
    found = {}
    for model, facts in plan["models"].items():
        loaded = {part: weights.load(_path(out, model, part)) for part in facts["networks"]}
        nets = {part: net for part, (net, _, _) in loaded.items()}
        net = nets["all"] if "all" in nets else baselines.Together(nets).eval()
        reader = inference.Reader(net=net, precision=precision)
        told = [more for _, more, _ in loaded.values()]
        reader.facts = {
            "title": facts["title"],
            "steps": told[0]["steps"],
            "parameters": sum(more["parameters"] for more in told),
            "cpu_s": sum(more["cpu_s"] for more in told),
            "digest": "+".join(more["digest"] for more in told),
        }
        found[model] = reader
    return found


def measure(models, case):
    """Let all models read the scans of one unseen patient.

    Parameters
    ----------
    models : dict of inference.Reader
        By name.
    case : unseen.Case

    Returns
    -------
    DataFrame
        Rows of `evaluation.measure`, overlap and biomarkers only, with the model.
    """
    patient, parts = evaluation.Patient(case), []
    for model, reader in models.items():
        log.info("%s: %s", case.name, model)
        parts.append(evaluation.measure(reader, case, patient, thorough=False).assign(model=model))
    return pd.concat(parts, ignore_index=True)


def cases(plan):
    """Return the patients that a plan compares on, domain by domain."""
    return [case for domain, n in plan["cases"].items() for case in unseen.cases(domain, n)]
