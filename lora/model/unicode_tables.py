#!/usr/bin/env python3
"""Writes lora/model/unicode_tables.inc: code point ranges of the classes that pre-tokenizers use.

    python3 lora/model/unicode_tables.py > lora/model/unicode_tables.inc

Letters are general categories L*, numbers N*, from Python's unicodedata. White space is the
White_Space property (PropList.txt), which Python does not hold as such and which is listed here.
"""
import unicodedata

WHITE_SPACE = (
    list(range(0x09, 0x0E))
    + [0x20, 0x85, 0xA0, 0x1680]
    + list(range(0x2000, 0x200B))
    + [0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
)


def ranges(points):
    out = []
    for p in points:
        if out and p == out[-1][1] + 1:
            out[-1][1] = p
        else:
            out.append([p, p])
    return out


def category(prefix):
    return [p for p in range(0x110000) if unicodedata.category(chr(p)).startswith(prefix)]


def table(name, points):
    items = [f"{{0x{a:x}, 0x{b:x}}}" for a, b in ranges(points)]
    print(f"static const code_range {name}[] = {{")
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            print(line)
            line = "   "
        line += f" {item},"
    print(line)
    print("};\n")


print("/* unicode_tables.inc - made by unicode_tables.py from Unicode", unicodedata.unidata_version)
print(" * (data files copyright Unicode, Inc., www.unicode.org/terms_of_use.html). Do not edit. */\n")
table("LETTERS", category("L"))
table("NUMBERS", category("N"))
table("SPACES", WHITE_SPACE)
