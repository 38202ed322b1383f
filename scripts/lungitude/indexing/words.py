"""What the words of a series' description say: whole words only, in any capitals.

Descriptions can hold names, so no text of them leaves this module: what does are kinds of words.
"""

import re
import unicodedata

# Whole words, or several in a row. Short forms that mean something else as often are not here (RV
# is a volume and a ventricle, CE a country's mark): a trial declares those that its sites use.
WORDS = {
    "inspiration": (
        "insp inspi inspir inspiration inspiratory inspirium inspiratorisch inspirazione "
        "inspiracion inspiracao inspiratie tlc einatmung 吸气 吸気"
    ).split(),
    "expiration": (
        "exp expi expir expiration expiratory exspiration exspiratorisch exsp exspi expirium "
        "espirazione espiracion expiracao expiratie espiratoria ausatmung 呼气 呼気"
    ).split(),
    "gated": (
        "gated gating ecg ekg cardiac cardio heart herz coeur cuore corazon coronary coronaries "
        "koronar koro calcium cascore casc agatston cac cacs retrospective prospective diast "
        "diastole diastolic syst systole systolic"
    ).split(),
    "contrast": [
        *"contrast kontrast contraste contrasto c+ cta ctpa angio angiography enhanced".split(),
        *("mit km", "nach km", "iv contrast", "arterial phase", "portal venous"),
    ],
    "no_contrast": [
        *"noncontrast unenhanced nonenhanced native nativ plain c- ncct".split(),
        *("non contrast", "no contrast", "without contrast", "w o contrast", "wo contrast"),
        *("non enhanced", "not enhanced", "ohne km", "ohne kontrast", "sans contraste"),
        *("senza contrasto", "sin contraste", "contrast none", "sans injection"),
    ],
    "localiser": (
        "scout localizer localiser topogram toposcout surview scanogram scoutview loc topo"
    ).split(),
    "derived": [
        *"mpr mip minip minmip vrt ssd vr cor coronal koronar sag sagittal reformat".split(),
        *"reformatted recon3d curved cpr fused fusion subtraction vnc iodine iod kev".split(),
        *"mono monoenergetic".split(),
        *("average", "volume rendering", "virtual", "perfusion map", "z effective", "cad"),
    ],
    "prone": "prone bauchlage procubitus prono decubitus".split(),
    "chest": "chest thorax lung lungs thoracic lunge poumon polmone torax hrct pulmonary".split(),
    "elsewhere": (
        "abdomen abdominal pelvis pelvic head brain skull cranium neck cspine lspine spine sinus "
        "kopf schadel hals becken knee hip shoulder extremity leg legs liver kidney kidneys"
    ).split(),
}
WORDS["derived"].remove("koronar")  # the coronaries in German, and a plane
PHASES = ("inspiration", "expiration", "gated")
_NEGATIONS = {"no", "non", "not", "without", "ohne", "sans", "senza", "sin", "kein", "keine"}
_TOKEN = re.compile(r"(?<!\w)c[+-](?!\w)|[^\W\d_]+|\d+", re.I)
_JOINTS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")


def tokens(text):
    """Split a text into words without capitals and accents; "ThoraxInsp1" has three."""
    text = unicodedata.normalize("NFKD", _JOINTS.sub(" ", str(text)))
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    return _TOKEN.findall(text.casefold())


class Lexicon:
    """Words by what they stand for.

    Parameters
    ----------
    further : dict of str to list of str, optional
        Words beside those of `WORDS`, under the same names.
    """

    def __init__(self, further=None):
        self.phrases = {
            kind: [tuple(tokens(word)) for word in (*words, *(further or {}).get(kind, ()))]
            for kind, words in WORDS.items()
        }

    def kinds(self, text):
        """Return the kinds of words in a text; a phase that is negated counts as two phases."""
        found = tokens(text)
        kinds = {kind for kind in self.phrases if kind not in ("contrast", *PHASES)}
        kinds = {kind for kind in kinds if self._places(found, kind)}
        rest = list(found)
        for begin, end in self._places(found, "no_contrast"):
            rest[begin:end] = [""] * (end - begin)
        kinds |= {"contrast"} if self._places(rest, "contrast") else set()
        for kind in PHASES:
            for begin, _ in self._places(found, kind):
                kinds.add(kind)
                if begin and found[begin - 1] in _NEGATIONS:
                    kinds.add(f"no {kind}")
        return kinds

    def _places(self, found, kind):
        return [place for phrase in self.phrases[kind] for place in places(found, phrase)]


def places(found, phrase):
    """Return (begin, end) of each place where a phrase stands in a list of words.

    Scripts that part no words (Chinese, Japanese) are looked for within words.
    """
    if len(phrase) == 1 and not phrase[0].isascii():
        return [(k, k + 1) for k, word in enumerate(found) if phrase[0] in word]
    n = len(phrase)
    return [
        (k, k + n) for k in range(len(found) - n + 1) if n and tuple(found[k : k + n]) == phrase
    ]


def holds(text, phrases):
    """Whether one of several phrases stands in a text."""
    found = tokens(text)
    return any(places(found, tuple(tokens(phrase))) for phrase in phrases)


def phases(lexicon, description, protocol):
    """Return the phases that a series is said to be in: none, one, or a contradiction of two.

    The description is of the series; that of the protocol often names all phases of a session and
    counts where the description names none, or where it names another one.
    """
    own, shared = ({*_phases(lexicon.kinds(text))} for text in (description, protocol))
    if not own:
        return shared
    return own | shared if len(shared) == 1 else own


def _phases(kinds):
    for kind in PHASES:
        if kind in kinds:
            yield kind
        if f"no {kind}" in kinds:
            yield f"no {kind}"
