"""The door to the command line: says what to install where the command line cannot be imported."""

import sys


def main() -> None:
    try:
        from sparsernn.cli import main as run
    except ModuleNotFoundError as error:
        if (error.name or "sparsernn").partition(".")[0] == "sparsernn":
            raise
        sys.exit(f'the command line needs {error.name}, which is absent: pip install "sparsernn[train]"')
    run()


if __name__ == "__main__":
    main()
