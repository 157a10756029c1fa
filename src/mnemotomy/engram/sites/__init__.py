"""The editable affine maps of a model, one small file per kind of layer."""

from mnemotomy.engram.sites.base import Reading, Site
from mnemotomy.engram.sites.layout import Layout, OneHot
from mnemotomy.engram.sites.select import (
    Selector,
    all_sites,
    module_names,
    parameter_names,
    select_sites,
    sites_by_name,
)

__all__ = [
    "Layout",
    "OneHot",
    "Reading",
    "Selector",
    "Site",
    "all_sites",
    "module_names",
    "parameter_names",
    "select_sites",
    "sites_by_name",
]
