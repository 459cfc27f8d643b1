"""What a package of kinds tests: that its kinds are what they say."""

from __future__ import annotations

import acme_kinds
import pytest

from assembler.testing import check_kind


@pytest.mark.parametrize("kind", [acme_kinds.SquaredMLP, acme_kinds.ChannelGain])
def test_a_kind_is_what_it_says(kind: type) -> None:
    check_kind(kind)
