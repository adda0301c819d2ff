"""Every setting of a painting described once, for the widgets of every host."""

from __future__ import annotations

import dataclasses

from impasto.hosts.choices import COLORS, EFFORTS, MOST_EVALUATIONS, SIZES, STROKE_SIZES, Choices
from impasto.hosts.told import ToldError, cut
from impasto.hosts.translate import _
from impasto.recipe import FIELDS


@dataclasses.dataclass(frozen=True)
class Word:
    """A value of a setting that is chosen from a list.

    Attributes:
        value: the value as `Choices` has it; a number as text for a size.
        label: its label.
        tip: what it means; can be empty.
    """

    value: str
    label: str
    tip: str


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting, as a widget shows it.

    Attributes:
        name: the field of `Choices`.
        label: its label, without a colon and without a mnemonic.
        tip: what it does, as a sentence.
        kind: "slider", "number", "choice", "size" (a number with proposals) or "seed".
        least, most: the range of a number.
        step: step of a number.
        unit: unit of a number: "%", "px" or empty.
        words: the values of a choice, or the proposals for a size.
        advanced: whether it is shown in the fold "Advanced".
        steerable: whether it can change while it paints.
    """

    name: str
    label: str
    tip: str
    kind: str
    least: int = 0
    most: int = 0
    step: int = 1
    unit: str = ""
    words: tuple[Word, ...] = ()
    advanced: bool = False
    steerable: bool = False


def settings() -> tuple[Setting, ...]:
    """Return every setting, in the order in which hosts show them."""
    return (
        Setting(
            name="strength",
            label=_("Strength"),
            tip=_("Strength of the style: 0 keeps most of your picture, 100 takes most from the style."),
            kind="slider",
            most=100,
            steerable=True,
        ),
        Setting(
            name="stroke_size",
            label=_("Stroke size"),
            tip=_("Size of the brush strokes: at 200 % they are twice as large as in the style."),
            kind="slider",
            least=STROKE_SIZES[0],
            most=STROKE_SIZES[1],
            step=10,
            unit="%",
        ),
        Setting(
            name="effort",
            label=_("Effort"),
            tip=_("Amount of work. More takes longer and gives a better picture."),
            kind="choice",
            words=_words(EFFORTS),
            steerable=True,
        ),
        Setting(
            name="color",
            label=_("Colours"),
            tip=_("Where the colours of the painting come from."),
            kind="choice",
            words=_words(COLORS),
            steerable=True,
        ),
        Setting(
            name="size",
            label=_("Size"),
            tip=_(
                "Longer side of the painting, at most. A larger part is painted at this size and enlarged."
            ),
            kind="size",
            least=int(FIELDS["size"].least),
            most=int(FIELDS["size"].most),
            unit="px",
            words=tuple(Word(str(size), str(size), "") for size in SIZES),
        ),
        Setting(
            name="seed",
            label=_("Seed"),
            tip=_(
                "The same seed with the same settings gives the same painting; another seed gives another."
            ),
            kind="seed",
            least=int(FIELDS["seed"].least),
            most=int(FIELDS["seed"].most),
        ),
        Setting(
            name="evaluations",
            label=_("Evaluations"),
            tip=_("Number of steps of the painting, in place of the effort. 0: as many as the effort says."),
            kind="number",
            most=MOST_EVALUATIONS,
            step=10,
            advanced=True,
            steerable=True,
        ),
    )


def setting(name: str) -> Setting:
    """Return the setting for a field of `Choices`.

    Raises:
        KeyError: there is none.
    """
    for each in settings():
        if each.name == name:
            return each
    raise KeyError(name)


def check_choices(choices: Choices) -> None:
    """Check that every choice is in its range.

    Raises:
        ToldError: one is not; it names the setting.
    """
    for each in settings():
        value = getattr(choices, each.name)
        if each.kind == "choice":
            if value not in [word.value for word in each.words]:
                raise ToldError(
                    _("{setting} cannot be {value}.").format(setting=each.label, value=cut(str(value))),
                    _("Choose one of: {choices}.").format(
                        choices=", ".join(word.value for word in each.words)
                    ),
                )
        elif not isinstance(value, int) or isinstance(value, bool) or not each.least <= value <= each.most:
            raise ToldError(
                _("{setting} cannot be {value}.").format(setting=each.label, value=cut(str(value))),
                _("Enter a whole number from {least} to {most}.").format(least=each.least, most=each.most),
            )


def _words(values: tuple[str, ...]) -> tuple[Word, ...]:
    told = {
        "draft": (_("Draft"), _("A quick look")),
        "standard": (_("Standard"), _("A good picture")),
        "fine": (_("Fine"), _("The best quality, with at least two and a half times the work of Standard")),
        "style": (_("From the style"), _("The painting has the style's colours")),
        "luminance": (
            _("My own (paint lightness only)"),
            _("Only the lightness is painted; your colours are kept"),
        ),
        "matched": (_("My own (match the style)"), _("The style's colours are first matched to yours")),
    }
    # A word that a newer server's table has is shown as it is.
    return tuple(Word(value, *told.get(value, (value.capitalize(), ""))) for value in values)
