"""``python -m parallactic.pipeline.demo``."""

import sys

from parallactic.pipeline.demo.main import main

sys.exit(main())
