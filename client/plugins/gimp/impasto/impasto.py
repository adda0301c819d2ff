#!/usr/bin/env python3
"""Impasto in GIMP 3: the procedure plug-in-impasto-stylize, "Filters > Artistic > Paint in a Style…".

GIMP runs this file in a separate process, so GIMP stays usable during long calls.
"""

import contextlib
import os
import sys

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
gi.require_version("GdkPixbuf", "2.0")
from gi.repository import Gegl, Gimp, GLib, GObject  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
# The client lies beside this file; as a package, it is found before this file, which has its name.
if HERE not in sys.path:
    sys.path.insert(0, HERE)

INCOMPLETE = (
    "Files of the Impasto plug-in are missing ({}). A new version of GIMP may have left them behind when it "
    "took over your plug-ins. Run “impasto plugin install gimp” again, or unpack impasto-gimp.zip into the "
    "plug-ins folder again; then restart GIMP."
)
"""Not translated: what translates may be what is missing."""

PROCEDURE = "plug-in-impasto-stylize"
LARGEST_INTEGER = 2**31 - 1
"""Largest value of a procedure's integer argument."""


class Plugin(Gimp.PlugIn):
    """The procedure, as GIMP queries and creates it."""

    def do_set_i18n(self, name):
        return False

    def do_query_procedures(self):
        return [PROCEDURE]

    def do_create_procedure(self, name):
        _ = translation()
        procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, run, None)
        procedure.set_image_types("RGB*, GRAY*")
        procedure.set_sensitivity_mask(
            Gimp.ProcedureSensitivityMask.DRAWABLE
            | Gimp.ProcedureSensitivityMask.DRAWABLES
            | Gimp.ProcedureSensitivityMask.NO_DRAWABLES
        )
        procedure.set_menu_label(_("Paint in a Style…"))
        procedure.add_menu_path("<Image>/Filters/Artistic")
        procedure.set_documentation(
            _("Paints the layer in the style of a painting, on an Impasto server"),
            _(
                "Paints the layer, or the selected part of it, in the style of a painting. The result is a "
                "new layer above it, with the selection as its mask."
            ),
            name,
        )
        procedure.set_attribution("Impasto", "Impasto, Apache-2.0", "2025")
        # Without the client there are no arguments, and `run` says that it is missing.
        with contextlib.suppress(ImportError):
            add_arguments(procedure)
        return procedure


def translation():
    """Returns the function that translates texts; they stay English where the client is missing."""
    try:
        from impasto.hosts.translate import _
    except ImportError:
        return lambda text: text
    return _


def add_arguments(procedure):
    """Adds the procedure's arguments, for scripts and for "Repeat".

    Raises:
        ImportError: the client is missing.
    """
    from impasto.hosts.choices import Choices, seed_range
    from impasto.hosts.settings import settings
    from impasto.hosts.translate import _

    usual = Choices()
    kept = GObject.ParamFlags.READWRITE
    procedure.add_string_argument(
        "style",
        _("Style"),
        _("A file (PNG, JPEG, WebP or TIFF), or the name of a style on the server"),
        "",
        kept,
    )
    for setting in settings():
        name, default = setting.name.replace("_", "-"), getattr(usual, setting.name)
        told = (name, setting.label, setting.tip)
        if setting.kind == "choice":
            procedure.add_choice_argument(*told, choice(setting.words), default, kept)
        else:
            limits = (setting.least, min(setting.most, LARGEST_INTEGER))
            if setting.kind == "seed":
                limits = seed_range(LARGEST_INTEGER)
            procedure.add_int_argument(*told, *limits, default, kept)
    procedure.add_string_argument(
        "server", _("Server"), _("Address of the Impasto server: HOST or HOST:PORT"), "127.0.0.1", kept
    )
    procedure.add_string_argument(
        "token-file",
        _("Token file"),
        _("File with the token from the server's administrator; empty for none"),
        "",
        kept,
    )
    procedure.add_boolean_argument(
        "tls",
        _("Encrypted (TLS)"),
        _("Whether to encrypt the connection; the server must support it"),
        False,
        kept,
    )
    procedure.add_string_argument(
        "ca-file",
        _("Certificate file"),
        _("File with the certificates that sign the server's; empty for those that this computer trusts"),
        "",
        kept,
    )
    procedure.add_layer_return_value("layer", _("Layer"), _("The new layer"), True, kept)


def choice(words):
    """Returns words with their labels and meanings as a choice of GIMP's."""
    made = Gimp.Choice.new()
    for index, word in enumerate(words):
        made.add(word.value, index, word.label, word.tip)
    return made


def run(procedure, run_mode, image, drawables, config, data):
    """Paints, and returns the outcome to GIMP."""

    def outcome(status, sentence=None):
        return procedure.new_return_values(status, GLib.Error(sentence) if sentence else GLib.Error())

    status = Gimp.PDBStatusType
    try:
        from impasto_gimp import content, script
    except ImportError as error:
        return outcome(status.EXECUTION_ERROR, INCOMPLETE.format(error))

    Gegl.init(None)
    if run_mode == Gimp.RunMode.INTERACTIVE:
        from impasto_gimp import dialog

        try:
            layer = dialog.open_for(image)
        except ValueError as error:
            return outcome(status.EXECUTION_ERROR, str(error))
        # A layer of an image that was closed meanwhile is gone.
        if layer is None or not layer.is_valid():
            return outcome(status.CANCEL)
    else:
        repeat = run_mode == Gimp.RunMode.WITH_LAST_VALS
        try:
            part = content.part(image, list(drawables))
        except ValueError as error:
            return outcome(status.CALLING_ERROR, str(error))
        try:
            layer = script.repeat(part) if repeat else script.paint(config, part)
        except Exception as error:
            return outcome(status.EXECUTION_ERROR, script.sentence(error, config.get_property("server")))
    values = outcome(status.SUCCESS)
    values.remove(1)
    values.insert(1, GObject.Value(Gimp.Layer, layer))
    return values


Gimp.main(Plugin.__gtype__, sys.argv)
