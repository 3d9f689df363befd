"""What a statement may do, told from its text: may a replica answer it?

Strategy: a tokenizer that knows comments, strings and quoted names, and lists of what is known to be
harmless. Whatever is not on a list goes to the primary, which is always right and only slower: a stored
function may write, an unknown keyword may lock, an odd string may end elsewhere under another sql_mode.
A full SQL grammar was rejected: two dialects in several versions, to gain only a few rare statements.

Cost: 5 to 50 µs for a new text; texts are cached, because programs send the same ones again with other
arguments (which are substituted later and are never looked at here).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from lbkit.mysql.words import (
    COMMITTING_SAFE,
    GLOBAL_VARIABLES,
    PURE_FUNCTIONS,
    READ_VERBS,
    SHOWN_SCHEMA,
    SIMPLE_VERBS,
    WORDS_BEFORE_PARENTHESIS,
)

__all__ = ["Statement", "classify"]

CACHE_SIZE = 2048
LONGEST_CACHED = 10_000  # characters; a longer text is most likely a bulk insert that is sent once


@dataclass(frozen=True, slots=True)
class Statement:
    """What is known of one statement.

    `reads`: a replica may answer it. `reason`: why not, "" for a read. `changes_session`: the connection
    must be reset before somebody else uses it. `may_commit`: it may end an open transaction.
    """

    reads: bool
    reason: str = ""
    changes_session: bool = False
    may_commit: bool = False


_READ = Statement(reads=True)

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<executed>/\*M?!)
    | (?P<comment>/\*.*?\*/ | \#[^\n]* | --(?=[\s\x00-\x1f]|\Z)[^\n]*)
    | (?P<string>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*")
    | (?P<quoted>`(?:[^`]|``)*`)
    | (?P<system>@@(?:`[^`]*`|[\w$.])+)
    | (?P<variable>@(?:`[^`]*`|'[^']*'|"[^"]*"|[\w$.]*))
    | (?P<word>[^\W\d][\w$]*|\d[\w.]*)
    | (?P<unclosed>/\*|'|"|`)
    | (?P<mark>:=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME = "`name`"  # stands for any quoted name
_TEXT = "'text'"  # stands for any string


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
    try:
        tokens = _tokens(sql)
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
    return _READ


_cached = functools.lru_cache(CACHE_SIZE)(_classify)


def _tokens(sql: str) -> list[str]:
    """Upper-case words and marks; quoted things as stand-ins, comments left out."""
    found: list[str] = []
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup
        text = match.group()
        if kind in ("space", "comment"):
            continue
        if kind == "executed":
            raise _Doubt("a comment that the server executes")
        if kind == "unclosed":
            raise _Doubt("a quote or comment that is not closed")
        if kind == "string":
            if "\\" in text:
                raise _Doubt("a backslash in a string, which ends elsewhere under NO_BACKSLASH_ESCAPES")
            found.append(_TEXT)
        elif kind == "quoted":
            found.append(_NAME)
        else:
            found.append(text.upper())
    while found and found[-1] == ";":
        found.pop()
    return found


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
        _require_harmless(token, following)
        if following == "(":
            _require_known_call(tokens, index)


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


def _require_known_call(tokens: list[str], index: int) -> None:
    name = tokens[index]
    qualified = index > 0 and tokens[index - 1] == "."
    if not (name[0].isalpha() or name[0] == "_" or name == _NAME):
        return  # a mark, a number or a string before a parenthesis calls nothing
    if not qualified and (name in PURE_FUNCTIONS or name in WORDS_BEFORE_PARENTHESIS):
        return
    if not qualified and _names_columns(tokens, index + 1):
        return
    called = "a stored" if qualified or name == _NAME else name
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
