"""Between a host application (Krita, GIMP) and the client: a controller without widgets.

    controller = Controller(host, FolderStorage(folder))   # host: see `Host`
    controller.listen(show)                                 # called with what is new
    controller.start()                                      # connects, and stays connected
    controller.stylize(Order(content, style, size, choices, place))

A host implements five methods (`Host`): two to get back to its main thread, two that decode previews and
results, one that puts a finished picture in place. Everything else is here, on the host's main thread, with
the calls made in threads of their own: connecting and reconnecting, styles, queueing, steering, pausing,
cancelling, fetching, and finding a job again after the host was closed. What people are told are whole
sentences, ready to be shown: `Connection.sentence`, `Run.sentence`, `Run.notice`, `Size.sentence`,
`Found.sentence`, and the messages of ValueError.

Pure Python from 3.10 on; no toolkit, numpy or Pillow. Hosts with an older Python are out.
"""

from __future__ import annotations

from impasto.hosts.choices import COLORS, EFFORTS, SIZES, Choices, labelled, seed_range
from impasto.hosts.connection import Connection, Server, Timing, open_client
from impasto.hosts.controller import Controller, Found
from impasto.hosts.host import CannotPlace, Host, Painted
from impasto.hosts.memory import Recent
from impasto.hosts.run import Order, Run
from impasto.hosts.sizes import Size, plan
from impasto.hosts.storage import FolderStorage, Storage
from impasto.hosts.styles import StyleItem, StyleLibrary

__all__ = [
    "COLORS",
    "EFFORTS",
    "SIZES",
    "CannotPlace",
    "Choices",
    "Connection",
    "Controller",
    "FolderStorage",
    "Found",
    "Host",
    "Order",
    "Painted",
    "Recent",
    "Run",
    "Server",
    "Size",
    "Storage",
    "StyleItem",
    "StyleLibrary",
    "Timing",
    "labelled",
    "open_client",
    "plan",
    "seed_range",
]
