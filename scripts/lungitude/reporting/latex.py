"""The tables of a document as LaTeX: one file that compiles, of tables that can be taken out."""

import re

from lungitude.job import whole
from lungitude.reporting import document as doc
from lungitude.reporting.table import NO_DATA

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\u2212": r"$-$",
    "\u2013": "--",
    "\u2014": "---",
    "\u00b1": r"$\pm$",
    "\u2265": r"$\geq$",
    "\u2264": r"$\leq$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\u00d7": r"$\times$",
    "\u00b7": r"$\cdot$",
    "\u00b2": r"\textsuperscript{2}",
    "\u00b3": r"\textsuperscript{3}",
    "\u00b5": r"\textmu{}",
    "\u0394": r"$\Delta$",
    "\u00b0": r"\textdegree{}",
    "\u2019": "'",
    "\u202f": r"\,",
    "\u00a0": "~",
}
HEAD = r"""% Tables of {title}, {stratum}. Each longtable can be copied into a manuscript
% that loads booktabs, longtable, pdflscape and textcomp.
\documentclass[10pt,a4paper]{{article}}
\usepackage[utf8]{{inputenc}}
\usepackage[T1]{{fontenc}}
\usepackage{{array,booktabs,longtable,pdflscape,textcomp}}
\usepackage[margin=18mm]{{geometry}}
\usepackage[labelformat=empty,singlelinecheck=off,justification=raggedright]{{caption}}
\setlength{{\tabcolsep}}{{3pt}}
\pagestyle{{plain}}
\begin{{document}}
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
    pieces = [
        HEAD.format(
            title=escape(document.title),
            stratum=escape(document.stratum),
            lines="\\\\\n".join(escape(line) for line in lines),
        )
    ]
    pieces += [fragment(made) for made in document.tables]
    pieces.append("\\end{document}\n")
    with whole(path) as part:
        part.write_text("\n".join(pieces), encoding="utf-8")


def escape(text):
    """Escape a text for LaTeX; a letter that it has no name for stays as it is (UTF-8)."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def fragment(made):
    """Return one table as a longtable, on its side where it is wide."""
    wide = doc.wide(made)
    shares = doc.shares(made)
    room = 1 - 0.012 * len(shares)
    ragged = r">{\raggedright\arraybackslash}", r">{\centering\arraybackslash}"
    columns = "".join(
        f"{ragged[index > 0]}p{{{share * room:.4f}\\linewidth}}"
        for index, share in enumerate(shares)
    )
    title = [made.number, f"{made.title}.", f"{made.population}." if made.population else ""]
    caption = " ".join(escape(line) for line in title if line)
    head = " & ".join(
        rf"\textbf{{{escape(column.label)}}}{_mark(column.mark)}"
        + (rf"\newline {escape(column.sub.text)}" if column.sub.text else "")
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
        f"\\toprule\n{head} \\\\\n{rule}\\endhead",
        "\\bottomrule\n\\endfoot",
        *(_row(row, len(shares)) for row in made.rows),
        "" if made.rows else rf"\multicolumn{{{len(shares)}}}{{l}}{{{NO_DATA}}} \\",
        "\\end{longtable}",
        *(rf"\noindent {_mark(mark)}{escape(note)}\par" for mark, note in made.footnotes),
        rf"\noindent\textit{{{escape(made.source)}}}\par" if made.source else "",
        "}",
        "\\end{landscape}" if wide else "\\clearpage",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _row(row, columns):
    label = escape(row.label.text) + _mark(row.label.mark)
    if row.kind != "data":
        label = rf"\textbf{{{label}}}"
    label = rf"\hspace*{{{row.indent * 0.8:.1f}em}}{label}" if row.indent else label
    if not row.cells:
        return rf"\multicolumn{{{columns}}}{{l}}{{{label}}} \\*"
    cells = [escape(given.text) + _mark(given.mark) for given in row.cells]
    return " & ".join([label, *cells]) + r" \\"


def _mark(letter):
    return rf"\textsuperscript{{{letter}}}" if letter else ""


def plain(text):
    """Return the text of a LaTeX cell as it prints; the inverse of `escape` for what we write."""
    for letter, code in sorted(SPECIAL.items(), key=lambda item: -len(item[1])):
        text = text.replace(code, letter)
    return re.sub(r"\\\w+\*?(\{[^}]*\})?|[{}]", "", text)
