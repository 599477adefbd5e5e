#!/usr/bin/env bash
# Bundles player/src and three.js into src/body4d/player/player.js, and what the app's first page uses of it into app/static/my_runs.js. Needs npm and, the first time, a network.
# The banner holds the hash of all it was built from; tests/player/test_bundle.py compares, so that a stale bundle is noticed.
set -euo pipefail
cd "$(dirname "$0")/.."
into=${1:-src/body4d/player}
into_app=${1:-src/body4d/app/static}

[ player/node_modules/.package-lock.json -nt player/package-lock.json ] || npm ci --silent --no-audit --no-fund --prefix player
three=$(node -p 'require("./player/package-lock.json").packages["node_modules/three"].version')
sources=$(cat player/package.json player/package-lock.json $(printf '%s\n' player/src/*.js | LC_ALL=C sort) scripts/build_player.sh | sha256sum | cut -d' ' -f1)

bundle() {
    player/node_modules/.bin/esbuild "player/src/$1" --bundle --minify --format=iife --target=es2022 --charset=utf8 --legal-comments=none \
        --log-level=warning --banner:js="/*! body4d player, Apache-2.0.$3 Sources: sha256 $sources */" --outfile="$2"
}
bundle main.js "$into/player.js" " Holds three.js $three, MIT: see LICENSE-three.txt."
bundle my_runs.js "$into_app/my_runs.js" ""
cp player/node_modules/three/LICENSE "$into/LICENSE-three.txt"
wc -c "$into/player.js" "$into_app/my_runs.js"
