"""What a statement may do, told from its text: may a replica answer it?

Strategy: a tokenizer that knows comments, strings and quoted names, and lists of what is known to be
harmless. Whatever is not on a list goes to the primary, which is always right and only slower: a stored
function may write, an unknown keyword may lock, an odd string may end elsewhere under another sql_mode.
A full SQL grammar was rejected: two dialects in several versions, to gain only a few rare statements.

What is plain is known by a faster look (`plain`), in 2 to 5 µs; the tokenizer takes 10 to 50 µs. Texts are
cached, because programs send the same ones again with other arguments (which are substituted later and are
never looked at here).

A comment ``/* lbkit:primary */`` anywhere sends a statement to the primary, for a read that must not be late.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from lbkit.mysql.plain import plain_form
from lbkit.mysql.words import (
    CALLABLE,
    COMMITTING_SAFE,
    GLOBAL_VARIABLES,
    ONE_SERVERS,
    READ_VERBS,
    SCHEMA_VIEWS,
    SHOWN_SCHEMA,
    SIMPLE_VERBS,
)

__all__ = ["Statement", "classify"]

CACHE_SIZE = 2048
LONGEST_CACHED = 10_000  # characters; a longer text is most likely a bulk insert that is sent once


@dataclass(frozen=True, slots=True)
class Statement:
    """What is known of one statement.

    `reads`: a replica may answer it. `reason`: why, or why not. `changes_session`: the connection
    must be reset before somebody else uses it. `may_commit`: it may end an open transaction.
    """

    reads: bool
    reason: str = ""
    changes_session: bool = False
    may_commit: bool = False


_READ = Statement(reads=True, reason="a plain read")
_PLAIN = {
    "SELECT": _READ,
    **{form: Statement(False, f"{form} takes locks") for form in ("FOR UPDATE", "FOR SHARE")},
    **{verb: Statement(False, f"{verb} is not a read") for verb in ("INSERT", "UPDATE", "DELETE", "REPLACE")},
}
_HINTED = Statement(False, "a hint asks for the primary")
_HINT = re.compile(r"/\*\s*lbkit:primary\s*\*/", re.IGNORECASE)

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<executed>/\*M?!)
    | (?P<comment>/\*.*?\*/ | \#[^\n]* | --(?=[\x00-\x20]|\Z)[^\n]*)
    | (?P<string>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*")
    | (?P<quoted>`(?:[^`]|``)*`)
    | (?P<system>@@(?:`[^`]*`|[\w$.])+)
    | (?P<variable>@(?:`[^`]*`|'[^']*'|"[^"]*"|[\w$.]*))
    | (?P<number>\d[\d.]*(?:[eE][+-]?\d+)?)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<unclosed>/\*|'|"|`)
    | (?P<mark>:=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME = "`name`"  # stands for any quoted name
_TEXT = "'text'"  # stands for any string
_TEXT_OR_NAME = '"text"'  # which of them depends on the sql_mode


class _Doubt(Exception):
    """Why the primary must answer."""

    def __init__(self, reason: str, changes_session: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.changes_session = changes_session


def classify(sql: str) -> Statement:
    """What *sql* may do; any text gets an answer, in doubt that of a write."""
    return _classify(sql) if len(sql) > LONGEST_CACHED else _cached(sql)


def _classify(sql: str) -> Statement:
    return _PLAIN.get(plain_form(sql)) or _by_tokens(sql)


def _by_tokens(sql: str) -> Statement:
    try:
        tokens, is_hinted = _tokens(sql)
    except _Doubt as doubt:
        return Statement(False, doubt.reason, changes_session=True, may_commit=True)
    verb = next((token for token in tokens if token != "("), "")
    may_commit = verb not in COMMITTING_SAFE
    try:
        _require_read(verb, tokens)
    except _Doubt as doubt:
        simple = verb in SIMPLE_VERBS and "TEMPORARY" not in tokens
        changes = doubt.changes_session or not simple or _touches_session(tokens)
        return Statement(False, doubt.reason, changes, may_commit)
    return _HINTED if is_hinted else _READ


_cached = functools.lru_cache(CACHE_SIZE)(_classify)


def _tokens(sql: str) -> tuple[list[str], bool]:
    """Upper-case words and marks, quoted things as stand-ins, no comments; and whether one was a hint."""
    found: list[str] = []
    is_hinted = False
    if "--\x7f" in sql:
        raise _Doubt("a comment, for servers that count a delete as a control character")
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup
        text = match.group()
        if kind == "comment":
            is_hinted = is_hinted or _HINT.fullmatch(text) is not None
            continue
        if kind == "space":
            continue
        if kind == "executed":
            raise _Doubt("a comment that the server executes")
        if kind == "unclosed":
            raise _Doubt("a quote or comment that is not closed")
        if kind == "string":
            if "\\" in text:
                raise _Doubt("a backslash in a string, which ends elsewhere under NO_BACKSLASH_ESCAPES")
            found.append(_TEXT if text[0] == "'" else _TEXT_OR_NAME)
        elif kind == "quoted":
            name = text[1:-1].upper()
            told = name in ONE_SERVERS or found[-2:] == ["INFORMATION_SCHEMA", "."]
            found.append(name if told else _NAME)
        else:
            found.append(text.upper() if text.isascii() else text)  # an upper ſ is an S
    while found and found[-1] == ";":
        found.pop()
    return found, is_hinted


def _require_read(verb: str, tokens: list[str]) -> None:
    if ";" in tokens:
        raise _Doubt("several statements", changes_session=True)
    if verb not in READ_VERBS:
        raise _Doubt(f"{verb or 'an empty statement'} is not a read")
    if verb == "SHOW" and ("OPEN" in tokens[1:2] or not SHOWN_SCHEMA.intersection(tokens[1:3])):
        raise _Doubt("SHOW of something that is not the same on every server")
    if verb in ("EXPLAIN", "DESCRIBE", "DESC") and "ANALYZE" in tokens:
        raise _Doubt("EXPLAIN ANALYZE runs the statement")
    if verb == "WITH":
        _require_reading_body(tokens)
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        if not _is_part_of_a_name(tokens, index):
            _require_harmless(token, following)
        if following == "(":
            _require_known_call(tokens, index)
        elif following == "." and token in ONE_SERVERS:
            _require_schema_view(token, tokens[index + 2 : index + 3])


def _require_reading_body(tokens: list[str]) -> None:
    """After its named queries, WITH has a verb outside all parentheses."""
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if depth == 0 and token in ("SELECT", "TABLE", "VALUES"):
            return
        if depth == 0 and token in ("UPDATE", "DELETE", "INSERT", "REPLACE"):
            break
    raise _Doubt("WITH before something that is not a plain SELECT")


def _is_part_of_a_name(tokens: list[str], index: int) -> bool:
    """Whether a word is no keyword because of a dot, as in ``t.lock``. Sequences may stand there, too, under
    MariaDB's sql_mode ORACLE."""
    if tokens[index][0] == "@":
        return False
    if tokens[index + 1 : index + 2] == ["."]:
        return True
    if tokens[index] in ("NEXTVAL", "CURRVAL"):
        return False
    name = tokens[index - 2] if index > 1 and tokens[index - 1] == "." else ""
    return name[:1].isalpha() or name[:1] == "_" or name in (_NAME, _TEXT_OR_NAME)


