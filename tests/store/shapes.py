"""Shapes of statements that a Citus cluster refuses, told from a statement's text.

Which ones: decision 7 (tried on a cluster), and the checks of Citus' planner (`multi_router_planner.c`,
`TargetlistAndFunctionsSupported` and `ErrorIfOnConflictNotSupported`). Our own rule is stricter in one thing: whatever
changes rows names its app.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from postbacks.store.schema import metadata

TABLES = "|".join(metadata.tables)
_REFERENCE = re.compile(
    rf"\b(?:FROM|JOIN|USING|UPDATE)\s+(?:ONLY\s+)?({TABLES})\b(?!\s*\()(?:\s+(?:AS\s+)?"
    r"(?!WHERE|SET|ON|LEFT|CROSS|JOIN|ORDER|GROUP|LIMIT|FOR|USING|RETURNING|UNION|VALUES|SELECT)(\w+))?",
    re.IGNORECASE,
)
_ONE_APP = r"app_id = (?:\$\d+|'[^']*')"
_VOLATILE = re.compile(r"\b(random|clock_timestamp|timeofday|gen_random_uuid|uuidv7|nextval)\s*\(", re.IGNORECASE)
_OF_TIME = r"(?:now\(\)|current_timestamp|localtimestamp)"


def plain(statement: str) -> str:
    """On one line, without comments."""
    return re.sub(r"\s+", " ", re.sub(r"--[^\n]*", " ", statement)).strip().rstrip(";")


def touches_us(statement: str) -> bool:
    return bool(re.search(rf'\b(?:{TABLES})\b"?', statement)) and bool(
        re.match(r"(WITH|SELECT|INSERT|UPDATE|DELETE|COPY|MERGE|EXPLAIN)\b", plain(statement), re.IGNORECASE)
    )


def refused(statement: str) -> list[str]:
    """Why a cluster would refuse the statement; empty where it takes it."""
    text = plain(statement)
    return sorted(set(_reasons(text)))


def _reasons(text: str) -> Iterator[str]:
    if copied := re.match(r'COPY (?:"?public"?\.)?"?\w+"?\s*\(\s*"?(\w+)', text):
        if copied[1] != "app_id":
            yield "a COPY names the app first"
        return
    for scope in _scopes(text):
        yield from _locking(scope)
        yield from _conflicts(scope)
        yield from _updating(scope)
        yield from _deleting(scope)
        yield from _inserting(scope)
    yield from _laterals(text)
    for part in re.split(r"\bUNION ALL\b(?![^()]*\))", text):
        yield from _joining(part)


def _scopes(text: str) -> list[str]:
    """The text of each query in parentheses, and of the whole, with `‹›` in place of the queries inside."""
    found: list[str] = []
    whole = text
    while match := _innermost_query(whole):
        found.append(match[0][1:-1].strip())
        whole = whole[: match.start()] + "‹›" + whole[match.end() :]
    return [*found, whole]


def _innermost_query(text: str) -> re.Match[str] | None:
    """A query in parentheses that holds no other query."""
    for match in re.finditer(r"\(\s*(?:WITH|SELECT|INSERT|UPDATE|DELETE)\b", text, re.IGNORECASE):
        end = _closing(text, match.start())
        inside = text[match.start() + 1 : end]
        if not re.search(r"\(\s*(?:WITH|SELECT|INSERT|UPDATE|DELETE)\b", inside, re.IGNORECASE):
            return re.compile(re.escape(text[match.start() : end + 1])).search(text, match.start())
    return None


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    raise ValueError(text)


def _locking(scope: str) -> Iterator[str]:
    if re.search(r"\bFOR (?:NO KEY )?UPDATE\b|\bFOR (?:KEY )?SHARE\b", scope) and not re.search(_ONE_APP, scope):
        yield "FOR UPDATE goes to one shard only"


def _laterals(text: str) -> Iterator[str]:
    for match in re.finditer(r"\bLATERAL\s*\(", text):
        if not re.search(_ONE_APP, text[match.end() : _closing(text, match.end() - 1)]):
            yield "LATERAL takes the app as one parameter"


def _conflicts(scope: str) -> Iterator[str]:
    target = re.search(r"\bON CONFLICT\s*\(\s*(\w+)", scope)
    if target and target[1] != "app_id":
        yield "a conflict is found within the app"
    change = re.search(r"\bDO UPDATE SET (.*?)(?:\bWHERE\b|\bRETURNING\b|$)", scope)
    if change and re.search(rf"\w+\s*\(|{_OF_TIME}", change[1]):
        yield "DO UPDATE SET calls no function but immutable ones"
    if change and re.search(r"(?:^|, )app_id =", change[1]):
        yield "the app of a row does not change"


def _updating(scope: str) -> Iterator[str]:
    match = re.search(rf"\bUPDATE (?:{TABLES})\b(?: (?!SET)\w+)? SET (.*)$", scope)
    if not match:
        return
    body = match[1]
    changes = re.split(r"\b(?:FROM|WHERE|RETURNING)\b", body)[0]
    if re.search(r"(?:^|, )app_id =", changes):
        yield "the app of a row does not change"
    yield from _functions(body)
    yield from _named(body)


def _deleting(scope: str) -> Iterator[str]:
    match = re.search(rf"\bDELETE FROM (?:{TABLES})\b(.*)$", scope)
    if match:
        yield from _functions(match[1])
        yield from _named(match[1])


def _functions(body: str) -> Iterator[str]:
    if _VOLATILE.search(body):
        yield "a change calls no volatile function"
    for match in re.finditer(r"\bcoalesce\s*\(", body, re.IGNORECASE):
        if re.search(_OF_TIME, body[match.end() : _closing(body, match.end() - 1)]):
            yield "no now() in COALESCE or CASE"
    if any(re.search(_OF_TIME, found) for found in re.findall(r"\bCASE\b.*?\bEND\b", body)):
        yield "no now() in COALESCE or CASE"
    if re.search(rf"{_OF_TIME}\s*[-+](?!\s*(?:\$\d|interval\b|'|\())", body) or re.search(
        rf"\b\w+\s*[-+]\s*{_OF_TIME}", body
    ):
        yield "no sum of now() and a column"
    returned = re.search(r"\bRETURNING (.*)$", body)
    if returned and re.search(_OF_TIME, returned[1]):
        yield "RETURNING gives no now()"


def _named(body: str) -> Iterator[str]:
    if not re.search(_ONE_APP, body):
        yield "a change names its app"


def _inserting(scope: str) -> Iterator[str]:
    match = re.search(rf"\bINSERT INTO (?:{TABLES})(?: AS \w+)? \(\s*(\w+)(.*)$", scope)
    if not match:
        return
    if match[1] != "app_id":
        yield "an INSERT names the app first"
    if not re.search(r"\b(?:SELECT|VALUES \() ?(?:\$\d|'')", match[2]):
        yield "an INSERT is for one app"
    if re.search(r"\bVALUES\b.*‹›", match[2]):
        yield "VALUES holds no query"


def _joining(part: str) -> Iterator[str]:
    read = [(match[1], match[2]) for match in _REFERENCE.finditer(part)]
    if len(read) < 2:
        return
    bound = len(re.findall(rf"(?<![.\w]){_ONE_APP}", part))
    unnamed = 0
    for _, alias in read:
        if alias and re.search(rf"\b{alias}\.app_id", part):
            if not re.search(
                rf"\b{alias}\.{_ONE_APP}|\b{alias}\.app_id = \w+\.app_id|\w\.app_id = {alias}\.app_id", part
            ):
                yield "tables are joined within the app"
        else:
            unnamed += 1
    if unnamed > bound:
        yield "tables are joined within the app"
