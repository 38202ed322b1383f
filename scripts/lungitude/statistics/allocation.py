"""Lists of treatment allocation in permuted blocks, for planning."""

import hashlib
import itertools
import json

import numpy as np
import pandas as pd

WORD = 2**64


def allocate(strata, arms, ratio=None, block_sizes=(4, 6), *, n_per_stratum, seed):
    """List of stratified allocation in randomly permuted blocks of varying size.

    Parameters
    ----------
    strata : mapping of factor to levels, or sequence of names
        All combinations of the levels are strata; names alone are the levels of STRATUM.
    arms : sequence of str
    ratio : sequence of int, optional
        Patients of each arm, in the order of `arms`; default one each.
    block_sizes : int or sequence of int
        Drawn with equal chance for each block; multiples of the sum of `ratio`.
    n_per_stratum : int, or mapping of stratum to int
        Fewest places on the list of a stratum; the last block is complete. The key of a
        stratum is its name, or the tuple of its levels in the order of the factors.
    seed : int

    Returns
    -------
    DataFrame
        In the order of the strata: a column for each factor (or STRATUM), ``BLOCK`` and
        ``BLOCKSIZE`` (count and size within the stratum), ``SEQUENCE`` (place in the stratum,
        from 1) and ``TRT01P``.

    Raises
    ------
    ValueError
        When a block cannot hold the ratio, or a stratum has no number.

    Notes
    -----
    Permuted blocks of varying size (Matts & Lachin, Control Clin Trials 1988; 9: 327), as R
    ``blockrand::blockrand`` and SAS PROC PLAN do. The list depends on nothing but the arguments:
    numpy keeps the bits of PCG64 and SeedSequence the same in all versions but not the draws of
    Generator, so that blocks are shuffled here (Fisher & Yates, with rejection) from the bits.
    The stream of a stratum is keyed by its levels: another stratum, or another order of
    them, changes nothing, and a longer list begins with the shorter one.

    Who knows the seed knows the list. For a trial, the list is made and kept by somebody who
    neither enrols nor assesses patients.
    """
    who = "allocate"
    factors = dict(strata) if hasattr(strata, "items") else {"STRATUM": strata}
    factors = {name: _names(values, f"levels of {name!r}", who) for name, values in factors.items()}
    if not factors:
        raise ValueError(f"{who}: there is no stratum; one stratum for all is ['all']")
    arms = _names(arms, "arms", who)
    if len(arms) < 2:
        raise ValueError(f"{who}: two arms or more are needed, not {', '.join(map(str, arms))}")
    ratio = [1] * len(arms) if ratio is None else list(ratio)
    if len(ratio) != len(arms) or not all(_is_count(part) for part in ratio):
        raise ValueError(f"{who}: ratio {ratio} is not a whole number for each of {len(arms)} arms")
    block_sizes = [block_sizes] if np.ndim(block_sizes) == 0 else list(block_sizes)
    sizes = sorted({*block_sizes}) if all(map(_is_count, block_sizes)) else []
    if not sizes or any(size % sum(ratio) for size in sizes):
        raise ValueError(
            f"{who}: block sizes {block_sizes} are not multiples of {sum(ratio)}, "
            f"the sum of the ratio {':'.join(map(str, ratio))}"
        )
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise ValueError(f"{who}: seed {seed!r} is not a whole number of 0 or more")
    cells = list(itertools.product(*factors.values()))
    places = _places(n_per_stratum, cells, who)
    rows = []
    for cell, count in zip(cells, places, strict=True):
        draw = _stream(seed, dict(zip(factors, cell, strict=True)))
        sequence, block = 0, 0
        while sequence < count:
            size, block = sizes[_below(draw, len(sizes))], block + 1
            treatments = [
                arm
                for arm, part in zip(arms, ratio, strict=True)
                for _ in range(part * size // sum(ratio))
            ]
            for last in range(size - 1, 0, -1):
                other = _below(draw, last + 1)
                treatments[last], treatments[other] = treatments[other], treatments[last]
            rows += [
                (*cell, block, size, sequence + place, treatment)
                for place, treatment in enumerate(treatments, 1)
            ]
            sequence += size
    return pd.DataFrame(rows, columns=[*factors, "BLOCK", "BLOCKSIZE", "SEQUENCE", "TRT01P"])


def _stream(seed, cell):
    """Random 64-bit words of one stratum."""
    name = json.dumps(sorted((str(factor), str(level)) for factor, level in cell.items()))
    key = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")
    bits = np.random.PCG64(np.random.SeedSequence(int(seed), spawn_key=tuple(map(int, key))))
    return lambda: int(bits.random_raw())


def _below(draw, limit):
    """Whole number below `limit`, each with the same chance."""
    while True:
        word = draw()
        if word < WORD - WORD % limit:
            return word % limit


def _names(values, what, who):
    names = [values] if isinstance(values, str) else list(values)
    if not names or len({str(name) for name in names}) < len(names):
        raise ValueError(f"{who}: {what} are missing or the same twice: {names}")
    return names


def _is_count(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1


def _places(wanted, cells, who):
    if not hasattr(wanted, "items"):
        wanted = dict.fromkeys(cells, wanted)
    wanted = {key if isinstance(key, tuple) else (key,): count for key, count in wanted.items()}
    if set(wanted) != set(cells):
        raise ValueError(
            f"{who}: n_per_stratum names {', '.join(_shown(key) for key in wanted)}; "
            f"the strata are {', '.join(_shown(cell) for cell in cells)}"
        )
    for cell, count in wanted.items():
        if not _is_count(count):
            raise ValueError(f"{who}: n_per_stratum of {_shown(cell)} is {count!r}, not a count")
    return [wanted[cell] for cell in cells]


def _shown(cell):
    return "/".join(map(str, cell))
