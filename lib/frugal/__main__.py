"""``python -m frugal COMMAND``: the same commands as the ``frugal`` script."""

from frugal.cli.main import main

if __name__ == "__main__":
    main()
