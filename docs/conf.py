"""How Sphinx builds these pages: Markdown with mathematics, and the reference read from the
docstrings.
"""

import re

import nelbo

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
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_custom_sections = [("Arguments", "params_style")]

html_theme = "pydata_sphinx_theme"
# no page has sections of its own; wide tables need the room
html_sidebars: dict[str, list[str]] = {"**": []}
html_title = "nelbo"
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}

NOT_REST = re.compile(r"`[^`]*`+|(\([^()`]*\*\w[^()`]*\)|\b[A-Za-z]\w*_\b)")
"""Shapes such as (*batch, *shape) and names such as n_iter_, which reStructuredText takes for
emphasis and links.
"""


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
    app.connect("autodoc-process-docstring", quote)
    app.connect("autodoc-skip-member", skip)
