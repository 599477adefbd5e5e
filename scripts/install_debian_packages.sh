#!/bin/sh
# Installs what the app's browser tests and screenshots need from Debian or Ubuntu: Chromium. Does nothing where it is there already.
set -eu

missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"

if [ -z "$missing" ]; then
    echo "Everything is installed."
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing:$missing. This script knows Debian and Ubuntu; install them with your system's own package manager." >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "Missing:$missing. Installing them needs root: sudo $0" >&2
    exit 1
fi
apt-get update -q
# shellcheck disable=SC2086 # names, one word each
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
