#!/usr/bin/env bash
# install-packages.sh [build|test|bench|arm] - installs the Debian packages that Shoal, its tests or its
# benchmarks' peers need, if any is missing. Needs root or sudo, and only when something is missing.
# Used by run.sh here, by tests/run.sh and by tests/bench/run.sh.
set -euo pipefail

build="gcc libc6-dev cmake ninja-build pkg-config git ca-certificates python3 python3-pip
 libcurl4-openssl-dev libmbedtls-dev libssl-dev libprotobuf-c-dev protobuf-c-compiler libuv1-dev
 libhttp-parser-dev libjansson-dev libyaml-dev libsqlite3-dev libqrencode-dev libzstd-dev"
test="$build libcmocka-dev clang clang-format curl libclang-rt-14-dev valgrind libcurl3-gnutls
 nghttp2-proxy python3-numpy python3-cryptography"

bench="$build g++ python3-venv"
# The cross compiler for 64-bit ARM, its emulator, and the libraries of the tests for it.
arm="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user libcmocka-dev:arm64 libjansson-dev:arm64"

case "${1:-build}" in
build) want=$build ;;
test) want=$test ;;
bench) want=$bench ;;
arm) want=$arm ;;
*) echo "usage: $0 [build|test|bench|arm]" >&2; exit 2 ;;
esac

missing=""
for p in $want; do
  # A program already on the path counts: python3 may come from elsewhere than Debian.
  case $p in
  gcc | g++ | cmake | git | python3 | clang | clang-format | curl)
    command -v "$p" >/dev/null && continue ;;
  ninja-build) command -v ninja >/dev/null && continue ;;
  python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
  python3-pip) python3 -m pip --version >/dev/null 2>&1 && continue ;;
  esac
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q "ok installed" || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "error: these packages are missing and apt-get is not here:$missing" >&2
  echo "hint: install their counterparts with your system's package manager, then run again" >&2
  exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "error: root or sudo is needed to install:$missing" >&2; exit 1; }
  sudo="sudo"
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
case $missing in
*:arm64*) $sudo dpkg --add-architecture arm64 ;;
esac
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
