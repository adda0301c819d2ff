"""What the machine at hand does with the engine: its speed, and sheets of pictures to judge it by.

Nothing but the command line imports this package.
"""
