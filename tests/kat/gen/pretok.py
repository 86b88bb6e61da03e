#!/usr/bin/env python3
"""Writes tests/kat/pretok.json: how the reference patterns split texts, by the `regex` package.

    python3 tests/kat/gen/pretok.py > tests/kat/pretok.json

The patterns are the published ones of GPT-2 (Radford et al. 2019), Qwen 2 and Llama 3, as their
tokenizer.json files have them. "smollm" splits off every digit first, then applies GPT-2's.
Lengths of the pieces are in UTF-8 bytes.
"""
import json
import random

import regex

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
NEWER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {"gpt-2": GPT2, "qwen2": NEWER % r"\p{N}", "llama-bpe": NEWER % r"\p{N}{1,3}"}
ATOMS = (
    ["a", "Bc", "def", "é", "東京", "я", "ß", "0", "12", "3456", "½", "٣", ".", ",", "!?", "-", "'"]
    + ["'s", "'S", "'re", "'LL", "'d", "_", "€", "🙂", "\u0301", " ", " ", "  ", "   ", "\t", "\n"]
    + ["\r\n", "\n\n", " \n", "\u00a0", "\u3000", "\u2028"]
)
TEXTS = ["", " ", "\n", "Hello world", "I'm YOU'RE he'd", "x  =  1234567;\n\n\tif (a) {\n", "'"]


def split(kind, text):
    if kind == "smollm":
        parts = [p for p in regex.split(r"(\p{N})", text) if p]
        return [q for p in parts for q in split("gpt-2", p)]
    return regex.findall(PATTERNS[kind], text)


def main():
    rng = random.Random(1)
    texts = TEXTS + ["".join(rng.choices(ATOMS, k=rng.randint(2, 14))) for _ in range(300)]
    rows = []
    for text in texts:
        row = {"text": text}
        for kind in ["gpt-2", "smollm", "qwen2", "llama-bpe"]:
            pieces = split(kind, text)
            assert "".join(pieces) == text
            row[kind] = [len(p.encode()) for p in pieces]
        rows.append(json.dumps(row))
    print("[\n" + ",\n".join(rows) + "\n]")


main()
