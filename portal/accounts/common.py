"""Passwords that are on everybody's list, or are made by a pattern that everybody knows (NIST SP 800-63B, 3.1.1.2)."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

_LIST = Path(__file__).with_name("common_passwords.txt")
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "0123456789", "qwertyuiopasdfghjklzxcvbnm", "1qaz2wsx3edc4rfv5tgb6yhn7ujm")
_FILLING = re.compile(r"[\W\d_]+")


@lru_cache(maxsize=1)
def _lists() -> tuple[frozenset[str], frozenset[str]]:
    whole, _mark, words = _LIST.read_text(encoding="utf-8").partition("# words\n")
    return frozenset(whole.splitlines()[1:]), frozenset(words.split())


def is_common(password: str) -> bool:
    """True for a listed password, one common word with figures around it or said again, and for a run of keys.

    Several different words are not common, however usual each of them is: that is the advice that people get.
    """
    whole, words = _lists()
    text = password.strip().casefold()
    if text in whole or len(set(text)) < 4 or _is_run(text):
        return True
    parts = {part for part in _FILLING.split(text) if part}
    if len(parts) > 1:
        return False
    letters = next(iter(parts), "")
    # Figures and signs alone of this length are a number that means something to somebody only if they do not repeat.
    return _once(letters) in words or (not letters and len(_once(text)) < len(text))


def _is_run(text: str) -> bool:
    return any(text in row * 3 or text[::-1] in row * 3 for row in _ROWS)


def _once(text: str) -> str:
    """The shortest beginning that the text repeats: `pass` of `passpass`."""
    return text[: (text + text).find(text, 1)] if text else text
