"""The list of deliberate breaks fits the code: each has its place, and its test exists."""

import pytest

from tests.mutants.__main__ import ROOT, broken
from tests.mutants.breaks import BREAKS, Break


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: one.mistake)
def test_a_break_has_its_place_and_its_test(one: Break):
    assert compile(broken((ROOT / one.file).read_text(), one), one.file, "exec")

    file, *names = one.killer.split("::")
    source = (ROOT / file).read_text()
    assert all(f"class {name}" in source or f"def {name}(" in source for name in names)


def test_a_break_without_its_place_is_an_error():
    with pytest.raises(ValueError, match="0 times"):
        broken("", BREAKS[0])
