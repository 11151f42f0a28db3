from __future__ import annotations

import inspect

from extender import errors


def test_one_tree_as_drawn() -> None:
    """Every class of the module is in the drawing at its top, and below the root."""
    assert errors.__doc__ is not None
    for name, one in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(one, errors.RunaiError)
        assert name in errors.__doc__


def test_what_an_api_error_carries() -> None:
    error = errors.ThrottledError("slow down", retry_after_s=7)
    assert (str(error), error.status, error.retry_after_s) == ("slow down", 429, 7)
