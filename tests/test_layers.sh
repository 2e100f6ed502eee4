#!/usr/bin/env bash
# The house holds: includes only go down, each foreign library has one door, nothing below
# scripts/rlhf prints or exits, heap and files have one module each. Argument: the source folder.
set -uo pipefail
cd "$1" || exit 1
failed=0

complain() { # message, offending lines
  [ -z "$2" ] && return
  printf '%s:\n%s\n' "$1" "$2"
  failed=1
}

in_floors() { grep -rnE --include='*.c' --include='*.h' "$@" 2>/dev/null; }

complain "data/ includes a floor above" "$(in_floors '#include "(policy|reward|ppo|scripts|tests)/' data)"
complain "policy/ includes a floor above" "$(in_floors '#include "(reward|ppo|scripts|tests)/' policy)"
complain "reward/ includes a floor above" "$(in_floors '#include "(ppo|scripts|tests)/' reward)"
complain "ppo/ includes a floor above" "$(in_floors '#include "(scripts|tests)/' ppo)"

door() { # what, pattern of includes, files allowed
  complain "$1 has one door" "$(in_floors "#include <($2)" data policy reward ppo scripts | grep -vE "^($3):")"
}
door HDF5 'H5|hdf5' 'data/store/[a-z0-9_]+\.[ch]'
door cJSON 'cjson|cJSON' 'data/json[a-z_]*\.[ch]'
door BLAS 'gsl/gsl_(blas|cblas)|cblas' 'policy/gemm\.c'
door Random123 'Random123' 'data/rng\.c'
door OpenMP 'omp\.h' 'data/parallel\.c'
door utf8proc 'utf8proc' 'data/[a-z0-9_/]+\.c'
door xxHash 'xxhash' 'data/io[a-z_]*\.c'
complain "OpenMP pragmas stand in data/parallel.c" \
  "$(in_floors '#pragma omp (parallel|for|critical|atomic)' data policy reward ppo scripts | grep -v '^data/parallel.c:')"

complain "nothing below scripts/ prints or exits" \
  "$(in_floors '\b(printf|fprintf|puts|putchar|exit|abort|perror|system|popen)\(' data policy reward ppo |
    grep -vE '//|^\S+:[0-9]+:\s*\*|^\S+:[0-9]+:\s*/\*')"
complain "the heap has one module" \
  "$(in_floors '\b(malloc|calloc|realloc|free)\(' data policy reward ppo scripts/rlhf | grep -vE '^data/memory\.c:|^data/store/')"
complain "files have one module" \
  "$(in_floors '(^|[^>._a-z])(fopen|open|openat|creat|rename|unlink|mkdir|fsync)\(' data policy reward ppo scripts/rlhf | grep -vE '^data/io[a-z_]*\.[ch]:|^data/store/')"
complain "banned functions" \
  "$(in_floors '\b(strcpy|strcat|sprintf|gets|rand|srand|strtok)\(' data policy reward ppo scripts/rlhf)"
complain "fast-math is banned" "$(grep -nE 'ffast-math|Ofast' CMakeLists.txt CMakePresets.json | grep -v '^CMakeLists.txt:[0-9]*:#')"

top=$(git ls-files 2>/dev/null | cut -d/ -f1 | sort -u | grep -vE '^\.' | tr '\n' ' ')
wanted="CMakeLists.txt CMakePresets.json LICENSE README.md data policy ppo reward scripts tests "
if [ -n "$top" ] && [ "$top" != "$wanted" ]; then
  printf 'the top level is\n  %s\nnot\n  %s\n' "$top" "$wanted"
  failed=1
fi
exit $failed
