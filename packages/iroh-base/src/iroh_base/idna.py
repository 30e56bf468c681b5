"""Domain names outside ASCII: UTS 46 "to ASCII", non-transitional, as URLs use it.

    map each character (case fold, compatibility forms, ignorable ones dropped), then NFC
    split at "."
    "xn--…"         decode the punycode (RFC 3492); it must already be in mapped form
    any label       no combining mark in front, no character that is not a letter, mark, number,
                    punctuation or symbol; joiners only after a virama (RFC 5892 appendix A)
    any RTL label   the whole domain obeys the bidi rule (RFC 5893 section 2)
    encode          labels outside ASCII become "xn--" and punycode

The mapping table of UTS 46 is derived from Unicode's NFKC_Casefold; here it is computed from
`unicodedata` instead of shipped. Two limits follow: characters newer than the interpreter's
Unicode are refused, and so is a ZERO WIDTH NON-JOINER between letters of a joining script.
"""

import unicodedata

__all__ = ["to_ascii"]

PREFIX = "xn--"
# ICU-13727, as in Rust's crate idna: punycode is quadratic, so its input is bounded.
_MAX_DECODE = 2000
_MAX_ENCODE = 1000
_VIRAMA_CLASS = 9
_ZWNJ, _ZWJ = "‌", "‍"
# Deviation characters, which non-transitional processing keeps (UTS 46 section 4).
_KEPT = frozenset(("ß", "ς", _ZWNJ, _ZWJ))
_SPECIAL = {"ẞ": "ß", "。": ".", "．": ".", "｡": "."}
# Status "ignored" of the UTS 46 table.
_IGNORED = frozenset(
    map(
        chr,
        (
            0xAD, 0x34F, 0x180B, 0x180C, 0x180D, 0x180F, 0x200B, 0x2060, 0x2064, 0xFEFF,
            *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x1BCA0, 0x1BCA4),
        ),
    )
)  # fmt: skip
_BAD_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"))
# Disallowed although their category is fine: ideographic description and replacement characters.
_DISALLOWED = frozenset(map(chr, (*range(0x2FF0, 0x3000), 0xFFFC, 0xFFFD, 0x1806)))
_RTL = frozenset(("R", "AL", "AN"))
_RTL_ALLOWED = frozenset(("R", "AL", "AN", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"))
_LTR_ALLOWED = frozenset(("L", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"))


def to_ascii(domain: str) -> str:
    """The ASCII form of `domain`, in lower case; `ValueError` if it has none."""
    labels = [_decode_label(label) for label in _map(domain).split(".")]
    if any(_is_rtl(label) for label in labels):
        for label in labels:
            _check_bidi(label)
    return ".".join(_encode_label(label) for label in labels)


def _map(text: str) -> str:
    """The mapping and normalisation steps of UTS 46 section 4."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", "".join(map(_map_char, text)))


def _map_char(char: str) -> str:
    if char in _KEPT:
        return char
    if char in _IGNORED:
        return ""
    if char in _SPECIAL:
        return _SPECIAL[char]
    mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", char).casefold())
    return unicodedata.normalize("NFKC", mapped.casefold())


def _decode_label(label: str) -> str:
    """The label in Unicode, checked."""
    if not label.startswith(PREFIX):
        if not label.isascii():
            _check_label(label)
        return label
    encoded = label[len(PREFIX) :]
    if not encoded.isascii() or len(encoded) > _MAX_DECODE:
        raise ValueError("bad punycode in a domain name")
    try:
        decoded = encoded.encode().decode("punycode")
    except UnicodeError as error:
        raise ValueError("bad punycode in a domain name") from error
    if decoded.isascii() or _map(decoded) != decoded:
        raise ValueError("a punycode label of a domain name is not in its canonical form")
    _check_label(decoded)
    return decoded


def _encode_label(label: str) -> str:
    if label.isascii():
        return label
    if len(label) > _MAX_ENCODE:
        raise ValueError("a label of the domain name is too long")
    return PREFIX + label.encode("punycode").decode()


def _check_label(label: str) -> None:
    """The validity criteria of UTS 46 section 4.1, with CheckHyphens off."""
    if label and unicodedata.category(label[0]).startswith("M"):
        raise ValueError("a label of the domain name begins with a combining mark")
    for index, char in enumerate(label):
        if char in (_ZWJ, _ZWNJ):
            if index == 0 or unicodedata.combining(label[index - 1]) != _VIRAMA_CLASS:
                raise ValueError("a joiner in a place where domain names do not allow it")
        elif char in _DISALLOWED or unicodedata.category(char) in _BAD_CATEGORIES:
            raise ValueError(f"U+{ord(char):04X} is not allowed in a domain name")


def _is_rtl(label: str) -> bool:
    return any(unicodedata.bidirectional(char) in _RTL for char in label)


def _check_bidi(label: str) -> None:
    """The six conditions of RFC 5893 section 2."""
    if not label:
        return
    classes = [unicodedata.bidirectional(char) for char in label]
    ending = next((c for c in reversed(classes) if c != "NSM"), "")
    if classes[0] in ("R", "AL"):
        good = set(classes) <= _RTL_ALLOWED and ending in ("R", "AL", "EN", "AN")
        good = good and not ("EN" in classes and "AN" in classes)
    else:
        good = classes[0] == "L" and set(classes) <= _LTR_ALLOWED and ending in ("L", "EN")
    if not good:
        raise ValueError("the domain name mixes writing directions in a way that is not allowed")
