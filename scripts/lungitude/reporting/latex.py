"""The tables of a document as LaTeX: one file that compiles, of tables that can be taken out."""

import math
import re

from lungitude.job import whole
from lungitude.reporting import document as doc
from lungitude.reporting.table import NO_DATA

GREEK = {
    **dict(zip("\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8\u03b9\u03ba\u03bb\u03bc", (
        "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu".split()
    ), strict=True)),
    **dict(zip("\u03bd\u03be\u03c0\u03c1\u03c3\u03c4\u03c5\u03c6\u03c7\u03c8\u03c9", (
        "nu xi pi rho sigma tau upsilon varphi chi psi omega".split()
    ), strict=True)),
    **dict(zip("\u0393\u0394\u0398\u039b\u039e\u03a0\u03a3\u03a6\u03a8\u03a9", (
        "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega".split()
    ), strict=True)),
}  # fmt: skip
RAISED = dict(zip("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "0123456789",
                  strict=True))  # fmt: skip
LOWERED = {chr(0x2080 + digit): str(digit) for digit in range(10)}
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"$\sim$",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{letter: f"{{{letter}}}" for letter in "[*"},  # after the end of a row they are an option
    "\u2212": r"$-$",
    "\u2013": "--",
    "\u2014": "---",
    "\u00b1": r"$\pm$",
    "\u2265": r"$\geq$",
    "\u2264": r"$\leq$",
    "\u2248": r"$\approx$",
    "\u2260": r"$\neq$",
    "\u221e": r"$\infty$",
    "\u221a": r"$\surd$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\u00d7": r"$\times$",
    "\u00b7": r"$\cdot$",
    "\u00b5": r"\textmu{}",
    "\u00b0": r"\textdegree{}",
    "\u2019": "'",
    "\u2026": r"\ldots{}",
    "\u202f": r"\,",
    "\u2009": r"\thinspace{}",
    "\u00a0": "~",
    "\u207a": r"\textsuperscript{+}",
    "\u207b": r"\textsuperscript{$-$}",
    **{letter: rf"\textsuperscript{{{digit}}}" for letter, digit in RAISED.items()},
    **{letter: rf"\textsubscript{{{digit}}}" for letter, digit in LOWERED.items()},
    **{letter: rf"$\{name}$" for letter, name in GREEK.items()},
}
# Letters that pdfLaTeX prints from UTF-8 in the encodings T1 and TS1: Latin, and these.
LATIN = range(0xA1, 0x180)
NOT_LATIN = "\u00b8\u0126\u0127\u0138\u013f\u0140\u0149\u0166\u0167\u017f"
PRINTED = (
    "\u0218\u0219\u021a\u021b\u1e9e\u2018\u201a\u201c\u201d\u201e\u2020\u2021\u2022\u2030\u2039"
    "\u203a\u20ac\u2122\u2190\u2191\u2192\u2193"
)
HEAD = r"""% Tables of {title}, {stratum}. Each longtable can be copied into a manuscript
% that loads array, booktabs, caption, longtable, pdflscape and textcomp. Compile it with pdflatex,
% three times: longtable finds its widths so.
\documentclass[10pt,a4paper]{{article}}
\usepackage[utf8]{{inputenc}}
\usepackage[T1]{{fontenc}}
\IfFileExists{{lmodern.sty}}{{\usepackage{{lmodern}}}}{{}} % letters as outlines, not as dots
\usepackage{{array,booktabs,longtable,pdflscape,textcomp}}
\usepackage[margin=18mm]{{geometry}}
\usepackage[labelformat=empty,singlelinecheck=off,justification=raggedright]{{caption}}
\setlength{{\tabcolsep}}{{3pt}}
\pagestyle{{plain}}
{letters}\begin{{document}}
\section*{{{title}}}
{lines}
"""


def write(document, path):
    """Write all tables of a document.

    Parameters
    ----------
    document : document.Document
    path : path
    """
    lines = [document.stratum, *document.lines]
    given = {
        "title": escape(document.title),
        "stratum": escape(document.stratum),
        "lines": "\\\\\n".join(escape(line) for line in lines),
    }
    pieces = [fragment(made) for made in document.tables]
    letters = unknown("\n".join([*given.values(), *pieces]))
    pieces = [HEAD.format(**given, letters=letters), *pieces, "\\end{document}\n"]
    with whole(path) as part:
        part.write_text("\n".join(pieces), encoding="utf-8")


