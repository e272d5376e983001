"""Texts that a peer chose, as people are shown them."""

UNSEEN = "\N{REPLACEMENT CHARACTER}"


def visible(text: str, most: int | None = None) -> str:
    """The text with a mark for each character that isn't printable, cut to so many characters.

    What turns the direction of writing would turn what stands beside it, and what is invisible lets one name look like
    another.
    """
    cut = text[:most]
    return cut if cut.isprintable() else "".join(each if each.isprintable() else UNSEEN for each in cut)
