#!/usr/bin/env bash
# rlhf report in headless Chromium, see test_report_page.py. Arguments: the rlhf program, and
# "timed" where the build is fast enough for a limit on time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
PYTHONDONTWRITEBYTECODE=1 HOME=$folder \
  /usr/bin/python3 "$(dirname "$0")/test_report_page.py" "$1" "$folder" "${2:-untimed}"
