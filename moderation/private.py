"""Secrets and personal data: where they are in a text, by pattern and checksum.

Knows formats only. Times, dates, prices, scores, versions and platform ids look similar and stay.
Sources of the formats: the issuers' documentation; ISO 13616 (IBAN), ISO/IEC 7812 (card numbers), E.164 (phones).
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from moderation.verdict import Category

_CARD_DIGITS = {"4": (13, 16, 19), "5": (16,), "2": (16,), "34": (15,), "37": (15,), "35": (16,), "36": (14,)}
_IBAN_LENGTHS = range(15, 35)
_NUMERIC_VERSION = re.compile(
    r"(?:version|ver|v|build|release|section|firmware|kernel|python|chapter)[\s.:#]*$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One secret or piece of personal data; `kind` names the format and is safe to log."""

    category: Category
    kind: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Format:
    kind: str
    pattern: re.Pattern[str]
    valid: Callable[[str, str], bool] = lambda value, before: True
    group: int = 0


def find_private(text: str) -> list[Finding]:
    """Secrets and personal data in order, overlaps merged in favour of the secret."""
    found = [*_find(_SECRETS, Category.SECRET, text), *_find(_PERSONAL, Category.PERSONAL_DATA, text)]
    kept: list[Finding] = []
    for finding in sorted(found, key=lambda item: (item.category is not Category.SECRET, item.span)):
        if not any(finding.span[0] < other.span[1] and other.span[0] < finding.span[1] for other in kept):
            kept.append(finding)
    return sorted(kept, key=lambda item: item.span)


def redact(text: str, findings: Sequence[Finding]) -> str:
    """The text with each finding replaced by its kind in brackets."""
    pieces: list[str] = []
    done = 0
    for finding in findings:
        start, end = finding.span
        pieces.extend((text[done:start], f"[{finding.kind}]"))
        done = end
    return "".join((*pieces, text[done:]))


def _find(formats: Sequence[_Format], category: Category, text: str) -> Iterator[Finding]:
    for form in formats:
        for match in form.pattern.finditer(text):
            if form.valid(match[form.group], text[max(0, match.start() - 24) : match.start()]):
                yield Finding(category, form.kind, match.span(form.group))


def _digits(value: str) -> str:
    return "".join(character for character in value if character.isdigit())


def _is_card(value: str, before: str) -> bool:
    """Issuer prefix, length and the Luhn checksum."""
    digits = _digits(value)
    if not any(digits.startswith(prefix) and len(digits) in sizes for prefix, sizes in _CARD_DIGITS.items()) and not (
        digits.startswith(("6011", "65", "64", "62")) and len(digits) == 16
    ):
        return False
    doubled = (int(digit) * (1 + position % 2) for position, digit in enumerate(reversed(digits)))
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def _is_iban(value: str, before: str) -> bool:
    """Remainder 97 of the rearranged number is 1."""
    compact = re.sub(r"[ -]", "", value).upper()
    if len(compact) not in _IBAN_LENGTHS:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _is_address(value: str, before: str) -> bool:
    """An address of some machine on the internet: no version number, nobody's loopback or home network."""
    if _NUMERIC_VERSION.search(before):
        return False
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        home = ("10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12")
        if any(address in ipaddress.ip_network(network) for network in home):
            return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or value == "255.255.255.255")


def _is_international(value: str, before: str) -> bool:
    return 8 <= len(_digits(value)) <= 15


def _is_north_american(value: str, before: str) -> bool:
    """Area and exchange codes begin with 2 to 9; a number followed by a unit or in a version is none."""
    digits = _digits(value)[-10:]
    return digits[0] in "23456789" and digits[3] in "23456789" and not _NUMERIC_VERSION.search(before)


def _is_national(value: str, before: str) -> bool:
    return 9 <= len(_digits(value)) <= 12


def _is_announced(value: str, before: str) -> bool:
    return 7 <= len(_digits(value)) <= 15


def _is_social_security(value: str, before: str) -> bool:
    area, group, serial = value.split("-")
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def _format(kind: str, pattern: str, valid: Callable[[str, str], bool] | None = None, *, group: int = 0) -> _Format:
    compiled = re.compile(pattern)
    return _Format(kind, compiled, valid, group) if valid else _Format(kind, compiled, group=group)


