"""`python -m spawn`: the same as the command `spawn`."""

from spawn.cli.main import main

if __name__ == "__main__":
    main()
