"""A page as a test reads it, and the faults that no page may have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr", "rect", "line", "path"}
UNLABELLED = {"hidden", "submit", "button"}


@dataclass
class Page(HTMLParser):
    """What a linter and a test look for. Feed it once."""

    text: str
    titles: list[str] = field(default_factory=list)
    h1: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    fields: list[dict[str, str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    lang: str = ""
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._open.append(tag)
        if "id" in has:
            self.ids.append(has["id"])
        if "style" in has or any(name.startswith("on") for name in has):
            self.inline.append(f"<{tag}>")
        if tag == "style" or (tag == "script" and "src" not in has):
            self.inline.append(f"<{tag}>")
        if tag == "html":
            self.lang = has.get("lang", "")
        if tag == "label":
            self.labels.add(has.get("for", ""))
        if tag in ("input", "select", "textarea"):
            self.fields.append({"tag": tag, **has})
        if tag == "a":
            self.links.append(has.get("href", ""))
        if tag == "form":
            self.forms.append(has)
        if tag in ("h1", "title"):
            (self.h1 if tag == "h1" else self.titles).append("")
        self.targets += [name for key in ("aria-describedby", "aria-labelledby") for name in has.get(key, "").split()]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID and self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if "h1" in self._open:
            self.h1[-1] += data
        if "title" in self._open and "svg" not in self._open:
            self.titles[-1] += data
        if not {"script", "style", "title"} & set(self._open):
            self.words.append(data)

    @property
    def plain(self) -> str:
        """All that is read, blanks as one."""
        return " ".join(" ".join(self.words).split())

    @property
    def value_of(self) -> dict[str, str]:
        """The values of its fields by name."""
        return {each["name"]: each.get("value", "") for each in self.fields if "name" in each}

    def faults(self) -> list[str]:
        """What is wrong with it: empty for a good page."""
        found = []
        if len(self.h1) != 1 or not self.h1[0].strip():
            found.append(f"{len(self.h1)} headings of the first level")
        if len(self.titles) != 1 or not self.titles[0].strip():
            found.append("no title")
        if not self.lang:
            found.append("no language")
        found += [f"id {name!r} twice" for name, count in Counter(self.ids).items() if count > 1]
        found += [f"inline script or style at {place}" for place in self.inline]
        for item in self.fields:
            named = item.get("id") in self.labels or item.get("aria-label")
            if item.get("type") not in UNLABELLED and not named:
                found.append(f"field {item.get('name')!r} has no label")
        found += [f"{name!r} is named, but is not there" for name in set(self.targets) - set(self.ids)]
        for form in self.forms:
            if form.get("method", "get").lower() == "post" and "csrf_token" not in self.value_of:
                found.append(f"form to {form.get('action', 'itself')} has no token")
        return found
