"""Vectors in Qdrant, in a folder or on a server, by the ids of their facts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxtyping import Float
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException
from torch import Tensor

from mnemotomy.core.errors import StoreError

_PAGE = 1000
_MARK = "mark"


def open_client(location: str | Path | QdrantClient) -> QdrantClient:
    """A client of the server at an ``http://`` or ``https://`` address, or of a folder in this process.

    Raises:
        StoreError: the folder cannot be used, or another process has it open.
    """
    if isinstance(location, QdrantClient):
        return location
    with explaining(str(location)):
        if str(location).startswith(("http://", "https://")):
            return QdrantClient(url=str(location), check_compatibility=False)  # it warns if no server answers
        return QdrantClient(path=str(location))


class Vectors:
    """One collection of unit vectors under cosine similarity.

    Args:
        client: from ``open_client``.
        collection: its name; created with the first vectors.
        location: for error messages.
    """

    def __init__(self, client: QdrantClient, collection: str, location: str) -> None:
        self._client, self._collection, self._location = client, collection, location

    def marks(self) -> Iterator[tuple[int, str]]:
        """The id and the mark of every vector."""
        if not self._exists():
            return
        offset: models.ExtendedPointId | None = None
        while True:
            with explaining(self._location):
                records, offset = self._client.scroll(
                    self._collection, limit=_PAGE, offset=offset, with_payload=True, with_vectors=False
                )
            yield from ((int(record.id), str((record.payload or {}).get(_MARK, ""))) for record in records)
            if offset is None:
                return

    def put(self, numbers: Sequence[int], vectors: Float[Tensor, "n d"], marks: Sequence[str]) -> None:
        """Add vectors with their marks, replacing those with the same ids.

        Raises:
            StoreError: the collection's vectors have another length.
        """
        width = vectors.shape[1]
        with explaining(self._location):
            if not self._exists():
                config = models.VectorParams(size=width, distance=models.Distance.COSINE)
                self._client.create_collection(self._collection, vectors_config=config)
            self._check(width)
            points = [
                models.PointStruct(id=number, vector=row, payload={_MARK: mark})
                for number, row, mark in zip(numbers, vectors.float().tolist(), marks, strict=True)
            ]
            self._client.upsert(self._collection, points=points)

    def remove(self, numbers: Sequence[int]) -> None:
        if numbers and self._exists():
            with explaining(self._location):
                self._client.delete(self._collection, points_selector=models.PointIdsList(points=list(numbers)))

    def search(self, vector: Float[Tensor, " d"], k: int) -> list[tuple[int, float]]:
        """The ids of the ``k`` nearest vectors and their cosines, nearest first."""
        if not self._exists():
            return []
        with explaining(self._location):
            self._check(len(vector))
            found = self._client.query_points(self._collection, query=vector.float().tolist(), limit=k)
        return [(int(point.id), float(point.score)) for point in found.points]

    def close(self) -> None:
        self._client.close()

    def _exists(self) -> bool:
        with explaining(self._location):
            return bool(self._client.collection_exists(self._collection))

    def _check(self, width: int) -> None:
        params = self._client.get_collection(self._collection).config.params.vectors
        if not isinstance(params, models.VectorParams) or params.size != width:
            raise StoreError(
                f"the collection {self._collection!r} at {self._location} has no vectors of length {width}; it was "
                "made with another encoder, so give another collection"
            )


@contextlib.contextmanager
def explaining(location: str) -> Iterator[None]:
    """Turn Qdrant's errors into a ``StoreError`` that says what to do."""
    try:
        yield
    except ApiException as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(f"the Qdrant server {location} cannot be used: {first}") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreError(f"the Qdrant folder {location} cannot be used: {error}") from error
