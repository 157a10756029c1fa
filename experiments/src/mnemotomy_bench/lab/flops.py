"""How many floating-point operations a call takes. Counting slows small models down, so it needs a separate run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


def counted_flops(call: Callable[[], Any], *, dry: bool = False) -> int:
    """The operations of one call.

    This adds what torch does not count: products that are summed in place, attention on a CPU, and factorisations with
    9 d³ for eigenvectors and d³/3 for Cholesky's (Golub & Van Loan, Matrix Computations, 4th ed., 8.3 and 4.2).

    Args:
        call: what to count.
        dry: count matrix products without carrying them out, all of their numbers being 0: for a call that takes the
            same operations whatever the numbers are, as training for a fixed number of steps does.
    """
    products: contextlib.AbstractContextManager[Any]
    products = _Dry() if dry else contextlib.nullcontext()  # type: ignore[no-untyped-call]
    with products, _counter() as counter:
        call()
    return counter.get_total_flops()


class _Dry(TorchDispatchMode):
    """Matrix products give zeros."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        if func in (aten.mm.default, aten.bmm.default):
            return _zeros(*args)
        if func is aten.addmm.default:
            return _zeros(*args[1:])
        return func(*args, **(kwargs or {}))


def _zeros(left: Tensor, right: Tensor) -> Tensor:
    return left.new_zeros(*left.shape[:-1], right.shape[-1])


def _counter() -> FlopCounterMode:
    aten = torch.ops.aten
    formulas: dict[Any, Any] = {
        aten.addmm_: _product,
        aten.baddbmm_: _product,
        aten._linalg_eigh: _cubic(9.0),
        aten.linalg_cholesky_ex: _cubic(1 / 3),
        aten.cholesky_inverse: _cubic(2 / 3),
        aten.cholesky_solve: _solve(2.0),
        aten.linalg_solve_triangular: _solve(1.0, matrix=0, right=1),
        aten.triangular_solve: _solve(1.0),
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _product(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
    return 2 * math.prod(left) * right[-1]


def _cubic(factor: float) -> Any:
    return lambda shape, *_, **__: round(factor * math.prod(shape[:-2]) * shape[-1] ** 3)


def _solve(factor: float, matrix: int = 1, right: int = 0) -> Any:
    def flops(*shapes: Any, **_: Any) -> int:
        return round(factor * shapes[matrix][-1] * math.prod(shapes[right]))

    return flops


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Two products with the scores; all count, even those that a causal mask hides."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(_: Any, query: Any, key: Any, value: Any, *__: Any, **___: Any) -> int:
    """The scores again, and two products for each forward product."""
    return 2 * math.prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])
