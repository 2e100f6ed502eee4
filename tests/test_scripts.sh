#!/usr/bin/env bash
# Every shell script passes shellcheck. Argument: the source folder.
set -euo pipefail
cd "$1"
mapfile -t files < <(grep -lE '^#!.*\bbash' -r scripts tests .ci)
[ ${#files[@]} -ge 5 ]
shellcheck "${files[@]}"
