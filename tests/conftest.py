"""What must be set before anything imports torch."""

from __future__ import annotations

import os

# Two test processes of two threads each would wait for one another's cores: eight times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
