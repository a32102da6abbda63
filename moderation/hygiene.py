"""What a posted text must not carry whatever its words: invisible characters, links, pings, empty-looking bodies.

Knows how Telegram and Discord turn plain text into links and pings; the adapters still forbid both on the wire.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from moderation.verdict import Category

_BLANKS = frozenset("\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_GLUE = frozenset("\u200c\u200d")
_JOINERS = _GLUE | frozenset("\ufe0e\ufe0f")  # spelling in Persian and Indic scripts, and inside emoji

_SCHEME = r"(?i:\b[a-z][a-z0-9+.-]{1,14}://|\b(?:mailto|tel|sms|javascript|data|magnet|tg|skype):(?=\S))"
_ENDINGS = (
    "com|net|org|info|biz|edu|gov|io|gg|co|uk|de|fr|es|ru|cn|jp|br|pl|nl|eu|au|ca|ch|at|se|dk|fi|gr|tr|ua|in|tv|xyz|top|site|online"
    "|shop|club|live|app|dev|link|click|fun|icu|vip|win|bid|page|tech|store|blog|cloud|ly|gl|cc|ws|su|tk|ml|ga|cf|gq|onion|zip|mov"
)
_HOST = r"(?!(?i:asp|ado|vb|ml)\.net\b)(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,5}"
_LINK = re.compile(
    rf"{_SCHEME}\S{{0,2000}}|(?i:\bwww\.[\w-]{{1,63}}\.\S{{1,200}})"
    rf"|(?<![\w.@-]){_HOST}(?i:(?:{_ENDINGS})\b(?!\.[^\W\d_])|[^\W\d_]{{2,12}}(?=/\w))(?::\d{{1,5}})?(?:/\S{{0,2000}})?"
)
_MASKED_LINK = re.compile(r"\[[^\]\n]{1,200}\]\s{0,3}\(\s{0,3}<?[^)\n]{1,500}\)|<a\s[^>\n]{1,500}>", re.IGNORECASE)
_INVITE = re.compile(
    r"(?:discord(?:app)?\.com/invite|discord\.(?:gg|io|me|li|link)|dsc\.gg|invite\.gg|(?:t|telegram)\.(?:me|dog)/(?:joinchat|\+|addlist|c/)"
    r"|(?:t|telegram)\.(?:me|dog)|tg://(?:join|resolve|addlist)|chat\.whatsapp\.com)(?:[/?]|\b)",
    re.IGNORECASE,
)
_SPOKEN_INVITE = re.compile(r"(?:discord|dsc)\s?(?:\.|dot|\(dot\)|\[dot\])\s?gg\b", re.IGNORECASE)
_PING = re.compile(r"<(?:@[!&]?|#)\d{1,20}>|</[^>\n]{1,64}:\d{1,20}>|<id:\w{1,20}>|[@＠]+(?=\w)")
_COMMAND = re.compile(r"(?:(?<=\s)|^)/+(?=[^\W\d])")
_DOMAIN_TAIL = re.compile(r"^(?:[^/\s]{0,200}@)?([^/\s:?#]{1,253})")


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that forbids posting the text."""

    category: Category
    rule: str
    span: tuple[int, int]


def strip_invisible(text: str) -> str:
    """The text without controls, direction overrides and other invisible characters; doing it twice changes nothing."""
    if text.isascii() and text.isprintable():
        return text.strip()
    kept: list[str] = []
    for character in text:
        if character in "\n\t" or _is_shown(character) or (character in _JOINERS and kept and _may_join(kept[-1])):
            kept.append(character)
        elif character in "\r\u0085\u2028\u2029\x0b\x0c" and kept and kept[-1] != "\n":
            kept.append("\n")
    while kept and (kept[-1] in _GLUE or kept[-1].isspace()):
        kept.pop()
    return "".join(kept).strip()


def _is_shown(character: str) -> bool:
    if character in _BLANKS or character in _JOINERS:
        return False
    category = unicodedata.category(character)
    return category[0] != "C" and category not in {"Zl", "Zp"}


def _may_join(before: str) -> bool:
    """After a letter of a script that needs joiners, or after a symbol that emoji are made of."""
    return (before not in _JOINERS and not before.isascii() and not before.isspace()) or before in "#*0123456789\ufe0f"


def looks_empty(text: str) -> bool:
    """Whether a reader would see nothing."""
    return not any(not character.isspace() and _is_shown(character) and not _is_mark(character) for character in text)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def find_flaws(text: str, allowed_domains: Collection[str]) -> Iterator[Flaw]:
    """Invites, masked links and links outside the allowed domains."""
    for pattern in (_INVITE, _SPOKEN_INVITE):
        for match in pattern.finditer(text):
            if not _is_allowed(match[0], allowed_domains):
                yield Flaw(Category.INVITE, "hygiene:invite", match.span())
    for match in _MASKED_LINK.finditer(text):
        yield Flaw(Category.MARKUP, "hygiene:masked_link", match.span())
    for match in _LINK.finditer(text):
        if not _is_allowed(match[0], allowed_domains):
            yield Flaw(Category.LINK, "hygiene:link", match.span())


def _is_allowed(link: str, allowed_domains: Collection[str]) -> bool:
    scheme, found, rest = link.partition("://")
    if found and scheme.lower() not in {"http", "https"}:
        return False
    match = _DOMAIN_TAIL.match(rest if found else link)
    host = match[1].lower().rstrip(".") if match else ""
    return any(host == domain or host.endswith("." + domain) for domain in allowed_domains)


def neutralise_pings(text: str) -> str:
    """The text without platform mentions and commands: `@name` becomes `name`, `<@1>` disappears.

    A hashtag stays: it pings nobody. Repeated until nothing is left that removing the outer shell would uncover.
    """
    while True:
        cleaned = _COMMAND.sub("", _PING.sub("", text))
        if cleaned == text:
            return text
        text = cleaned
