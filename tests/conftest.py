"""What every test gets. torch is not imported here: most tests never need it."""

from __future__ import annotations

import os

# Before anybody imports torch: test processes share few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
