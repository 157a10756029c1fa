"""The sites of a model, and their selection by the PEFT convention."""

from __future__ import annotations

import contextlib
import inspect
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from torch import nn

from mnemotomy.core.bounded import full_matches
from mnemotomy.core.errors import SelectionError
from mnemotomy.core.models import DTYPES
from mnemotomy.engram.sites.attention import PROJECTIONS, AttentionInputSite, AttentionOutputSite
from mnemotomy.engram.sites.base import Site
from mnemotomy.engram.sites.batch_norm import batch_norms
from mnemotomy.engram.sites.convolution import ConvolutionSite, TransposedConvolutionSite
from mnemotomy.engram.sites.experts import ExpertSite, expert_sites, is_fused_experts
from mnemotomy.engram.sites.linear import EmbeddingSite, LinearSite, PackedLinearSite, TransposedLinearSite

Selector = str | Sequence[str]

WORDS = ("all-linear", "all", "output-head", "input-embedding")
"""Selectors that are not names: all linear maps but the head, all sites, both ends of a language model."""

_LISTED = 12  # names shown in an error


def all_sites(model: nn.Module) -> dict[str, Site]:
    """Every site of the model that can be edited, by name, in the order of its modules.

    Raises:
        SelectionError: the model has a peft adapter, whose factors are not weights of the model.
    """
    return {name: site for name, site in _found(model).items() if _is_plain(site)}


def _found(model: nn.Module) -> dict[str, Site]:
    """Every affine map by name, even if it cannot be edited."""
    found: dict[str, Site] = {}
    inside_attention: set[int] = set()
    for name, module in model.named_modules():
        if type(module).__module__.startswith("peft.tuners.") and hasattr(module, "base_layer"):
            raise SelectionError(
                f"{name} has a peft adapter, and an edit of its factors is not one of the merged weights; merge it "
                "first: model = model.merge_and_unload()"
            )
        if id(module) in inside_attention:
            continue
        if isinstance(module, nn.MultiheadAttention):
            inside_attention.add(id(module.out_proj))
        for site in _sites_of(name, module):
            found[site.name] = site
    return found


def select_sites(
    model: nn.Module, selector: Selector = "all-linear", layers: int | Iterable[int] | None = None
) -> dict[str, Site]:
    """The sites that ``selector`` names, in the order of the model.

    Args:
        selector: ``"all-linear"`` (as in PEFT, every linear map but the output head; attention and expert projections
            included), ``"output-head"``, ``"input-embedding"``, ``"all"`` (every site, convolutions and other
            embeddings too), a regular expression that must match the full name, or a list of name suffixes and these
            words: ``["all-linear", "output-head"]`` is what the paper edits in language models.

    Raises:
        SelectionError: a name matches nothing or is not a site (the message lists the sites), or a selected map cannot
            be edited: a selection is never narrowed silently.
    """
    sites = _found(model)
    if not any(_is_plain(site) for site in sites.values()):
        raise SelectionError(f"{type(model).__name__} has no layer that can be edited")
    if isinstance(selector, str) and selector not in WORDS:
        chosen = _by_pattern(selector, sites, model)
    else:
        parts = [selector] if isinstance(selector, str) else list(selector)
        chosen = _by_suffix([part for part in parts if part not in WORDS], sites, model)
        for word in parts:
            chosen += _by_word(word, sites, model) if word in WORDS else []
    if layers is not None:
        chosen = _in_layers(chosen, sites, {layers} if isinstance(layers, int) else set(layers))
    if not chosen:
        raise SelectionError(f"the selector {selector!r} matches no site. {_listing(sites)}")
    fixed = [name for name in chosen if not _is_plain(sites[name])]
    if fixed:
        raise SelectionError(
            f"{len(fixed)} of the {len(chosen)} selected sites cannot be edited, {fixed[0]!r} first: their weights are "
            "quantised, or computed from others (weight norm, pruning). Load the model unquantised, make the weights "
            "permanent (parametrize.remove_parametrizations, prune.remove), or name the other sites"
        )
    return {name: sites[name] for name in sites if name in set(chosen)}


def _sites_of(name: str, module: nn.Module) -> list[Site]:
    if isinstance(module, nn.MultiheadAttention):
        return [*(AttentionInputSite(name, module, p) for p in PROJECTIONS), AttentionOutputSite(name, module)]
    if is_fused_experts(module):
        return expert_sites(name, module)
    if isinstance(module, nn.Linear):
        return [LinearSite(name, module)]
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return [ConvolutionSite(name, module)]
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return [TransposedConvolutionSite(name, module)]
    if isinstance(module, nn.Embedding) and _takes_indices(module):
        return [EmbeddingSite(name, module)]
    if _is_transformers_conv1d(module):
        return [TransposedLinearSite(name, module)]
    if _maps_features(module) and not any(_sites_of(name, inner) for inner in module.children()):
        return [PackedLinearSite(name, module)]
    if type(module).__name__.endswith("Experts") and any(p.dim() == 3 for p in module.parameters(recurse=False)):
        warnings.warn(
            f"{name} is left out: the expert tensors of {type(module).__name__} have an unknown layout", stacklevel=4
        )
    return []


def _is_plain(site: Site) -> bool:
    """Whether it is neither quantised nor reparametrised: writing to the parameters changes the layer's output."""
    found = [owner._parameters.get(leaf) for owner, leaf in site.parameters]
    return bool(found) and all(
        type(parameter) is nn.Parameter and parameter.dtype in DTYPES.values() for parameter in found
    )


