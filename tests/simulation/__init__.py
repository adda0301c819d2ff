"""A simulation of the server that finds what happens once in a thousand times, and finds it again.

The code under test is the server's own: its calls, jobs, placement, watching, and the store with its facade,
on a real SQLite database in memory. Everything around it is simulated, in one thread and by a seed:

- `loop`: an event loop whose clock jumps to the next timer, and which runs what is ready in a random order;
- `disk`: the store's work takes a while, or long, is refused (no room, a locked database), and the server may
  be killed right after a piece of work, before anybody is told that it is done;
- `workers`: they count evaluations, send checkpoints and results, die, hang, refuse, answer late;
- `clients`: they make, watch, change and delete jobs, leave calls half-way, and repeat them;
- `server`: one life of a server; `world`: several on one folder, that are killed at any moment, or drained.

`model` has what callers know by the answers they got, and so what must be on disk; `rest` what must hold once
everything has come to its rest; `world` what must hold at each answer and event. `mutations` are faults that
are put into the code, to see that they are found.

From the folder `tests`, with the environment's Python:

    python -m simulation --seeds 1000-2000                any number of seeds
    python -m simulation --seeds 1234 --trace             all that happens in one
    python -m simulation --mutation merge-before-lock     with a fault put in

The same seed gives the same events, on one version of Python: asyncio's own steps differ between versions.
"""
