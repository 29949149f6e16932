#!/usr/bin/env bash
# Install the detector, build a release with it and score with the release: run.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: run.sh FOLDER}
mkdir -p "$out"

cp -r "$here" "$out/source" # a build leaves files beside the source
python -m pip install --quiet --no-deps --no-build-isolation --target "$out/site" "$out/source"
export PYTHONPATH="$out/site${PYTHONPATH:+:$PYTHONPATH}"

fleetalign simulate --out "$out/fleet" --entities 6 --days 4 --seed 5
fleetalign run --telemetry "$out/fleet/telemetry" --feedback "$out/fleet/feedback.parquet" --params "$here/params.yaml" \
    --store "$out/store" --no-promote
unset PYTHONPATH # a consumer needs the release alone
release=$(fleetalign release list --store "$out/store" | cut -d' ' -f1 | head -n 1)
fleetalign score --telemetry "$out/fleet/telemetry" --release "$release" --out "$out/scores.parquet" --store "$out/store"
