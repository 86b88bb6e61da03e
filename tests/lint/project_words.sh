#!/usr/bin/env bash
# project_words.sh ROOT - the tree holds no machine-specific absolute paths and no private keys.
set -u
cd "$1" || exit 1
bad=$(grep -rnIE '(/home/[a-z]+/|/ro[o]t/|-----BEGIN (EC )?PRIVATE KEY-----)' \
  --include='*' --exclude-dir=.git --exclude-dir='build*' --exclude-dir=lint . | head -20)
if [ -n "$bad" ]; then
  echo "machine paths or keys in the tree:"
  echo "$bad"
  exit 1
fi
echo "words: clean"
