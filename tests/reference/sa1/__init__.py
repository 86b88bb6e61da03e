"""SA-1 a second time: written from proto/PROTOCOL.md alone, sharing no code with proto/.

Clause numbers in the comments are those of PROTOCOL.md. Needs numpy and cryptography (38 or later).
"""
