"""`python -m posekit`: see `posekit.cli`."""

import sys

from posekit.cli import main

sys.exit(main())
