"""A host as a process of its own, which paints on this computer: `python -m support.host_process`.

Prints its server's address when it runs, then waits until it is killed. With "install" it installs it first.
"""

from __future__ import annotations

import sys

from impasto.hosts import ThisComputer
from impasto.hosts.pythons import Noted
from support.fake_host import FakeHost


def main() -> None:
    folder, python, what = sys.argv[1:]
    host = FakeHost()
    computer = ThisComputer(host, folder=folder, note=Noted(python), arguments=["--mock"])
    if what == "install":
        computer.install()
    else:
        computer.start()
    host.until(lambda: computer.state in ("running", "failed", "absent"))
    print(computer.server.address if computer.server is not None else computer.sentence, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
