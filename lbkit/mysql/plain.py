"""The fast look at a statement: it knows the plain common form, and nothing else.

Strategy: most statements that a program sends are a SELECT with a few functions, or an INSERT, UPDATE or
DELETE, written by an ORM. A few passes over their bytes in C (find, split, translate), one look-up of their
words in a set, and one look-up for each parenthesis say so. A backslash, a variable, a quoted name before a
parenthesis, a word that may lock or write, a function that is not known: each is for the tokenizer of
`statements`, which decides, and takes some ten times as long. What is said here it says, too.

Rejected: one regular expression over the text, which costs more than the tokens of a short statement.
"""

from __future__ import annotations

import re

from lbkit.mysql.words import CALLABLE, MORE_THAN_READS

__all__ = ["plain_form"]

_QUOTED = re.compile(rb"'[^']*'|`[^`]*`|\"[^\"]*\"")
_HIDDEN = re.compile(
    rb"'[^']*'|`[^`]*`|\"[^\"]*\"|(/\*(?!M?!).*?\*/|--(?=[\x00-\x20]|\Z)[^\n]*|#[^\n]*)", re.DOTALL
)
_COMMA, _DOT = b",."


def _folded(byte: int) -> int:
    """Words in upper case, all blanks alike, and a comma for whatever else stands between words."""
    if byte >= 0x80:
        return byte
    if chr(byte).isalnum() or chr(byte) in "_$.`'\"(;":
        return ord(chr(byte).upper())
    return 0x20 if byte in b" \t\n\r\v\f" else _COMMA


_FOLD = bytes(_folded(byte) for byte in range(256))
# Digits, too, as a number may end where a word begins: ``WHERE a = 1.FOR UPDATE``.
_TO_WORDS = bytes(0x20 if byte in b",(0123456789" else byte for byte in range(256))
_CALLABLE = frozenset(name.encode() for name in CALLABLE)
_MORE = frozenset(
    form.encode() for word in MORE_THAN_READS for form in (word, f".{word}", f"{word}.", f".{word}.")
)
_LOCKING = {"FOR UPDATE": {b"FOR", b"UPDATE"}, "FOR SHARE": {b"FOR", b"SHARE"}}
_VERBS = {verb.encode(): verb for verb in ("SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE")}
_LONGEST_VERB = len("REPLACE ")


def plain_form(sql: str) -> str:
    """What *sql* is: ``SELECT`` for a plain read, ``FOR UPDATE`` or ``FOR SHARE`` for one that locks and does
    no more, ``INSERT``, ``UPDATE``, ``DELETE`` or ``REPLACE`` for one such statement that leaves nothing
    behind in the session; empty where more has to be looked at."""
    if "\\" in sql or "@" in sql or "\0" in sql or (":" in sql and ":=" in sql):
        return ""
    try:
        text = sql.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return ""
    has_lines = "#" in sql or ("-" in sql and "--" in sql)
    if has_lines or ("/" in sql and "/*" in sql):
        if text.lower().find(b"lbkit") >= 0 or (
            has_lines and b"--\x7f" in text
        ):  # a hint, maybe, or a comment
            return ""
        text = (not has_lines and _without_one_comment(text)) or _HIDDEN.sub(_stand_in, text)
        if text.find(b"/*") >= 0 or text.find(b"*/") >= 0:
            return ""
    text = text.translate(_FOLD)
    # `find` takes two thirds of the time of `in`.
    if text.find(b"_SCHEMA") >= 0 or text.find(b"MYSQL") >= 0 or text.find(b"SYS") >= 0:
        return ""  # one of `words.ONE_SERVERS`, maybe
    if text.find(b".NEXTVAL") >= 0 or text.find(b".CURRVAL") >= 0:
        return ""  # a sequence, under MariaDB's sql_mode ORACLE
    if text.find(b"'") >= 0 or text.find(b"`") >= 0 or text.find(b'"') >= 0:
        text = _without_quoted(text)
        if text.find(b"'") >= 0:
            return ""
    if not text.isascii() or text.find(b"..") >= 0:
        return ""
    if text.find(b";") >= 0:
        text = text.rstrip(b"; ")
        if b";" in text:
            return ""
    if text[:1] == b" " or text[:1] == b"(":
        text = text.lstrip(b" (")
    verb = _VERBS.get(text[:_LONGEST_VERB].partition(b" ")[0], "")
    if verb == "SELECT":
        return _read(text)
    if not verb or b"_LOCK" in text or b"LAST_INSERT_ID" in text:
        return ""
    return verb


def _without_one_comment(text: bytes) -> bytes:
    """*text*, that has no comments to a line's end, with a blank for its only one, a plain ``/* */`` such as
    tools add; else empty. It begins outside of what is quoted, because before it one kind of quotes pairs."""
    before, _, rest = text.partition(b"/*")
    inside, end, after = rest.partition(b"*/")
    if not end or inside.startswith((b"!", b"M!")):
        return b""
    singles, doubles, ticks = before.count(b"'"), before.count(b'"'), before.count(b"`")
    if (singles | doubles | ticks) & 1 or (singles > 0) + (doubles > 0) + (ticks > 0) > 1:
        return b""
    return b" ".join((before, after))


def _without_quoted(text: bytes) -> bytes:
    """*text* with a word for each string and quoted name; where quotes do not pair there is a ' in it."""
    if text.find(b'"') >= 0 or (text.find(b"`") >= 0 and text.find(b"'") >= 0):
        text = _QUOTED.sub(b" $ ", text)
        return b"'" if b"`" in text or b'"' in text else text
    pieces = text.split(b"`" if text.find(b"`") >= 0 else b"'")
    return b" $ ".join(pieces[::2]) if len(pieces) & 1 else b"'"


def _stand_in(found: re.Match[bytes]) -> bytes:
    """A blank for a comment, a word for a string; a quoted name stays, for it may be that of a schema."""
    if found[1] is not None:
        return b" "
    return found[0] if found[0][:1] == b"`" else b" $ "


def _read(text: bytes) -> str:
    """`plain_form` of a SELECT, folded and without what is quoted."""
    form = "SELECT"
    more = _MORE.intersection(text.translate(_TO_WORDS).split())
    if more:
        form = "FOR UPDATE" if b"UPDATE" in more else "FOR SHARE"
        at = text.find(b" FOR ")
        if at < 0 or more != _LOCKING[form] or text.find(b" FOR ", at + 4) >= 0:
            return ""
        if text[at + 5 :].partition(b" ")[0] not in more or text[:at].rstrip()[-1:] == b".":
            return ""
        if text.find(b".FOR") >= 0 or text.find(b"_LOCK") >= 0 or text.find(b"LAST_INSERT_ID") >= 0:
            return ""
    pieces = text.split(b"(")
    del pieces[-1]
    for piece in pieces:
        before = piece.rstrip()
        if not before or before[-1] == _COMMA:
            continue
        last = before.replace(b",", b" ").rsplit(None, 2)
        if last[-1] not in _CALLABLE or (len(last) > 1 and last[-2][-1] == _DOT):
            return ""
    return form
