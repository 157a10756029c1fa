"""Errors a user can act on. Each message says what is wrong, where, and what to do."""

from __future__ import annotations


class MnemotomyError(Exception):
    """Base of every error that Mnemotomy raises on purpose; the command line prints it and exits with 2."""


class SelectionError(MnemotomyError):
    """A site selector matched nothing, or matched something that is not a site."""


class UnknownSiteError(SelectionError, KeyError):
    """An engram or an edit has no site of this name."""

    __str__ = Exception.__str__  # KeyError's would quote the message


class ConceptError(MnemotomyError):
    """A concept is unknown, empty, or has no reference."""


class NonFiniteError(MnemotomyError):
    """An activation or a weight is NaN or infinite."""


class RowsError(MnemotomyError):
    """The rows a site reads cannot be assigned to the examples of the batch."""


class SharingError(MnemotomyError):
    """Sites that read one tensor in the first batch read different ones later."""


class FingerprintError(MnemotomyError):
    """An artifact belongs to another model."""


class TiedWeightsError(MnemotomyError):
    """An edit would silently change a second layer that shares the weight."""


class ArtifactError(MnemotomyError):
    """A file is damaged, of another kind, or of an unknown version."""


class MergeError(MnemotomyError):
    """Two collections cannot be added because they do not describe the same sites of the same model."""


class DataError(MnemotomyError):
    """A data file, a line of it, or a recipe is malformed."""


class ModelError(MnemotomyError):
    """A model cannot be loaded, or is of a kind that the operation does not support."""


class ConfigurationError(MnemotomyError):
    """A setting is out of its range, or contradicts another."""


class TrainingError(MnemotomyError):
    """Training cannot continue: a loss is not finite, or a checkpoint belongs to another run."""


class StoreError(MnemotomyError):
    """A fact store cannot be opened, or the file is not one."""


class SurgeryWarning(UserWarning):
    """An edit is likely to ruin the model, or did nothing; the command line refuses it unless it is forced."""


def refuse_one_text(value: object, what: str) -> None:
    """Refuse a single text where several are expected: its letters would be read as texts.

    Raises:
        DataError: ``value`` is a string.
    """
    if isinstance(value, str):
        raise DataError(f"{what} must be a list of texts, as in [{value[:40]!r}], not one text")
