from __future__ import annotations

import sys
from pathlib import Path

# The plain interferometer `sky` serves the tests of gridding, of beams and of CLEAN.
sys.path.insert(0, str(Path(__file__).parent))
