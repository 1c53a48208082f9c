"""The picture of the demo's stream: stripes that move, noise that costs bits, and a clock burnt in.

A screenshot of any player then proves three things by itself: which rendition plays, that it moves, and where it is.

Map:
    Painter(width, height, label).frame(n)   frame n as one yuv420p array, ready for the encoder
    GLYPHS                                   a 5x7 letter set, so that no font file is needed
"""

import numpy as np
import numpy.typing as npt

type Plane = npt.NDArray[np.uint8]

# Rows from top to bottom, five bits each; only the letters that the picture needs.
GLYPHS: dict[str, str] = {
    "0": "0E 11 13 15 19 11 0E",
    "1": "04 0C 04 04 04 04 0E",
    "2": "0E 11 01 02 04 08 1F",
    "3": "1F 02 04 02 01 11 0E",
    "4": "02 06 0A 12 1F 02 02",
    "5": "1F 10 1E 01 01 11 0E",
    "6": "06 08 10 1E 11 11 0E",
    "7": "1F 01 02 04 08 08 08",
    "8": "0E 11 11 0E 11 11 0E",
    "9": "0E 11 11 0F 01 02 0C",
    ":": "00 04 04 00 04 04 00",
    ".": "00 00 00 00 00 0C 0C",
    "/": "00 01 02 04 08 10 00",
    " ": "00 00 00 00 00 00 00",
    "A": "0E 11 11 1F 11 11 11",
    "C": "0E 11 10 10 10 11 0E",
    "D": "1C 12 11 11 11 12 1C",
    "E": "1F 10 10 1E 10 10 1F",
    "F": "1F 10 10 1E 10 10 10",
    "M": "11 1B 15 15 11 11 11",
    "N": "11 11 19 15 13 11 11",
    "O": "0E 11 11 11 11 11 0E",
    "P": "1E 11 11 1E 10 10 10",
    "R": "1E 11 11 1E 14 12 11",
}

_MARGIN = 64  # how far the noise may be shifted, so that no two frames carry the same


def _text(words: str, scale: int) -> Plane:
    """The words as white on black, each dot `scale` pixels wide, with a margin of two dots."""
    rows = np.zeros((7 + 4, 6 * len(words) + 3), np.uint8)
    for place, letter in enumerate(words):
        for row, bits in enumerate(bytes.fromhex(GLYPHS[letter])):
            for column in range(5):
                rows[row + 2, 6 * place + 2 + column] = bits >> (4 - column) & 1
    return np.kron(rows * 219 + 16, np.ones((scale, scale), np.uint8)).astype(np.uint8)


class Painter:
    """Paints the frames of one rendition; everything that does not change is made once."""

    def __init__(self, width: int, height: int, label: str, frames_a_second: int, noise: int) -> None:
        self._width, self._height, self._label, self._rate = width, height, label, frames_a_second
        dice = np.random.default_rng(height)
        across = np.arange(width * 2)[None, :] + np.arange(height)[:, None]
        self._stripes = (70 + 50 * np.sin(across * (2 * np.pi / (width / 8)))).astype(np.uint8)
        self._noise = dice.integers(0, max(1, noise), (height + _MARGIN, width + _MARGIN), np.uint8)
        self._shifts = dice.integers(0, _MARGIN, (4096, 2))
        hue = np.arange(width)[None, :] * (2 * np.pi / width) + np.zeros((height // 2, 1))
        self._blue = (128 + 50 * np.sin(hue)).astype(np.uint8)
        self._red = (128 + 50 * np.cos(hue)).astype(np.uint8)
        self._name = _text(label, height // 90)

    def frame(self, number: int) -> Plane:
        """Frame `number` of the loop, as the planes Y, U and V under one another."""
        width, height = self._width, self._height
        picture: Plane = np.empty((height * 3 // 2, width), np.uint8)
        step = number * (width // 160) % (width // 8)
        down, right = self._shifts[number % len(self._shifts)]
        luma = picture[:height]
        np.add(self._stripes[:, step : step + width], self._noise[down : down + height, right : right + width], luma)
        self._sweep(luma, number)
        second = number // self._rate
        clock = f"{second // 60:02d}:{second % 60:02d}.{number % self._rate:02d} FRAME {number:04d}"
        self._put(luma, self._name, height // 12, width // 20)
        self._put(luma, _text(clock, height // 120), height * 3 // 4, width // 20)
        turn = number * (width // 320) % (width // 2)
        chroma = picture[height:].reshape(2, height // 2, width // 2)
        chroma[0] = self._blue[:, turn : turn + width // 2]
        chroma[1] = self._red[:, turn : turn + width // 2]
        return picture

    def _sweep(self, luma: Plane, number: int) -> None:
        """A white bar that crosses the picture once a second, like the hand of a clock."""
        left = number % self._rate * self._width // self._rate
        luma[self._height // 2 : self._height * 5 // 8, left : left + self._width // 40] = 235

    @staticmethod
    def _put(luma: Plane, words: Plane, top: int, left: int) -> None:
        high, wide = words.shape
        luma[top : top + high, left : left + wide] = words[:, : luma.shape[1] - left]
