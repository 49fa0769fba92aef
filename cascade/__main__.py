"""``python -m cascade`` does what the ``cascade`` command does."""

from cascade.cli.main import main

if __name__ == "__main__":
    main()
