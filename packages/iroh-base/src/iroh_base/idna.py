"""Domain names outside ASCII: UTS 46 "to ASCII", non-transitional, as URLs use it.

    map each character (case fold, compatibility forms, ignorable ones dropped), then NFC
    split at "."
    "xn--…"         decode the punycode (RFC 3492); it must already be in mapped form
    any label       no combining mark in front, no character that is not a letter, mark, number,
                    punctuation or symbol; joiners only after a virama or, the non-joiner,
                    between Arabic letters that would join (RFC 5892 appendix A)
    any RTL label   the whole domain obeys the bidi rule (RFC 5893 section 2)
    encode          labels outside ASCII become "xn--" and punycode

The mapping table of UTS 46 is derived from Unicode's NFKC_Casefold; here it is computed from
`unicodedata` instead of shipped. Two limits follow: characters newer than the interpreter's
Unicode are refused, and so is a ZERO WIDTH NON-JOINER between letters of joining scripts other
than Arabic.
"""

import re
import unicodedata

__all__ = ["to_ascii"]

PREFIX = "xn--"
# Punycode is quadratic, so its input is bounded (ICU-13727, as in Rust's crate idna); the bound is
# on the whole name here, which DNS limits to 253 characters anyway.
_MAX_LENGTH = 1000
_VIRAMA_CLASS = 9
_ZWNJ, _ZWJ = "\u200c", "\u200d"
# Joining types D and R of the Arabic blocks (Unicode, ArabicShaping.txt).
_DUAL = (
    "\u0620\u0626\u0628\u062a-\u062e\u0633-\u063f\u0641-\u0647\u0649\u064a\u066e\u066f"
    "\u0679-\u0687\u069a-\u06bf\u06c1\u06c2\u06cc\u06ce\u06d0\u06d1\u06fa-\u06fc\u06ff"
    "\u0750-\u0758\u075c-\u076a\u076d-\u0770\u0772\u0775-\u0777\u077a-\u077f"
)
_RIGHT = (
    "\u0622-\u0625\u0627\u0629\u062f-\u0632\u0648\u0671-\u0673\u0675-\u0678\u0688-\u0699"
    "\u06c0\u06c3-\u06cb\u06cd\u06cf\u06d2\u06d3\u06d5\u06ee\u06ef\u0759-\u075b\u076b\u076c"
    "\u0771\u0773\u0774\u0778\u0779"
)
_JOINED = re.compile(f"[{_DUAL}]{_ZWNJ}[{_DUAL}{_RIGHT}]")
# Deviation characters, which non-transitional processing keeps (UTS 46 section 4).
_KEPT = frozenset(("ß", "ς", _ZWNJ, _ZWJ))
_SPECIAL = {"ẞ": "ß", "。": ".", "．": ".", "｡": "."}
# Status "ignored" of the UTS 46 table: most of Unicode's default ignorable code points.
_IGNORED = frozenset(
    map(
        chr,
        (
            0xAD, 0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x200B, 0x2060,
            *range(0x2061, 0x2065), *range(0x206A, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF,
            0xFFA0, *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0100, 0xE01F0),
        ),
    )
)  # fmt: skip
_BAD_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"))
# Disallowed although their category is fine: ideographic description and replacement characters.
_DISALLOWED = frozenset(map(chr, (*range(0x2FF0, 0x3000), 0x31EF, 0xFFFC, 0xFFFD)))
_RTL = frozenset(("R", "AL", "AN"))
_RTL_ALLOWED = frozenset(("R", "AL", "AN", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"))
_LTR_ALLOWED = frozenset(("L", "EN", "ES", "CS", "ET", "ON", "BN", "NSM"))


def to_ascii(domain: str) -> str:
    """The ASCII form of `domain`, in lower case; `ValueError` if it has none."""
    mapped = _map(domain)
    if mapped.isascii() and PREFIX not in mapped:
        return mapped
    if len(mapped) > _MAX_LENGTH:
        raise ValueError("the domain name is too long")
    labels = [_decode_label(label) for label in mapped.split(".")]
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
    if char in _KEPT or char == ".":
        return char
    if char in _IGNORED:
        return ""
    if char in _SPECIAL:
        return _SPECIAL[char]
    mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", char).casefold())
    mapped = unicodedata.normalize("NFKC", mapped.casefold())
    # A "1." or "..." in one character would cut a label in two, so the table has none of them.
    if "." in mapped or "。" in mapped:
        raise ValueError(f"U+{ord(char):04X} is not allowed in a domain name")
    return mapped


def _decode_label(label: str) -> str:
    """The label in Unicode, checked."""
    if not label.startswith(PREFIX):
        if not label.isascii():
            _check_label(label)
        return label
    encoded = label[len(PREFIX) :]
    if not encoded.isascii():
        raise ValueError("bad punycode in a domain name")
    try:
        decoded = encoded.encode().decode("punycode")
    except UnicodeError as error:
        raise ValueError("bad punycode in a domain name") from error
    # Encoding it again must give the same, as must mapping it: one name has one spelling.
    if decoded.isascii() or _encode_label(decoded) != label or _map(decoded) != decoded:
        raise ValueError("a punycode label of a domain name is not in its canonical form")
    _check_label(decoded)
    return decoded


def _encode_label(label: str) -> str:
    return label if label.isascii() else PREFIX + label.encode("punycode").decode()


def _check_label(label: str) -> None:
    """The validity criteria of UTS 46 section 4.1, with CheckHyphens off."""
    if label and unicodedata.category(label[0]).startswith("M"):
        raise ValueError("a label of the domain name begins with a combining mark")
    for index, char in enumerate(label):
        if char in (_ZWJ, _ZWNJ):
            if not _joiner_allowed(label, index):
                raise ValueError("a joiner in a place where domain names do not allow it")
        elif char in _DISALLOWED or unicodedata.category(char) in _BAD_CATEGORIES:
            raise ValueError(f"U+{ord(char):04X} is not allowed in a domain name")


def _joiner_allowed(label: str, index: int) -> bool:
    """RFC 5892 appendices A.1 and A.2."""
    if index and unicodedata.combining(label[index - 1]) == _VIRAMA_CLASS:
        return True
    # Marks are transparent to joining; without them the two letters are next to the joiner.
    before, after = _without_marks(label[:index]), _without_marks(label[index + 1 :])
    return _JOINED.fullmatch(before[-1:] + label[index] + after[:1]) is not None


def _without_marks(text: str) -> str:
    return "".join(char for char in text if unicodedata.category(char) != "Mn")


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
