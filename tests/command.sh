#!/usr/bin/env bash
# What shell tests of the rlhf program begin with, sourced; their argument is the absolute path of it.
# Leaves the test in a folder of its own, which goes when it ends.
set -uo pipefail
rlhf=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1

fail() {
  printf '%s: %s\n' "$(basename "$0" .sh)" "$1"
  [ -f err ] && tail -n 5 out err
  exit 1
}
# expect STATUS WORDS...: runs rlhf, keeps out and err.
expect() {
  local wanted=$1 status=0
  shift
  "$rlhf" "$@" >out 2>err </dev/null || status=$?
  [ "$status" -eq "$wanted" ] || fail "rlhf $*: exit status $status, expected $wanted"
}
says() { grep -qF -- "$2" "$1" || fail "$1 does not say: $2"; }
