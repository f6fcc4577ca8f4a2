"""`python -m posekit.minidome`: make the book's embedded data set, and print where it is and how
varied it is."""

import sys

from posekit.errors import DataError
from posekit.minidome.dataset import dataset
from posekit.minidome.sequence import describe, shares


def main() -> int:
    """Run the command line; the exit code."""
    try:
        made = dataset()
        for name in ("train", "val"):
            print(f"{name}: {getattr(made, name)}\n{describe(shares(getattr(made, name)))}")
            print(f"records: {getattr(made, name + '_records')}")
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
