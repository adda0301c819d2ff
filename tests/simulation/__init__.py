"""A simulation of the server that finds faults which occur once in a thousand runs, and reproduces them.

The code under test is the server's own: its calls, jobs, placement, watching, and the store with its facade,
on a real SQLite database in memory. Everything around it is simulated, in one thread and from a seed:

- `loop`: an event loop whose clock jumps to the next timer, and which runs ready callbacks in random order;
- `disk`: work of the store takes a short or a long time or is refused (disk full, database locked), and the
  server may be killed right after a piece of work, before anybody learns that it is done;
- `workers`: they count evaluations, send checkpoints and results, die, hang, refuse and answer late;
- `clients`: they create, watch, change and delete jobs, cancel calls half-way, and repeat them;
- `server`: one life of a server; `world`: several lives in one folder, ended by a kill or a drain.

`model` has what callers know from their answers, and so what must be on disk. `rest` checks what must be true
once everything has come to rest, `knowledge` what must be true at each answer and event. `mutations` puts
faults into the code, to check that they are found.

From the folder `tests`, with the environment's Python:

    python -m simulation --seeds 1000-2000                any number of seeds
    python -m simulation --seeds 1234 --trace             print all events of one seed
    python -m simulation --mutation merge-before-lock     with a fault in the code

The same seed gives the same events on one version of Python; asyncio's own steps differ between versions.
"""
