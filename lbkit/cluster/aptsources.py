"""The machine's own package archive, read from apt's source files.

lbkit names no archive: the address, the key and the components come from what the machine's
administrator already trusts. Both formats are read: one-line `.list` and deb822 `.sources`
(sources.list(5)). Other suites of the same archive, such as Debian's sid, are asked for at the same
address with the same key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Distribution", "Source", "own_archive", "read_sources", "render"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """What /etc/os-release says: `family` is "debian", "ubuntu" or "" for anything else."""

    family: str
    codename: str
    name: str

    @classmethod
    def parse(cls, os_release: str) -> Distribution:
        """From the text of os-release(5); unknown systems get family ""."""
        fields = dict(re.findall(r'^([A-Z_]+)="?(.*?)"?$', os_release, re.MULTILINE))
        kin = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
        # Ubuntu's children name both, so the nearer relative is asked for first.
        family = next((word for word in ("ubuntu", "debian") if word in kin), "")
        codename = fields.get(f"{family.upper()}_CODENAME") or fields.get("VERSION_CODENAME", "")
        return cls(family, codename, fields.get("PRETTY_NAME", "this system"))


@dataclass(frozen=True, slots=True)
class Source:
    """One archive with its suites; `signed_by` is a path, an inline key block, or "" for apt's default."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def read_sources(folder: Path) -> list[Source]:
    """All binary sources below *folder* (/etc/apt), in apt's order; unreadable files are left out."""
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    found: list[Source] = []
    for file in files:
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        if file.suffix == ".sources":
            found += _deb822(text)
        elif file.suffix == ".list":
            found += _one_line(text)
    return found


def own_archive(sources: list[Source], distribution: Distribution) -> list[Source]:
    """The distribution's own sources, the main archive first; empty where none is set up.

    Other vendors' archives use the distribution's codename as their suite too, so an entry must
    also carry the distribution's component `main`, and entries signed with the distribution's own
    archive key come first.
    """
    code = distribution.codename
    own = {code, f"{code}-updates", f"{code}-security", f"{code}/updates"}
    if distribution.family == "debian":
        own |= {"stable", "testing", "unstable", "sid", "stable-updates", "stable-security"}
    kept = [
        replace(source, suites=tuple(suite for suite in source.suites if suite in own))
        for source in sources
        if "main" in source.components and own & set(source.suites)
    ]
    return sorted(kept, key=lambda source: (not _signed_by_distribution(source), _is_security(source)))


def render(sources: list[Source]) -> str:
    """*sources* as one deb822 file."""
    stanzas = []
    for source in sources:
        lines = [
            "Types: deb",
            f"URIs: {source.uri}",
            f"Suites: {' '.join(source.suites)}",
            f"Components: {' '.join(source.components)}",
        ]
        if source.signed_by:
            lines.append(f"Signed-By: {source.signed_by}")
        stanzas.append("\n".join(lines) + "\n")
    return "\n".join(stanzas)


def _signed_by_distribution(source: Source) -> bool:
    return re.search(r"(debian|ubuntu)-archive", source.signed_by) is not None


def _is_security(source: Source) -> bool:
    return all("security" in suite or suite.endswith("/updates") for suite in source.suites)


def _one_line(text: str) -> Iterator[Source]:
    pattern = re.compile(r"^\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>[^#\n]+)", re.MULTILINE)
    for match in pattern.finditer(text):
        uri, *words = match["rest"].split()
        if len(words) < 2:
            continue  # a flat archive ("deb URI ./") has no components
        options = dict(word.partition("=")[::2] for word in (match["options"] or "").split())
        yield Source(uri, (words[0],), tuple(words[1:]), options.get("signed-by", ""))


def _deb822(text: str) -> Iterator[Source]:
    without_comments = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields = {
            name.lower(): value.strip()
            for name, value in re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        for uri in fields.get("uris", "").split():
            yield Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                # An inline key keeps its continuation lines, which must stay indented.
                fields.get("signed-by", ""),
            )
