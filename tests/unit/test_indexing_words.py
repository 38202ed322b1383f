"""Words of descriptions are found whole, and contradictions are told from silence."""

import pytest

from lungitude import protocol
from lungitude.indexing import patterns
from lungitude.indexing.rules import sharpness
from lungitude.indexing.words import WORDS, Lexicon, holds, phases, tokens

LEXICON = Lexicon({"inspiration": ["tief ein"]})


@pytest.mark.parametrize(
    ("description", "protocol", "expected"),
    [
        ("THORAX INSP 1.0", "", {"inspiration"}),
        ("ThoraxInsp", "", {"inspiration"}),
        ("Thx_exp_B70f", "", {"expiration"}),
        ("INSPECT INSPIRE EXPERT EXPORT", "", set()),
        ("Inspiration Expiration", "", {"inspiration", "expiration"}),
        ("INSP/EXP", "", {"inspiration", "expiration"}),
        ("not inspiration", "", {"inspiration", "no inspiration"}),
        ("tief ein 1.0", "", {"inspiration"}),
        ("tief 1.0 ein", "", set()),
        ("INSP", "CHEST INSP EXP", {"inspiration"}),
        ("INSP", "EXP", {"inspiration", "expiration"}),
        ("1.0 B31f", "CHEST EXP", {"expiration"}),
        ("1.0 B31f", "CHEST INSP EXP", {"inspiration", "expiration"}),
        ("肺吸气末", "", {"inspiration"}),
        ("Inspiração", "", {"inspiration"}),
        ("", "", set()),
    ],
)
def test_phases(description, protocol, expected):
    assert phases(LEXICON, description, protocol) == expected


@pytest.mark.parametrize(
    ("text", "contrast", "without"),
    [
        ("CHEST C+", True, False),
        ("CHEST C-", False, True),
        ("C-SPINE", False, False),
        ("W/O CONTRAST", False, True),
        ("non-contrast chest", False, True),
        ("without contrast, then with contrast", True, True),
        ("CTA THORAX", True, False),
        ("THORAX NATIV", False, True),
        ("THORAX", False, False),
    ],
)
def test_contrast(text, contrast, without):
    kinds = LEXICON.kinds(text)
    assert ("contrast" in kinds, "no_contrast" in kinds) == (contrast, without)


def test_words_are_parted_where_people_part_them():
    assert tokens("1.1 CHEST_INSP-B31f") == ["1", "1", "chest", "insp", "b", "31", "f"]
    assert holds("Full Breath hold", ["full breath"])
    assert not holds("Full of Breath", ["full breath"])


def test_no_word_stands_for_two_phases():
    for first in ("inspiration", "expiration", "gated"):
        for second in {"inspiration", "expiration", "gated"} - {first}:
            assert not set(WORDS[first]) & set(WORDS[second])


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [("B31f", ("B", 31)), ("Br59", ("BR", 59)), ("I31f/3", ("I", 31)), ("LUNG", ("GE", 3)),
     ("FC51", None), ("YA", None), ("", None), (None, None), ("B3-odd", None)],
)  # fmt: skip
def test_kernels_whose_names_have_an_order(kernel, expected):
    assert sharpness(kernel) == expected


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{patient}_insp.nii.gz", "P1_insp.nii.gz", {"{patient}": "P1"}),
        ("{patient}_insp.nii.gz", "a/P1_insp.nii.gz", None),
        ("**/{patient}/{visit}.mha", "a/b/P1/v1.mha", {"{patient}": "P1", "{visit}": "v1"}),
        ("**/{patient}/{visit}.mha", "P1/v1.mha", {"{patient}": "P1", "{visit}": "v1"}),
        ("*.nii", "a.nii.gz", None),
        ("a?.nii", "ab.nii", {}),
        ("a+(b).nii", "a+(b).nii", {}),
    ],
)
def test_patterns_of_paths(pattern, path, expected):
    said = patterns.told(path, [{"path": pattern}])
    assert said == ([] if expected is None else [expected])


@pytest.mark.parametrize(("kernel", "fits"), [("b35F", True), ("B30s", True), ("B70f", False)])
def test_a_declared_kernel_may_be_a_pattern(kernel, fits):
    nothing = float("nan")
    row = {"kv": nothing, "slice_mm": nothing, "kernel": kernel, "voxel_mm": nothing}
    found = protocol.declared_flags(row, {"kernel": ["B3*", "STANDARD"]})
    assert [name for name, _ in found] == ([] if fits else ["kernel"])
