"""A planned simulation: a fleet of a thousand devices and a queue of a hundred thousand jobs.

The real placement, `Placer` and the workers' real `Scheduler` run on a virtual clock; evaluations are not
computed but take recorded times. Beside it, the costs of the gateway and of the store are measured on this
machine. Run it with `cd tests && python -m simulation.planned`; `--help` lists the sizes.
"""
