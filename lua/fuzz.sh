#!/usr/bin/env bash
# fuzz.sh [SEED [SECONDS]]: runs random programs in Lua under the sanitizers of gcc; see fuzz/fuzz.c. Without SEED it is the time.
set -euo pipefail
cd "$(dirname "$0")"
seed=${1:-$(date +%s)} seconds=${2:-30}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for file in c/*.c fuzz/fuzz.c; do
    gcc -g -O1 -w -fwrapv -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined \
        -D LUA_USE_LINUX -D LUAI_MAXMATCH=3000 -I c -c "$file" -o "$folder/$(basename "$file" .c).o"
done
gcc -fsanitize=address,undefined "$folder"/*.o -lm -o "$folder/fuzz"
echo "seed $seed"
"$folder/fuzz" "$seed" "$seconds" "$folder/seed" || {
    status=$?
    echo "at seed $(cat "$folder/seed"): run 'lua/fuzz.sh $(cat "$folder/seed") 0' for its program"
    exit "$status"
}