def escape(text):
    """Escape a text for LaTeX; a letter that it has no name for stays as it is (UTF-8)."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def unknown(text):
    """Tell pdfLaTeX to print the number of each letter that it has no sign for, as [U+4E2D].

    Without that it would stop at the letter; none is dropped.
    """
    found = sorted(
        letter
        for letter in set(text)
        if not letter.isascii()
        and letter not in PRINTED
        and (ord(letter) not in LATIN or letter in NOT_LATIN)
    )
    return "".join(
        rf"\DeclareUnicodeCharacter{{{ord(letter):04X}}}{{[U+{ord(letter):04X}]}}" + "\n"
        for letter in found
    )


def fragment(made):
    """Return one table as a longtable, on its side where it is wide."""
    wide = doc.wide(made)
    shares = doc.shares(made)
    # The empty space lets the first word of a cell be divided, too, if it is too long.
    ragged = [rf">{{\{how}\arraybackslash\hspace{{0pt}}}}" for how in ("raggedright", "centering")]
    # Rounded down: the columns together are not wider than the page.
    columns = "".join(
        f"{ragged[index > 0]}p{{{_inner(math.floor(1e4 * share) / 1e4)}}}"
        for index, share in enumerate(shares)
    )
    title = [made.number, f"{made.title}.", f"{made.population}." if made.population else ""]
    caption = " ".join(escape(line) for line in title if line)
    head = " & ".join(
        rf"\textbf{{{escape(column.label)}}}{_mark(column.mark)}"
        + (rf"\linebreak {escape(column.sub.text)}" if column.sub.text else "")
        for column in made.columns
    )
    rule = "\\midrule\n"
    lines = [
        f"% {made.id}",
        "\\begin{landscape}" if wide else "",
        "{\\footnotesize",
        f"\\begin{{longtable}}{{{columns}}}",
        f"\\caption{{{caption}}}\\\\",
        f"\\toprule\n{head} \\\\\n{rule}\\endfirsthead",
        f"\\caption*{{{caption} (continued)}}\\\\",
        f"\\toprule\n{head} \\\\\n{rule}\\endhead",
        "\\bottomrule\n\\endfoot",
        *(_row(row, len(shares)) for row in made.rows),
        "" if made.rows else rf"{_across(len(shares), NO_DATA)} \\",
        "\\end{longtable}",
        *(rf"\noindent {_mark(mark)}{escape(note)}\par" for mark, note in made.footnotes),
        rf"\noindent\textit{{{escape(made.source)}}}\par" if made.source else "",
        "}",
        "\\end{landscape}" if wide else "\\clearpage",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _inner(share):
    """Width of what stands in columns that take a share of the width, without their margins."""
    return rf"\dimexpr {share:.4f}\linewidth-2\tabcolsep\relax"


def _across(columns, text):
    """Return a text that goes over all columns and is broken where it is longer."""
    return (
        rf"\multicolumn{{{columns}}}{{>{{\raggedright\hspace{{0pt}}}}p{{{_inner(1)}}}}}{{{text}}}"
    )


def _row(row, columns):
    label = escape(row.label.text) + _mark(row.label.mark)
    if row.kind != "data":
        label = rf"\textbf{{{label}}}"
    if row.indent:  # of all lines of a label, not of the first one alone
        label = rf"\setlength{{\leftskip}}{{{row.indent * 0.8:.1f}em}}{label}"
    if not row.cells:
        return rf"{_across(columns, label)} \\*"
    cells = [escape(given.text) + _mark(given.mark) for given in row.cells]
    return " & ".join([label, *cells]) + r" \\"


def _mark(letter):
    return rf"\textsuperscript{{{letter}}}" if letter else ""


def plain(text):
    """Return the text of a LaTeX cell as it prints; the inverse of `escape` for what we write."""
    text = re.sub(r"\\setlength\{\\leftskip\}\{[^}]*\}", "", text)
    for letter, code in sorted(SPECIAL.items(), key=lambda item: -len(item[1])):
        text = text.replace(code, letter)
    return re.sub(r"\\\w+\*?(\{[^}]*\})?|[{}]", "", text)
