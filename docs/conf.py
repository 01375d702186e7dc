"""Sphinx configuration, used by `make docs`. The site loads nothing from a network."""

import importlib.util
import os
import sys
from pathlib import Path

import isthmus

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
# One file of MathJax that needs no fonts; the MathJax extension would copy all of its files.
MATHJAX = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
MATHJAX /= "static/mathjax/tex-svg.js"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # reproducible sums, also in the notebooks

project = "isthmus"
author = "The isthmus developers"
copyright = "The isthmus developers, MIT licence"
version = release = isthmus.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "command_pages",
    "site_pages",
]
highlight_language = "none"  # blocks without a language show commands and their output
templates_path = ["_templates"]
exclude_patterns = [
    "_*",
    "gallery",  # scripts; sphinx-gallery writes their pages into generated/gallery
    "gallery.md",  # the same gallery for readers of the repository
    "generated/gallery/*.ipynb",
    "generated/gallery/*.md5",
]
default_role = "py:obj"  # `name` in docstrings becomes a link if the object has a page

# -- pages and notebooks
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# -- the API
autosummary_ignore_module_all = False
autosummary_imported_members = True
autosummary_context = {"first_home": set(isthmus.__all__)}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings state shapes and units, which types cannot
numpydoc_show_class_members = False  # the page of a class documents each method
toc_object_entries_show_parents = "hide"

# -- the gallery: runs scripts with bundled data; others show their saved picture
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "generated/gallery",
    "filename_pattern": r"/(explanation|posteriors|synthetic_table|vae_terms)\.py$",
    "image_scrapers": ("scenes.scrape",),
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "download_all_examples": False,
    "within_subsection_order": "FileNameSortKey",
}

# -- appearance
html_theme = "pydata_sphinx_theme"
html_title = "isthmus"
html_static_path = ["_static", str(MATHJAX)]
mathjax_path = MATHJAX.name
html_css_files = ["site.css"]
html_logo = html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "isthmus", "alt_text": "isthmus, home"},
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
WITHOUT_SIDEBAR = ("index", "install", "quickstart", "cookbook", "generated/commands")
html_sidebars = {page: [] for page in WITHOUT_SIDEBAR}
html_context = {"default_mode": "auto"}
