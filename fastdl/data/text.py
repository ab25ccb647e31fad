"""The text of a file: unpacked where it is gzipped, decoded, and given back as UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path

from fastdl.data.source import opened
from fastdl.errors import InvalidValueError
from fastdl.messages import Advice, Argument, shown

# Marks at the beginning, longest first, and what they stand for.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SAMPLE = 4096
# Bytes that stand in no text of Windows-1252: control characters, and those without a meaning.
NO_TEXT = bytes([*range(9), 11, *range(14, 32), 127, 0x81, 0x8D, 0x8F, 0x90, 0x9D])


def utf8_of(path: Path, owner: str, encoding: str | None = None) -> tuple[bytes, str]:
    """The text of a file in UTF-8 without a mark, and a note on a guessed encoding (empty where nothing was guessed).

    UTF-16 and UTF-32 are known by their marks, UTF-16 without one by its zero bytes. What is not UTF-8 is read as
    Windows-1252, which contains Latin-1, where it may be that.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no text; with line and byte.
    """
    with opened(path, owner) as (file, _, _):
        content = file.read()
    if encoding is not None:
        return _decoded(content, encoding, path, owner), ""
    known = next((name for mark, name in MARKS.items() if content.startswith(mark)), None) or _utf_16(content)
    if known is not None and known != "utf-8-sig":
        return _decoded(content, known, path, owner), ""
    content = content.removeprefix(codecs.BOM_UTF8)
    at = content.find(b"\0")
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError as error:
            if _windows_1252(content, error):
                guess = f"{path} is not in UTF-8 and is read as Windows-1252; write "
                note = Advice(guess, Argument("encoding", ...), " if it is in another")
                return content.decode("cp1252").encode(), note
            at = error.start if at < 0 else min(at, error.start)
    if at >= 0:
        line, byte = content.count(b"\n", 0, at) + 1, at - content.rfind(b"\n", 0, at)
        place = f"{path}, line {line}, byte {byte}"
        raise InvalidValueError(owner, f"text in UTF-8 in {place}", f"the byte 0x{content[at]:02x}")
    return content, ""


def _decoded(content: bytes, encoding: str, path: Path, owner: str) -> bytes:
    try:
        text = content.decode(encoding)
    except LookupError:
        raise InvalidValueError(owner, "the name of an encoding", shown(encoding), argument="encoding") from None
    except UnicodeError as error:
        raise InvalidValueError(owner, f"text in {encoding} in {path}", f"other bytes: {str(error)[:80]}") from None
    if "\0" in text:
        raise InvalidValueError(owner, f"text in {path}", f"a zero character in {encoding}")
    return text.removeprefix("\ufeff").encode("utf-8", "replace")


def _utf_16(content: bytes) -> str | None:
    """The kind of UTF-16 in which mostly characters of ASCII stand, every other byte of them zero."""
    sample = content[:SAMPLE]
    low, high = sample[::2].count(0), sample[1::2].count(0)
    if len(content) % 2 or len(sample) < 4:
        return None
    if low == 0 and high > 0.7 * len(sample) / 2:
        return "utf-16-le"
    return "utf-16-be" if high == 0 and low > 0.7 * len(sample) / 2 else None


def _windows_1252(content: bytes, error: UnicodeDecodeError) -> bool:
    """Whether a text that is not UTF-8 may be Windows-1252: a damaged UTF-8 text, cut or with whole characters, is not."""
    cut = error.reason == "unexpected end of data"
    return not cut and content[: error.start].isascii() and len(content.translate(None, NO_TEXT)) == len(content)
