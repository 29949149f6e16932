#!/usr/bin/env bash
# From Prometheus to Alertmanager: run.sh FOLDER, which receives the store.
# PROMETHEUS, ALERTMANAGER: URLs. FROM, TODAY: first day of history and the day to score. NOW: end of the telemetry to score.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && cd "$1"
export FLEETALIGN_STORE=./store FLEETALIGN_PARAMS=$here/params.yaml
source=(--source prometheus --prometheus "$PROMETHEUS" --map "$here/series.yaml")

# Once a day: history into a release.
fleetalign ingest "${source[@]}" --from "$FROM" --to "$TODAY"
fleetalign validate --from "$FROM" --to "$TODAY"
fleetalign plan
fleetalign pretrain
fleetalign align
release=$(fleetalign release | python -c 'import json, sys; print(json.load(sys.stdin)["release_id"])')
fleetalign promote "$release" --why 'example'

# Every few minutes: new telemetry, scores, alerts.
fleetalign ingest "${source[@]}" --from "$TODAY" --to "$NOW"
fleetalign validate --from "$TODAY" --to "$NOW"
fleetalign score --telemetry store/telemetry/validated --from "$TODAY" --emit "alertmanager=$ALERTMANAGER"