def _require_harmless(token: str, following: str) -> None:
    if token[0] == "@":
        if not token.startswith("@@"):
            raise _Doubt("a user variable, which lives in one session", changes_session=True)
        if not (token.startswith("@@GLOBAL.") or token[2:] in GLOBAL_VARIABLES):
            raise _Doubt(f"{token} belongs to one session")
    elif token in ("INTO", "SQL_CALC_FOUND_ROWS", "PROCEDURE", "NEXTVAL", "LASTVAL", "CURRVAL", ":="):
        if not (token == "PROCEDURE" and following in ("STATUS", _NAME)):
            raise _Doubt(f"{token} is more than a read", changes_session=True)
    elif token == "FOR" and following in ("UPDATE", "SHARE"):
        raise _Doubt(f"FOR {following} takes locks")
    elif token == "FOR" and following == "CONNECTION":
        raise _Doubt("EXPLAIN FOR CONNECTION asks about one server's connection")
    elif token == "LOCK" and following == "IN":
        raise _Doubt("LOCK IN SHARE MODE takes locks")
    elif token in ("VALUE", "VALUES") and following == "FOR":
        raise _Doubt("a sequence")


def _require_schema_view(schema: str, following: list[str]) -> None:
    if schema != "INFORMATION_SCHEMA" or not SCHEMA_VIEWS.intersection(following):
        raise _Doubt(f"{schema.lower()} tells of one server")


def _require_known_call(tokens: list[str], index: int) -> None:
    name = tokens[index]
    qualified = index > 0 and tokens[index - 1] == "."
    if not (name[0].isalpha() or name[0] == "_" or name in (_NAME, _TEXT_OR_NAME)):
        return  # a mark, a number or a string before a parenthesis calls nothing
    if not qualified and name in CALLABLE:
        return
    if not qualified and _names_columns(tokens, index + 1):
        return
    called = "a stored" if qualified or name in (_NAME, _TEXT_OR_NAME) else name
    raise _Doubt(f"{called} function may do more than read", changes_session=True)


def _names_columns(tokens: list[str], opening: int) -> bool:
    """Whether the parenthesis lists the columns of a named query: ``WITH seq (n) AS (…)``."""
    if tokens[0] != "WITH":
        return False
    try:
        closing = tokens.index(")", opening)
    except ValueError:
        return False
    return tokens[closing + 1 : closing + 3] == ["AS", "("]


def _touches_session(tokens: list[str]) -> bool:
    """Whether a simple statement names variables, takes a lock by name, or sets LAST_INSERT_ID(x)."""
    for index, token in enumerate(tokens):
        if token[0] == "@" or token.endswith(("_LOCK", "_LOCKS")):
            return True
        if token == "LAST_INSERT_ID" and tokens[index + 1 : index + 3] != ["(", ")"]:
            return True
    return False
