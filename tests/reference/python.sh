#!/usr/bin/env bash
# python.sh SCRIPT [ARGUMENTS] - runs a script with the first Python that has numpy and cryptography:
# $SHOAL_PYTHON, the one on the path, Debian's. Exit code 77, visibly, when there is none.
set -u
for python in "${SHOAL_PYTHON:-}" python3 /usr/bin/python3; do
  [ -n "$python" ] || continue
  "$python" -c 'import numpy, cryptography' 2>/dev/null && exec env PYTHONDONTWRITEBYTECODE=1 "$python" "$@"
done
echo "skipped: no Python with numpy and cryptography (Debian: python3-numpy python3-cryptography)" >&2
exit 77
