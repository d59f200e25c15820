"""``python -m fastfit`` and the command ``fastfit``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        try:
            import rich  # noqa: F401
            import typer  # noqa: F401
        except ImportError:
            sys.exit("fastfit: the command line needs Typer and Rich: pip install 'fastfit[cli]'")
        from fastfit.cli import app

        app()
    except KeyboardInterrupt:  # before there was anything to say about it
        print("fastfit: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
