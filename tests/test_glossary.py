"""The vocabulary: each term of docs/glossary.md is used, and no private word stands where the field has a term."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from test_references import TEXTS, text_of
from tree import FILES, of_each, parsed

GLOSSARY = text_of(Path("docs/glossary.md"))
TERMS = re.findall(r"^\*\*(.+?)\*\*: ((?:.+\n)+)", GLOSSARY, re.MULTILINE)

PRIVATE = {
    r"doors?": "a connection",
    r"ways? in": "a connection",
    r"life|lives": "an incarnation",
    r"(?:its|their|our|own|fresher|freshest|each|first|last|no|'s|the) word": "a record or an update",
    r"what is said": "training, or the message",
    r"conced(?:es?|ed|ing)": "apply an offer",
    r"g(?:ives?|ave|iving) way": "yield",
    r"seen? through": "completed",
    r"bells?": "a wake-up",
    r"ears?": "receive",
    r"blam(?:es?|ed|ing)": "count a malformed message",
    r"nags?": "a rate-limited warning",
    r"deaf": "unusable",
    r"patien(?:ce|t)": "a timeout estimate",
    r"settl(?:es?|ed|ing)": "drain",
    r"linger(?:s|ed|ing)?": "a grace period",
    r"same face": "the same interface",
}
"""Private word: the term in its place (DESIGN 4)."""

ALLOWED = {
    r"--(?:settle|linger|patience)\b|\bAGENT_(?:SETTLE|LINGER|PATIENCE)\b": "flags that users type",
    r"\.(?:settle|linger|patience)\b|\b(?:settle|linger|patience)\b(?=: |\s*=)": "their settings",
    r"[\"'](?:settle|linger|patience)[\"']": "their names",
    r"\b(?:SO_)?LINGER\b": "a socket option",
    r"\bsettling\b": "a state of a member, as users read it in JSON",
    r"\bways? in which\b": "ordinary English",
    r", way in\b": "Python: for name, way in ...",
}
"""What may stand all the same: why."""

NOT_NAMES = {"say", "tell", "hear", "word", "quiet"}
"""Nothing of ours is called so: `publish`, `receive`, `record`, `drain` say what is done."""


@cache
def in_words(text: str) -> str:
    """The text in lower case with identifiers taken apart: LifeTape and MAX_LIVES have the words life and lives."""
    for allowed in ALLOWED:
        text = re.sub(allowed, lambda match: " " * len(match[0]), text)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "\N{THIN SPACE}", text)
    return text.replace("_", " ").lower()


def private_words(text: str) -> list[str]:
    """Each line's private words, as "line: word (term)"."""
    text, found = in_words(text), []
    for word, term in PRIVATE.items():
        for match in re.finditer(rf"\b(?:{word})\b".replace(" ", r"\s+"), text):
            found.append((text.count("\n", 0, match.start()) + 1, f"{' '.join(match[0].split())} ({term})"))
    return [f"{line}: {what}" for line, what in sorted(found)]


@of_each([path for path in TEXTS if path.name != "test_glossary.py"])
def test_no_private_word_stands_where_the_field_has_a_term(path):
    assert private_words(text_of(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "a door",
        "LifeTape",
        "MAX_LIVES",
        "it gives\n    way",
        "_conceding",
        "PATIENCE_S",
        "has settled",
        "on_bell",
        "its\nword",
    ],
)
def test_private_words_are_found_in_identifiers_and_over_the_ends_of_lines(text):
    assert len(private_words(text)) == 1


@pytest.mark.parametrize(
    "text", ["a lifetime", "outdoors", "--settle 3", "self.linger", "in the way in which", "near", "for word in words"]
)
def test_ordinary_words_are_left_alone(text):
    assert private_words(text) == []


@of_each(FILES)
def test_names_say_what_is_done(path):
    named = {
        name.strip("_")
        for node in ast.walk(parsed(path))
        if isinstance(name := getattr(node, "name", None) or getattr(node, "arg", None), str)
    }
    assert named & NOT_NAMES == set()


def test_terms_are_sorted_and_defined_once_in_a_sentence_or_two():
    names = [name for name, _ in TERMS]
    assert names == sorted(set(names), key=str.lower)
    assert len(names) == GLOSSARY.count("\n**")
    for name, definition in TERMS:
        ends = re.findall(r"\.(?:\s|$)", definition)
        assert 1 <= len(ends) <= 2, f"{name}: {definition}"


USERS = [*FILES, Path("README.md"), Path("DESIGN.md")]


@pytest.mark.parametrize("term", [name for name, _ in TERMS])
def test_each_term_is_still_used(term):
    """In the packages, the README or the design, as it stands or inflected."""
    stem = re.escape(term.removesuffix("e")).replace(r"\ ", r"\s+")
    used = re.compile(rf"\b{stem}(?:e|y|s|es|ed|er|ing|ment|ments)?\b")
    assert any(used.search(in_words(text_of(path)).replace("\N{THIN SPACE}", " ")) for path in USERS), term
