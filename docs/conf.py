"""How Sphinx builds these pages: Markdown with mathematics, and the reference read from the
docstrings.
"""

import re
import subprocess
import sys
from pathlib import Path

from sphinx.errors import ExtensionError

import nelbo

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from hatch_build import from_npm  # noqa: E402

project = "nelbo"
author = "The nelbo authors"
copyright = author
version = release = nelbo.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "jupyter_execute"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests/test_docs.py runs every block of Python

default_role = "code"
suppress_warnings = ["ref.python"]  # types are prose, whose words are names of several attributes
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Arguments", "params_style")]

html_theme = "pydata_sphinx_theme"
templates_path = ["templates"]
html_static_path = ["static", "_build/mathjax"]
html_css_files = ["pages.css"]
html_sidebars = {"**": ["sidebar-nav-bs"]}
html_title = "nelbo"
html_show_sourcelink = False
html_show_search_summary = False  # would fetch pages, which a browser forbids from disk
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_center": [],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "article_header_start": [],  # breadcrumbs would say "Home" and the title: there are no chapters
}

MATHJAX = HERE / "_build" / "mathjax" / "tex-svg.js"
"""MathJax with its fonts, in one file: formulas are shown from disk, without a network."""
mathjax_path = MATHJAX.name
mathjax3_config = {"options": {"enableMenu": False}}  # its items would load more files

NOT_REST = re.compile(r"`+[^`]*`+|(\([^()`]*\*\w[^()`]*\)|\b[A-Za-z]\w*_\b|\|\w*\|)")
"""Shapes such as (*batch, *shape), names such as n_iter_ and sizes such as |y|, which
reStructuredText takes for emphasis, links and substitutions.
"""


def get_mathjax(app, config):
    """Take MathJax from its npm package, once.

    Raises:
        ExtensionError: npm is missing, could not get it, or brought another file.
    """
    if MATHJAX.exists():
        return
    digest = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"
    try:
        found = from_npm("mathjax@3.2.2", {"es5/tex-svg.js": digest})
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ExtensionError(f"Formulas need MathJax, which comes from npm: {error}") from error
    MATHJAX.parent.mkdir(parents=True, exist_ok=True)
    MATHJAX.write_bytes(found["es5/tex-svg.js"])


def whole(app, what, name, obj, options, lines):
    """Keep napoleon from reading "A flag: what it means" of an attribute as its type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment is the first line instead


def quote(app, what, name, obj, options, lines):
    """Put what is not meant as reStructuredText into code quotes."""
    lines[:] = [
        NOT_REST.sub(lambda found: f"``{found[1]}``" if found[1] else found[0], line)
        for line in lines
    ]


def skip(app, what, name, obj, skip, options):
    """Leave out the methods that scikit-learn makes for metadata routing."""
    return True if re.fullmatch(r"[gs]et_\w+_(request|routing)", name) else None


def setup(app):
    app.connect("config-inited", get_mathjax, priority=1)
    app.connect("autodoc-process-docstring", whole, priority=1)  # before napoleon
    app.connect("autodoc-process-docstring", quote)
    app.connect("autodoc-skip-member", skip)
