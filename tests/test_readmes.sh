#!/usr/bin/env bash
# Each floor's README names every file of the floor, and every source file that a README names is
# there. Argument: the source folder.
set -uo pipefail
cd "$1" || exit 1
failed=0

# Words of a README, with NAME.{h,c} as two of them.
words() { # file
  sed -E 's/([A-Za-z0-9_./-]+)\.\{h,c\}/\1.h \1.c/g' "$1" | grep -oE '[A-Za-z0-9_./-]+' | sed 's/\.$//'
}
files_of() { # folder
  git ls-files "$1" 2>/dev/null | grep . || find "$1" -type f
}

for floor in data policy reward ppo scripts; do
  named=$(words "$floor/README.md" | sed "s|^$floor/||" | sort -u)
  while IFS= read -r file; do
    grep -qxF -- "${file#"$floor/"}" <<<"$named" || { echo "$floor/README.md does not name $file"; failed=1; }
  done < <(files_of "$floor" | grep -v '/README\.md$')
done

checked=0
for readme in README.md ./*/README.md; do
  folder=$(dirname "$readme")
  while IFS= read -r name; do
    checked=$((checked + 1))
    [ -e "$name" ] || [ -e "$folder/$name" ] || { echo "$readme names $name, which is not there"; failed=1; }
  done < <(words "$readme" | grep -E '^[^/].*\.(c|h|sh|py)$|^(scripts|tests)/.' | sort -u)
done
[ "$checked" -gt 100 ] || { echo "only $checked names were found"; failed=1; }
exit $failed
