"""Host cards: what is known of a family of Transformers models from its configuration alone.

`card(config)` gives the ports of the base model (what `AutoModel` makes) and its sites: places inside
it, by module path, that grafts may read and write, in the order of execution. Read from numbers that
the configuration states: neither torch nor Transformers is imported. Paths are those of Transformers
5; `build` finds a path that another release does not have. `tests/library/test_hosts.py` holds every
family against the real class.

    embeddings                   what enters the first layer
    h0_attention, h0_mlp         what the branches of a layer give, before they are added to the stream
    h0_conv                      the same of a convolution
    h0, h1, ...                  what layers give out
    final                        behind the norm that closes a pre-normed stack
"""

from assembler.library.hosts.card import HostCard, HostError, Site
from assembler.library.hosts.families import card, families, host

__all__ = ["HostCard", "HostError", "Site", "card", "families", "host"]
