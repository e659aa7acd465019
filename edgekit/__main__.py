"""``python -m edgekit`` and the ``edgekit`` command.

Ctrl-C counts from here on: importing the command line takes a tenth of a second, and a signal in
that time ends with the same status as any later one.
"""

import os
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        # Looking for pydantic plug-ins reads the metadata of every installed package: 25 ms.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        from edgekit.core import interrupt

        interrupt.remember()
        from edgekit.cli import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # while it was being imported, or on the way out
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
