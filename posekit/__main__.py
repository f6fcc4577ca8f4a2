"""`posekit` and `python -m posekit`: the entry point, which any Python 3 can run.

Only `posekit.doctor` is imported before it is known that the Python version and the packages will
do; this module and that one keep to the syntax of Python 3.6.
"""

import sys


def main(argv=None):
    """Run the command line.

    Args:
        argv: the arguments without the program's name; None for `sys.argv`.

    Returns:
        The exit code, see `posekit.cli.main`.
    """
    from posekit import doctor

    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["doctor"]:
        return doctor.main(arguments[1:])
    problem = doctor.wrong_python()
    if problem:
        sys.stderr.write(f"error: {problem}\n")
        return 2
    try:
        from posekit import cli
    except ImportError as error:
        sys.stderr.write(f"error: {doctor.missing_package(error)}\n")
        return 2
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
