"""Which files mypy checks strictly: all that import no JAX."""

import tomllib

from tree import FILES, PACKAGES, ROOT, imports_of_others, module_of

MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]


def test_every_file_is_checked_and_strictly_unless_it_imports_jax():
    assert MYPY["strict"] is True and sorted(MYPY["packages"]) == PACKAGES
    (relaxed,) = MYPY["overrides"]
    assert relaxed["module"] == [module_of(path) for path in FILES if imports_of_others(path) & {"jax", "optax"}]


def test_what_imports_jax_is_still_checked():
    """Only demands that JAX's own types can't meet are dropped: none that silences an error."""
    (relaxed,) = MYPY["overrides"]
    kept = {"ignore_errors", "follow_imports", "disable_error_code", "check_untyped_defs", "strict_optional"}
    assert not kept & set(relaxed)