_SECRETS = (
    _format("telegram token", r"(?<!\d)\d{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _format(
        "discord token", r"(?<![\w.-])(?:mfa\.[\w-]{80,90}|[A-Za-z0-9_-]{23,28}\.[\w-]{6,7}\.[\w-]{27,45})(?![\w-])"
    ),
    _format(
        "webhook", r"https?://(?:\w{1,10}\.)?discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/\d{15,21}/[\w-]{20,90}"
    ),
    _format("webhook", r"https://hooks\.slack\.com/(?:services|workflows)/[\w/-]{20,90}"),
    _format(
        "api key",
        r"(?<![A-Za-z0-9])(?:sk-(?:proj-|ant-|or-|live-|test-)?[\w-]{20,200}|(?:sk|rk|pk)_(?:live|test)_\w{16,120}"
        r"|gh[pousr]_\w{36,255}|github_pat_\w{22,255}|glpat-[\w-]{20,60}|xox[abeoprs]-[\w-]{10,250}|xapp-[\w-]{20,250}"
        r"|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{35}|ya29\.[\w-]{20,250}|hf_[A-Za-z0-9]{30,60}|npm_\w{36}|pypi-[\w-]{50,250}"
        r"|dop_v1_\w{64}|SG\.[\w-]{16,32}\.[\w-]{30,64}|key-[0-9a-f]{32}|r8_\w{37}|gsk_\w{40,60}|AC[0-9a-f]{32})(?![A-Za-z0-9])",
    ),
    _format("web token", r"\beyJ[\w-]{8,2000}\.eyJ[\w-]{8,2000}\.[\w-]{10,1000}"),
    _format(
        "private key", r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,8000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
    ),
    _format("password", r"\b\w{1,20}://[^\s/:@]{1,100}:([^\s/@]{1,100})@", group=1),
    _format(
        "password",
        r"(?i:\b(?:password|passwd|passphrase|pwd|api[_ -]?key|secret[_ -]?key"
        r"|access[_ -]?token|auth[_ -]?token|client[_ -]?secret"
        r"|bearer))(?: ?[:=] ?|(?<=[Bb]earer) )[\"']?([^\s\"']{6,200})",
        lambda value, before: any(character.isdigit() for character in value),
        group=1,
    ),
)
_LOCAL = r"[^\W_](?:[\w.+%'-]{0,62}[\w+%-])?"
_PERSONAL = (
    _format("e-mail", rf"(?<![\w.+%-]){_LOCAL}@[^\W_](?:[\w-]{{0,62}})(?:\.[^\W_][\w-]{{0,62}}){{1,5}}"),
    _format(
        "e-mail",
        r"(?i)(?<![\w.+%-])[^\W_][\w.+%-]{0,62} ?(?:[\[({<] ?(?:at|@) ?[\])}>]| @ | at ) ?[^\W_][\w-]{0,62}"
        r"(?: ?(?:[\[({<] ?(?:dot|\.) ?[\])}>]| \. ?| dot ) ?[^\W_][\w-]{1,30}){1,3}(?!\w)",
    ),
    _format(
        "e-mail",
        r"(?i)(?<![\w.+%-])[^\W_][\w.+%-]{0,62} ?[\[({<] ?(?:at|@) ?[\])}>] ?[^\W_][\w-]{0,62}(?:\.[a-z]{2,24}){1,3}\b",
    ),
    _format("e-mail", r"(?i)(?<![\w.+%-])[^\W_][\w.+%-]{0,62} @ [^\W_][\w-]{0,62}(?:\.[a-z]{2,24}){1,3}\b"),
    _format("card", r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d])", _is_card),
    _format(
        "iban", r"(?i)(?<![^\W_])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![^\W_])", _is_iban
    ),
    _format("ip address", r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)", _is_address),
    _format("ip address", r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", _is_address),
    _format("phone", r"(?<![\w+])(?:\+|00(?=[1-9]))[1-9](?:[ .()/-]{0,2}\d){7,14}(?!\d)", _is_international),
    _format("phone", r"(?<![\w.,$€£-])(?:1[ .-])?\(\d{3}\)[ .-]?\d{3}[ .-]\d{4}(?!\d)", _is_north_american),
    _format("phone", r"(?<![\w.,$€£+-])(?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4}(?![\d-]|\.\d)", _is_north_american),
    _format(
        "phone", r"(?<![\w.,:$€£+/-])\(?0[1-9]\d{0,4}\)?(?:[ ./-]{1,2}\d{2,8}){1,5}(?![\d:-]|[.,]\d)", _is_national
    ),
    _format("phone", r"(?<![\w.,:$€£+/-])0[1-9]\d{8,9}(?![\d:-]|[.,]\d)"),
    _format(
        "phone",
        r"(?i)\b(?:phone|tel|telephone|mobile|cell|whatsapp|call me|text me|ring me|my number|reach me)"
        r"(?: ?(?:number|no\.?|is|at|on|:|=|#)){0,3} ?"
        r"(\(?\d(?:[ .()-]{0,2}\d){6,14})(?!\d)",
        _is_announced,
        group=1,
    ),
    _format("social security number", r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])", _is_social_security),
)
