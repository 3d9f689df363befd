"""Content types by file name.

A table of our own: what a host keeps in /etc/mime.types must not decide what a browser is told, and
the standard library's table changes with the version of Python.
"""

from __future__ import annotations

__all__ = ["content_type", "is_compressible"]

_UNKNOWN = "application/octet-stream"

# IANA media types registry; the W3C's and browsers' usage where the registry names several.
_TYPES = {
    "aac": "audio/aac",
    "apng": "image/apng",
    "atom": "application/atom+xml",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "bz2": "application/x-bzip2",
    "css": "text/css",
    "csv": "text/csv",
    "epub": "application/epub+zip",
    "flac": "audio/flac",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonld": "application/ld+json",
    "jxl": "image/jxl",
    "m4a": "audio/mp4",
    "m4v": "video/mp4",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "video/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "rss": "application/rss+xml",
    "rtf": "application/rtf",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "toml": "application/toml",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xml": "application/xml",
    "xsl": "application/xslt+xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}


_COMPRESSIBLE = (
    "text/",
    "application/atom+xml",
    "application/geo+json",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/rss+xml",
    "application/toml",
    "application/wasm",
    "application/xhtml+xml",
    "application/xml",
    "application/xslt+xml",
    "application/yaml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
)


def is_compressible(media_type: bytes) -> bool:
    """Whether files of this type get smaller by compression: text, and what is like it."""
    return media_type.decode("latin-1").startswith(_COMPRESSIBLE)


def content_type(name: bytes) -> bytes:
    """The media type for the file *name*; text carries ``charset=utf-8``."""
    extension = name.rpartition(b".")[2].lower().decode("latin-1") if b"." in name else ""
    media_type = _TYPES.get(extension, _UNKNOWN)
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    return media_type.encode("ascii")
