"""How the site is built: `make docs`, where every warning is an error."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "langchain_logprobs"
author = "the langchain_logprobs authors"
copyright = author  # noqa: A001 - the name Sphinx wants
version = release = version_of("langchain-logprobs")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "images"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "langchain_logprobs"
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["static"]
html_css_files = ["site.css"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # The fields of a value are listed once, where its docstring tells them.
python_use_unqualified_type_names = True
default_role = "code"  # What stands between single backticks in a docstring.

nitpicky = True
nitpick_ignore = [
    ("py:class", "langchain_logprobs.providers._Model"),  # A type variable.
    ("py:class", "langchain_logprobs.patches.Edit"),  # For who writes a patch.
    ("py:class", "langchain_logprobs.core.measures.Measured"),  # A report's memory of its measures.
]
nitpick_ignore_regex = [
    # Other projects' names: to link them, their inventories would be fetched at every build.
    (r"py:.*", r"(?!langchain_logprobs).*"),
]
