#!/usr/bin/env bash
# fuzz.sh [SEED [SECONDS]]: runs random programs in Lua under the sanitizers of gcc; see fuzz/fuzz.c. Without SEED it is the time.
# Half of the time the stack moves whenever it may, and the collector runs wherever it may, which is slower.
set -euo pipefail
cd "$(dirname "$0")"
seed=${1:-$(date +%s)} seconds=${2:-30}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
build() { # NAME FLAGS...
    local name=$1 file
    shift
    mkdir "$folder/$name.o"
    for file in c/*.c fuzz/fuzz.c; do
        gcc -g -O1 -w -fwrapv -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined \
            -D LUA_USE_LINUX -D LUAI_MAXMATCH=3000 "$@" -I c -c "$file" -o "$folder/$name.o/$(basename "$file" .c).o"
    done
    gcc -fsanitize=address,undefined "$folder/$name.o"/*.o -lm -o "$folder/$name"
}
echo "seed $seed"
for name in plain moving; do
    flags=()
    if [ "$name" = moving ]; then flags=(-D HARDSTACKTESTS -D LUAI_MAKEROOM=64); fi
    build "$name" "${flags[@]}"
    "$folder/$name" "$seed" $((seconds > 1 ? seconds / 2 : seconds)) "$folder/seed" || {
        status=$?
        echo "$name, at seed $(cat "$folder/seed"): run 'lua/fuzz.sh $(cat "$folder/seed") 0' for its program"
        exit "$status"
    }
done
