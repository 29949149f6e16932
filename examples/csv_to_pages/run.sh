#!/usr/bin/env bash
# From CSV files to pages: run.sh FOLDER, which receives the data, the store and the scores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && cd "$1"
export FLEETALIGN_STORE=./store FLEETALIGN_PARAMS=$here/params.yaml

python "$here/write_csv.py" metrics
fleetalign inspect metrics/2026-03-02.csv --out proposed.yaml    # how a file would be read; proposes a mapping
fleetalign run --telemetry metrics --map "$here/mapping.yaml" --to 2026-03-07
fleetalign score --telemetry metrics --map "$here/mapping.yaml" --from 2026-03-07 --out scores.parquet
fleetalign feedback pages --scores scores.parquet                # id and end of each page
