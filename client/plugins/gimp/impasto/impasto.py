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
        procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, run, None)
        procedure.set_image_types("RGB*, GRAY*")
        procedure.set_sensitivity_mask(Gimp.ProcedureSensitivityMask.DRAWABLE)
        procedure.set_menu_label("_Paint in a Style…")
        procedure.add_menu_path("<Image>/Filters/Artistic")
        procedure.set_documentation(
            "Paints the layer in the style of a painting, on an Impasto server",
            "Paints the layer, or the selected part of it, in the style of a painting. The result is a new "
            "layer above it, with the selection as its mask.",
            name,
        )
        procedure.set_attribution("Impasto", "Impasto, Apache-2.0", "2025")
        # Without the client there are no arguments, and `run` says that it is missing.
        with contextlib.suppress(ImportError):
            add_arguments(procedure)
        return procedure


def add_arguments(procedure):
    """Adds the procedure's arguments, for the dialog and for scripts.

    Raises:
        ImportError: the client is missing.
    """
    from impasto.hosts import COLORS, EFFORTS, Choices, labelled, seed_range
    from impasto.recipe import FIELDS

    usual = Choices()
    kept = GObject.ParamFlags.READWRITE
    procedure.add_string_argument(
        "style",
        "St_yle",
        "Style: a file (PNG, JPEG, WebP or TIFF), or the name of a style on the server",
        "",
        kept,
    )
    procedure.add_int_argument(
        "strength",
        "Style s_trength",
        "Strength of the style: 0 keeps most of the picture (content weight 2.4), 100 least (0.0375)",
        0,
        100,
        usual.strength,
        kept,
    )
    efforts, colors = choice(labelled(EFFORTS)), choice(labelled(COLORS))
    procedure.add_choice_argument("effort", "E_ffort", "Amount of work", efforts, usual.effort, kept)
    procedure.add_choice_argument("color", "Colo_urs", "Colours of the result", colors, usual.color, kept)
    procedure.add_int_argument(
        "size",
        "Si_ze",
        "Longer side of the painting in pixels, at most; a larger part is painted at this size and enlarged",
        int(FIELDS["size"].least),
        int(FIELDS["size"].most),
        usual.size,
        kept,
    )
    procedure.add_int_argument(
        "seed",
        "Seed _number",
        "Seed of everything random: the same seed and settings give the same picture",
        *seed_range(LARGEST_INTEGER),
        usual.seed,
        kept,
    )
    procedure.add_string_argument(
        "server", "Ser_ver", "Address of the Impasto server: HOST or HOST:PORT", "127.0.0.1", kept
    )
    procedure.add_string_argument(
        "token-file",
        "To_ken file",
        "File with the token from the server's administrator; empty for none",
        "",
        kept,
    )
    procedure.add_boolean_argument(
        "tls",
        "_Encrypted (TLS)",
        "Whether to encrypt the connection; the server must support it",
        False,
        kept,
    )
    procedure.add_string_argument(
        "ca-file",
        "Certific_ate file",
        "File with the certificates that sign the server's; empty for those that this computer trusts",
        "",
        kept,
    )
    procedure.add_layer_return_value("layer", "Layer", "The new layer", True, kept)


def choice(labelled):
    """Returns words with their labels and meanings as a choice of GIMP's."""
    made = Gimp.Choice.new()
    for index, (word, label, meaning) in enumerate(labelled):
        made.add(word, index, label, meaning)
    return made


def run(procedure, run_mode, image, drawables, config, data):
    """Paints, and returns the outcome to GIMP."""

    def outcome(status, sentence=None):
        return procedure.new_return_values(status, GLib.Error(sentence) if sentence else GLib.Error())

    status = Gimp.PDBStatusType
    try:
        import canvas
        import order
    except ImportError as error:
        return outcome(status.EXECUTION_ERROR, INCOMPLETE.format(error))

    Gegl.init(None)
    try:
        part = canvas.Part.of(image, drawables)
    except ValueError as error:
        return outcome(status.CALLING_ERROR, str(error))
    if run_mode == Gimp.RunMode.INTERACTIVE:
        import dialog

        painted = dialog.paint(procedure, config, part)
        if painted is None:
            return outcome(status.CANCEL)
    else:
        try:
            painted = order.paint_for_script(config, part)
        except Exception as error:
            return outcome(status.EXECUTION_ERROR, order.sentence(error, config.get_property("server")))
    layer = canvas.place(part, painted)
    values = outcome(status.SUCCESS)
    values.remove(1)
    values.insert(1, GObject.Value(Gimp.Layer, layer))
    return values


Gimp.main(Plugin.__gtype__, sys.argv)