def _maps_features(module: nn.Module) -> bool:
    """Whether it says that it is a linear map, as quantised layers that are not ``nn.Linear`` do (AWQ, GPTQ, HQQ)."""
    names = (("in_features", "out_features"), ("infeatures", "outfeatures"))
    return any(all(isinstance(getattr(module, one, None), int) for one in pair) for pair in names)


def _takes_indices(module: nn.Embedding) -> bool:
    """Whether it is called with indices; subclasses for positions (BART, OPT) take other arguments."""
    names = list(inspect.signature(type(module).forward).parameters)
    return names[1:] in (["input"], ["input_ids"])


def _is_transformers_conv1d(module: nn.Module) -> bool:
    kind = type(module)  # by name, so that plain torch models do not import transformers
    return any(base.__name__ == "Conv1D" and base.__module__ == "transformers.pytorch_utils" for base in kind.__mro__)


def _is_linear(site: Site) -> bool:
    return not isinstance(site, ConvolutionSite | TransposedConvolutionSite | EmbeddingSite)


def _end(model: nn.Module, getter: str) -> nn.Module | None:
    """The output head or input embedding that the model, or a model inside a wrapper, names."""
    for module in model.modules():  # the outermost first
        get = getattr(module, getter, None)
        with contextlib.suppress(NotImplementedError, AttributeError):  # raised by a body without one
            found = cast("nn.Module | None", get()) if callable(get) else None
            if found is not None:
                return found
    return None


def _by_word(word: str, sites: dict[str, Site], model: nn.Module) -> list[str]:
    if word == "all":
        return list(sites)
    if word == "all-linear":
        head = _end(model, "get_output_embeddings")
        return [name for name, site in sites.items() if _is_linear(site) and site.module is not head]
    wanted = _end(model, "get_output_embeddings" if word == "output-head" else "get_input_embeddings")
    chosen = [name for name, site in sites.items() if site.module is wanted]
    if not chosen:
        raise SelectionError(f"{type(model).__name__} has no {word.replace('-', ' ')} that can be edited")
    return chosen


def _by_pattern(pattern: str, sites: dict[str, Site], model: nn.Module) -> list[str]:
    chosen = full_matches(pattern, sites)
    if not chosen:
        hint = f" Did you mean the list [{pattern!r}]?" if pattern.isidentifier() else ""
        raise SelectionError(
            f"no site's full name matches {pattern!r}.{hint} {_no_site(pattern, model)}{_listing(sites)}"
        )
    return chosen


def _by_suffix(suffixes: list[str], sites: dict[str, Site], model: nn.Module) -> list[str]:
    chosen: list[str] = []
    for suffix in suffixes:
        matched = [name for name, site in sites.items() if _ends_with(site, suffix)]
        if not matched:
            raise SelectionError(f"no site is named {suffix!r}. {_no_site(suffix, model)}{_listing(sites)}")
        chosen += matched
    return chosen


def _ends_with(site: Site, suffix: str) -> bool:
    """Whether the name ends with ``suffix`` by whole components; an expert's index may be omitted."""
    names = (site.name, re.sub(r"\.\d+$", "", site.name)) if isinstance(site, ExpertSite) else (site.name,)
    return any(name == suffix or name.endswith("." + suffix) for name in names)


def _in_layers(chosen: list[str], sites: dict[str, Site], layers: set[int]) -> list[str]:
    there = {sites[name].layer for name in chosen}
    missing = sorted(layers - {layer for layer in there if layer is not None})
    if missing:
        known = sorted(layer for layer in there if layer is not None)
        raise SelectionError(f"no selected site is in block {missing[0]}; there are blocks {known}")
    return [name for name in chosen if sites[name].layer in layers]


def _no_site(name: str, model: nn.Module) -> str:
    """A hint if ``name`` is a module that cannot be a site."""
    for path, module in model.named_modules():
        if path == name or path.endswith("." + name):
            return f"{path} is a {type(module).__name__}, which is not an editable affine map. "
    return ""


def _listing(sites: dict[str, Site]) -> str:
    kinds: dict[str, int] = {}
    for site in sites.values():
        kinds[site.kind] = kinds.get(site.kind, 0) + 1
    shown = ", ".join(f"{kind} ({count})" for kind, count in list(kinds.items())[:_LISTED])
    return f"There are: {shown}{', ...' if len(kinds) > _LISTED else ''}"


def sites_by_name(model: nn.Module, names: Iterable[str]) -> dict[str, Site]:
    """The sites with exactly these names, batch normalisations among them.

    Raises:
        SelectionError: the model lacks one of them.
    """
    sites = all_sites(model)
    wanted = list(names)
    if not set(wanted) <= sites.keys():
        sites = {**sites, **batch_norms(model)}
    missing = [name for name in wanted if name not in sites]
    if missing:
        raise SelectionError(f"{type(model).__name__} has no site {missing[0]!r}. {_listing(sites)}")
    return {name: sites[name] for name in wanted}


def parameter_names(model: nn.Module, site: Site, owners: Mapping[int, str] | None = None) -> list[str]:
    """The full names of the parameters that an edit of ``site`` writes to; ``owners`` avoids a search per site."""
    owners = owners if owners is not None else module_names(model)
    return [f"{owners[id(owner)]}.{leaf}".lstrip(".") for owner, leaf in site.parameters]


def module_names(model: nn.Module) -> dict[int, str]:
    """The name of every module by its id."""
    return {id(module): name for name, module in model.named_modules()}
