"""The dialog: the settings, live previews, and Cancel."""

import threading

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("GimpUi", "3.0")
import canvas  # noqa: E402
import order as orders  # noqa: E402
from gi.repository import GdkPixbuf, GimpUi, GLib, Gtk  # noqa: E402

from impasto.errors import JobCancelled  # noqa: E402
from impasto.hosts import Connection, Timing, open_client  # noqa: E402
from impasto.hosts.errands import Errands  # noqa: E402
from impasto.job import Preview  # noqa: E402

PREVIEW_BOX = 400
"""Side of the square in which the picture is shown, in pixels."""
THUMBNAIL = 64
TYPING = 0.7
"""Seconds from the last change of the server's settings to the attempt to connect."""
FAREWELL = 5.0
"""Longest wait in seconds, when the dialog closes, for the server to cancel a painting."""
SERVER_SETTINGS = ("server", "token-file", "tls", "ca-file")
LIGHTS = {
    "disconnected": "#888888",
    "connecting": "#d9a400",
    "connected": "#2e9e3f",
    "refused": "#d03030",
    "reconnecting": "#d9a400",
}


def paint(procedure, config, part):
    """Shows the dialog and returns the painted picture; None if the artist closes the dialog.

    Args:
        config: the procedure's arguments: has those of the last time, and stores those of this time.
        part: the part of the layer to paint.
    """
    GimpUi.init("impasto")
    dialog = Dialog(procedure, config, part)
    try:
        return dialog.run()
    finally:
        dialog.close()


class MainThread:
    """GTK's main loop, for other threads."""

    def post(self, call):
        """Makes a call on the main thread, soon."""
        GLib.idle_add(_once, call)

    def later(self, seconds, call):
        """Makes a call on the main thread after some seconds."""
        GLib.timeout_add(round(1000 * seconds), _once, call)


def _once(call):
    call()
    return GLib.SOURCE_REMOVE


