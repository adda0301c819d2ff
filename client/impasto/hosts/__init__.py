"""What a plugin for a host application (Krita, GIMP) needs besides its widgets.

    controller = Controller(host, FolderStorage(folder))   # host: see `Host`
    controller.listen(show)                                 # called with what has changed
    controller.start()                                      # connects, and stays connected
    controller.stylize(Order((StyleShare(style),), size, choices, place, content))

A host implements six methods (`Host`): two that make calls on its main thread, three that decode previews and
results and make thumbnails, and one that places a finished picture. The rest is here: connecting and
reconnecting, styles, settings, presets, areas, several paintings at once, steering, pausing, cancelling,
downloading, the history, and finding a job again after the host was restarted. It is used on the host's main
thread; calls to the server are made in other threads. Texts for people are whole sentences:
`Connection.sentence`, `Run.sentence`, `Run.notice`, `Size.sentence`, `Found.sentence`, and the messages of
ValueError.

Pure Python, 3.10 or newer, without a GUI toolkit, NumPy or Pillow.
"""

from __future__ import annotations

from impasto.hosts.choices import COLORS, EFFORTS, SIZES, Choices, seed_range
from impasto.hosts.connection import Connection, Server, Timing, open_client
from impasto.hosts.controller import Controller, Found
from impasto.hosts.history import Entry, History
from impasto.hosts.host import CannotPlace, Host, Painted
from impasto.hosts.memory import Recent
from impasto.hosts.order import Area, Order, StyleShare
from impasto.hosts.presets import Preset, Presets
from impasto.hosts.run import Run
from impasto.hosts.settings import Setting, Word, setting, settings
from impasto.hosts.sizes import Size, plan
from impasto.hosts.storage import FolderStorage, Storage
from impasto.hosts.styles import StyleItem, StyleLibrary
from impasto.hosts.this_computer import ThisComputer

__all__ = [
    "COLORS",
    "EFFORTS",
    "SIZES",
    "Area",
    "CannotPlace",
    "Choices",
    "Connection",
    "Controller",
    "Entry",
    "FolderStorage",
    "Found",
    "History",
    "Host",
    "Order",
    "Painted",
    "Preset",
    "Presets",
    "Recent",
    "Run",
    "Server",
    "Setting",
    "Size",
    "Storage",
    "StyleItem",
    "StyleLibrary",
    "StyleShare",
    "ThisComputer",
    "Timing",
    "Word",
    "open_client",
    "plan",
    "seed_range",
    "setting",
    "settings",
]
