"""Spambase (Hopkins et al. 1999): 4601 mails, 57 features, from the Debian package r-cran-kernlab."""

import bz2
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path("/usr/lib/R/site-library/kernlab/data/spam.rda")
MISSING = f"no {PATH}: Debian's package r-cran-kernlab has it"


class Kind(IntEnum):
    """Of R's objects, those that are read here."""

    SYMBOL, PAIRS, TEXT, WHOLE, REAL, TEXTS, LIST, NIL, REFERENCE = 1, 2, 9, 13, 14, 16, 19, 254, 255


class Unserialized:
    """R's binary format, version 2 in big-endian XDR, as far as a data frame of numbers and a factor needs it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place, self.symbols = data, 0, list[str]()

    def numbers(self, form: str, count: int) -> Any:
        """So many numbers of a struct's form."""
        found = np.frombuffer(self.data, np.dtype(f">{form}"), count, self.place)
        self.place += found.nbytes
        return found

    def whole(self) -> int:
        """The next int32."""
        return int(self.numbers("i4", 1)[0])

    def item(self) -> Any:
        """The next object: an array, a text, a list, or a dict of a pairlist; of attributes only names are kept."""
        flags = self.whole()
        kind = flags & 255
        match kind:
            case Kind.NIL:
                return None
            case Kind.REFERENCE:
                return self.symbols[(flags >> 8) - 1]
            case Kind.SYMBOL:
                self.symbols.append(self.item())
                return self.symbols[-1]
            case Kind.PAIRS:
                found = {}
                while kind != Kind.NIL:
                    name = self.item() if flags & 1024 else ""
                    found[name] = self.item()
                    flags = self.whole()
                    kind = flags & 255
                return found
            case Kind.TEXT:
                length = self.whole()
                return self.numbers("u1", length).tobytes().decode() if length >= 0 else ""
            case Kind.WHOLE | Kind.REAL:
                found = self.numbers("i4" if kind == Kind.WHOLE else "f8", self.whole())
            case Kind.TEXTS | Kind.LIST:
                found = [self.item() for _ in range(self.whole())]
            case _:
                raise ValueError(f"type {kind} of R's objects is not read here")
        attributes = self.item() if flags & 512 else {}
        return (
            dict(zip(attributes["names"], found, strict=True)) if kind == Kind.LIST and "names" in attributes else found
        )


def spam() -> tuple[Any, Any]:
    """(features (4601, 57), each scaled to [0, 1]; labels (4601,), 1 for spam, else -1)."""
    data = bz2.decompress(PATH.read_bytes())
    magic = data[:7]
    if magic != b"RDX2\nX\n":
        raise ValueError(f"{PATH} begins with {magic!r}: expected R's binary format, version 2")
    reader = Unserialized(data)
    reader.place = len(magic) + 12  # Three versions.
    table = reader.item()["spam"]
    labels = table.pop("type")
    features = np.array(list(table.values())).T
    low, high = features.min(0), features.max(0)
    return ((features - low) / (high - low)).astype(np.float32), np.where(labels == 2, 1, -1).astype(np.float32)