class Dialog:
    """The dialog, for the main thread only."""

    def __init__(self, procedure, config, part):
        self._config = config
        self._part = part
        self._typed = 0
        self._offered = ()
        self._left = False
        self._cancelling = []
        main = MainThread()
        self._later = main.later
        self._errands = Errands(main.post)
        self._connection = Connection(
            main,
            self._errands,
            open_client=open_client,
            timing=Timing(),
            changed=self._connection_changed,
        )
        self._build(procedure)
        self._show(part.pixels)
        for name in SERVER_SETTINGS:
            config.connect(f"notify::{name}", self._server_typed)
        config.connect("notify::style", lambda *_: self._mark_style())
        self._connect()

    # Running and closing.

    def run(self):
        """Runs until a picture is painted, and returns it; None if the dialog is closed."""
        while self._dialog.run():
            painted = self._paint()
            if painted is not None:
                return painted
            if self._left:
                return None
        return None

    def close(self):
        """Closes the dialog and the connection."""
        self._errands.close()
        self._dialog.destroy()
        # The connection ends with this process, so wait until the server knows.
        for cancelling in self._cancelling:
            cancelling.join(FAREWELL)

    # Its widgets.

    def _build(self, procedure):
        self._dialog = dialog = GimpUi.ProcedureDialog.new(procedure, self._config, "Paint in a Style")
        dialog.set_ok_label("_Paint")
        dialog.get_scale_entry("strength", 1.0)
        style = dialog.fill_box("style-box", ["style"])
        choices = dialog.fill_box("choices-box", ["strength", "effort", "color", "size", "seed"])
        server = dialog.fill_box("server-box", ["server", "token-file", "tls", "ca-file"])

        self._styles = Gtk.ListStore(str, str, GdkPixbuf.Pixbuf)
        self._icons = Gtk.IconView(model=self._styles, text_column=1, pixbuf_column=2)
        self._icons.set_item_width(THUMBNAIL + 16)
        self._icons.set_selection_mode(Gtk.SelectionMode.SINGLE)
        self._icons.set_columns(4)
        self._icons.connect("selection-changed", self._style_picked)
        pictures = Gtk.ScrolledWindow(min_content_height=190, hexpand=True, vexpand=True)
        pictures.set_shadow_type(Gtk.ShadowType.IN)
        pictures.add(self._icons)
        from_file = Gtk.Button(label="From a F_ile…", use_underline=True)
        from_file.connect("clicked", self._choose_file)
        style.set_orientation(Gtk.Orientation.HORIZONTAL)
        style.pack_end(from_file, False, False, 0)

        self._light = Gtk.Label(xalign=0, wrap=True, max_width_chars=44)
        settings = Gtk.Expander(label="Server settin_gs", use_underline=True)
        settings.add(server)
        self._settings = settings
        self._choices = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=8)
        for widget, grows in ((style, False), (pictures, True), (choices, False), (settings, False)):
            self._choices.pack_start(widget, grows, grows, 0)
        left = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=8)
        left.pack_start(self._choices, True, True, 0)
        left.pack_start(self._light, False, False, 0)

        self._picture = Gtk.Image()
        self._picture.set_size_request(PREVIEW_BOX, PREVIEW_BOX)
        self._bar = Gtk.ProgressBar()
        self._says = Gtk.Label(xalign=0, yalign=0, wrap=True, max_width_chars=50, selectable=True)
        self._says.set_size_request(-1, 60)
        right = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=8)
        right.pack_start(self._picture, True, True, 0)
        right.pack_start(self._bar, False, False, 0)
        right.pack_start(self._says, False, False, 0)

        both = Gtk.Box(spacing=12, border_width=12)
        both.pack_start(left, True, True, 0)
        both.pack_start(right, True, True, 0)
        both.show_all()
        dialog.get_content_area().pack_start(both, True, True, 0)

    def _say(self, sentence):
        self._says.set_text(sentence)

    def _show(self, picture):
        """Shows a picture as large as possible, with a chequered background where it is transparent."""
        width, height = picture.get_width(), picture.get_height()
        scale = PREVIEW_BOX / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        self._picture.set_from_pixbuf(
            picture.composite_color_simple(
                width, height, GdkPixbuf.InterpType.BILINEAR, 255, 16, 0x999999, 0x666666
            )
        )

    # The server and its styles.

    def _server_typed(self, *_):
        self._typed += 1
        typed = self._typed

        def connect():
            if typed == self._typed:
                self._connect()

        self._later(TYPING, connect)

    def _connect(self):
        try:
            server = orders.server(self._config)
        except ValueError as error:
            self._connection.disconnect()
            self._set_light("refused", str(error))
        else:
            self._connection.connect(server)

    def _connection_changed(self):
        connection = self._connection
        self._set_light(connection.state, connection.sentence)
        if connection.state == "refused":
            self._settings.set_expanded(True)
        client = connection.client
        if client is not None:
            self._errands.start(
                lambda: [(style.name, style.title, style.thumbnail) for style in client.styles()],
                self._offer,
                lambda error: self._set_light("refused", orders.sentence(error, connection.address)),
            )

    def _set_light(self, state, sentence):
        text = GLib.markup_escape_text(sentence)
        self._light.set_markup(f'<span foreground="{LIGHTS[state]}">⬤</span> {text}')

    def _offer(self, styles):
        if styles != self._offered:
            self._offered = styles
            self._styles.clear()
            for name, title, thumbnail in styles:
                self._styles.append([name.removeprefix("styles/"), title, _thumbnail(thumbnail)])
            self._mark_style()

    def _style_picked(self, icons):
        for path in icons.get_selected_items():
            self._config.set_property("style", self._styles[path][0])

    def _mark_style(self):
        """Selects the chosen style in the list of the server's styles."""
        chosen = (self._config.get_property("style") or "").removeprefix("styles/")
        marked = {self._styles[path][0] for path in self._icons.get_selected_items()}
        if marked != {chosen}:
            self._icons.unselect_all()
            for row in self._styles:
                if row[0] == chosen:
                    self._icons.select_path(row.path)

    def _choose_file(self, _):
        chooser = Gtk.FileChooserDialog(
            title="Choose a painting",
            transient_for=self._dialog,
            action=Gtk.FileChooserAction.OPEN,
        )
        chooser.add_buttons("_Cancel", Gtk.ResponseType.CANCEL, "_Open", Gtk.ResponseType.OK)
        pictures = Gtk.FileFilter()
        pictures.set_name("Pictures")
        for kind in ("png", "jpeg", "webp", "tiff"):
            pictures.add_mime_type(f"image/{kind}")
        chooser.add_filter(pictures)
        if chooser.run() == Gtk.ResponseType.OK:
            self._config.set_property("style", chooser.get_filename())
        chooser.destroy()

    # Painting.

    def _paint(self):
        """Paints once and returns the picture; None if that failed and the dialog says why."""
        self._left = False
        try:
            order = orders.order(self._config)
            orders.style_source(order.style)
        except ValueError as error:
            self._say(str(error))
            return None
        attempt = orders.Attempt(order, self._part)
        loop = GLib.MainLoop()
        outcome = []

        def done(painted):
            if not outcome:
                outcome.append(painted)
                loop.quit()

        def failed(error):
            if not outcome:
                cancelled = isinstance(error, JobCancelled)
                self._say("Cancelled." if cancelled else orders.sentence(error, order.server.address))
                outcome.append(None)
                loop.quit()

        def show(painting, event):
            if isinstance(event, Preview):
                picture = canvas.decode(event.data)
                self._errands.hand(lambda: None if outcome else self._show(picture))
            else:
                stands, progress = orders.stands(painting), painting.progress
                self._errands.hand(lambda: None if outcome else self._stands(stands, progress))

        def responded(_, response):
            if not outcome:
                self._left = response != Gtk.ResponseType.CANCEL
                self._say("Cancelled.")
                outcome.append(None)
                cancelling = threading.Thread(target=attempt.cancel, daemon=True)
                cancelling.start()
                self._cancelling.append(cancelling)
                loop.quit()

        def escaped(dialog):
            # During a painting, Escape cancels the painting and leaves the dialog open.
            dialog.stop_emission_by_name("close")
            dialog.response(Gtk.ResponseType.CANCEL)

        self._begin()
        handlers = [
            self._dialog.connect("response", responded),
            self._dialog.connect("close", escaped),
        ]
        self._errands.start(lambda: attempt.run(show), done, failed)
        try:
            loop.run()
        finally:
            for handler in handlers:
                self._dialog.disconnect(handler)
            self._end()
        return outcome[0]

    def _begin(self):
        self._choices.set_sensitive(False)
        self._dialog.set_response_sensitive(Gtk.ResponseType.OK, False)
        self._say("Sending the picture …")
        self._bar.set_fraction(0)

    def _stands(self, sentence, progress):
        self._say(sentence)
        if progress is not None:
            self._bar.set_fraction(min(1.0, progress.evaluation / max(1, progress.evaluations)))

    def _end(self):
        self._choices.set_sensitive(True)
        self._dialog.set_response_sensitive(Gtk.ResponseType.OK, True)
        self._bar.set_fraction(0)
        self._show(self._part.pixels)


def _thumbnail(data):
    """Returns a style's thumbnail; None if it cannot be shown."""
    try:
        picture = canvas.decode(data)
    except GLib.Error:
        return None
    scale = THUMBNAIL / max(picture.get_width(), picture.get_height())
    size = max(1, round(picture.get_width() * scale)), max(1, round(picture.get_height() * scale))
    return picture.scale_simple(*size, GdkPixbuf.InterpType.BILINEAR)
