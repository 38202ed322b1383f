"""Render the package's templates; everything that comes from data is escaped."""

import hashlib
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent / "templates"
BEGIN, END = "<!--display-->", "<!--/display-->"
_MINUS = re.compile(r"(?<![\w.\u2013-])-(?=\d)")


@cache
def _environment():
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["parts"] = parts_html
    environment.filters["minus"] = minus
    return environment


def render(template, **values):
    """Render a template of the package to text."""
    return _environment().get_template(template).render(**values)


def safe(markup):
    """Declare a text that this package rendered to be markup."""
    return Markup(markup)  # noqa: S704  (only for what the templates above made)


def anchor(*names):
    """Return an identifier of a page for names that may hold any letter."""
    return "at-" + hashlib.sha256("\x1f".join(names).encode()).hexdigest()[:12]


def minus(text):
    """Replace the hyphen in front of a number by a true minus sign."""
    return _MINUS.sub("\u2212", text)


def parts_html(parts):
    """Render `Part` objects: a number becomes a span that carries its address."""
    pieces = []
    for part in parts:
        shown = escape(minus(part.text))
        if part.address:
            pieces.append(Markup('<span data-address="{}">{}</span>').format(part.address, shown))
        else:
            pieces.append(shown)
    return Markup("").join(pieces)


def display_of(page):
    """Cut the display out of a page written by `table.to_page`.

    Raises
    ------
    ValueError
        If the page has no display.
    """
    _, found, rest = page.partition(BEGIN)
    if not found or END not in rest:
        raise ValueError(
            "a rendered table has no display in it: it was not made by this version "
            "of the reporting package; delete it and run again"
        )
    return safe(rest.partition(END)[0].strip())


def inline_svg(svg, prefix, label):
    """Prepare an SVG file for being part of a page.

    Identifiers get a prefix, so that two figures of one page can't share them; the style sheet of
    the figure, which would reach the whole page, moves to the root element.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.S)
    body = re.sub(r"<defs>\s*</defs>\s*", "", body)
    body = re.sub(r'(?<![-\w])id="([^"]*)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", body)
    body = re.sub(r'href="#([^"]*)"', rf'href="#{prefix}-\1"', body)
    title = escape(label)
    return safe(
        body.replace(
            "<svg",
            f'<svg role="img" aria-label="{title}" '
            'style="stroke-linejoin:round;stroke-linecap:butt"',
            1,
        )
    )
