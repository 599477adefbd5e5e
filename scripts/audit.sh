#!/usr/bin/env bash
# Are there known holes in the packages that body4d installs? Asks PyPI's and npm's advisory services; where they do not answer, it says so
# and that nothing was audited. Findings that do not concern body4d are listed below with the reason; any other ends with 1.
#
#     scripts/audit.sh            (pip-audit is installed into a folder of its own, once)
set -u
cd "$(dirname "$0")/.."

# One line each: ID, then why it is accepted and until when.
accepted=(
)

tools=${TMPDIR:-/tmp}/body4d-audit-$(id -u)
failed=0 skipped=()

if [ ! -x "$tools/bin/pip-audit" ]; then
    python3 -m venv "$tools" && "$tools/bin/pip" --disable-pip-version-check install -qq 'pip-audit==2.10.1' 2>/dev/null
fi
if [ -x "$tools/bin/pip-audit" ]; then
    ignored=()
    for line in ${accepted[@]+"${accepted[@]}"}; do ignored+=(--ignore-vuln "${line%% *}"); done
    # Local version labels (2.13.0+cpu) are unknown to the service.
    list=$(mktemp)
    trap 'rm -f "$list"' EXIT
    grep -E '^[A-Za-z0-9._-]+==' constraints.txt | sed -E 's/\+[a-z0-9]+//' >"$list"
    output=$(timeout 120 "$tools/bin/pip-audit" --no-deps --disable-pip --progress-spinner off -r "$list" ${ignored[@]+"${ignored[@]}"} 2>&1)
    status=$?
    # The service answers 404 for every package where it is not reachable through a mirror: then nothing was looked at.
    if [ $status = 0 ] && ! grep -q "could not be audited" <<<"$output"; then
        echo "pip-audit: $(wc -l <"$list") packages of constraints.txt, no known vulnerability that is not accepted."
    elif grep -qE "^Found [0-9]+ known vulnerabilit" <<<"$output"; then
        echo "$output"
        failed=1
    else
        skipped+=("pip-audit (the advisory service did not answer: $(tail -n 1 <<<"$output" | cut -c1-100))")
    fi
else
    skipped+=("pip-audit (it could not be installed)")
fi

for folder in player tests/gltf tests/axe; do
    command -v npm >/dev/null || { skipped+=("npm audit (npm is not installed)"); break; }
    output=$(cd "$folder" && timeout 60 npm audit --json --package-lock-only 2>/dev/null)
    if grep -q '"vulnerabilities"' <<<"$output" && ! grep -q '"error"' <<<"$output"; then
        total=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["metadata"]["vulnerabilities"]["total"])' <<<"$output")
        echo "npm audit: $folder, $total known vulnerabilities."
        [ "$total" = 0 ] || { echo "$output"; failed=1; }
    else
        skipped+=("npm audit of $folder (the advisory service did not answer)")
    fi
done

for what in ${skipped[@]+"${skipped[@]}"}; do echo "NOT AUDITED: $what"; done
exit $failed
