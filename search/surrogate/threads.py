"""One thread for the model's linear algebra."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np  # noqa: F401, as what loads its library of linear algebra
from scipy import linalg  # noqa: F401, likewise
from threadpoolctl import ThreadpoolController

Asked = ParamSpec("Asked")
Result = TypeVar("Result")

_BLAS = ThreadpoolController().select(user_api="blas")


def on_one_thread(function: Callable[Asked, Result]) -> Callable[Asked, Result]:
    """The same function, whose matrix products take no second thread.

    The matrices are small. Where trainings keep all cores busy, threads that wait for each other
    took twelve times the CPU: 9.1 against 0.75 s for a study of 120 runs (one of
    `python -m tests.benchmarks.search_efficiency`). PyTorch's threads are left as they are.
    """

    @wraps(function)
    def limited(*args: Asked.args, **kwargs: Asked.kwargs) -> Result:
        with _BLAS.limit(limits=1):
            return function(*args, **kwargs)

    return limited
