# What the scripts beside this file share; sourced, not run.
# DuckDB is compiled once for each target directory, so all checkouts of a user share one outside of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/jetsweep/target}"

# Every build uses this selection of crates and this profile: with another, DuckDB would be compiled again.
BUILD=(--release --workspace --locked)

# First lines of a script: what it will do, and how long the first build takes if there is none yet.
announce() {
  printf '%s\n' "$@"
  if ! compgen -G "$CARGO_TARGET_DIR/release/build/libduckdb-sys-*/out/libduckdb.a" >/dev/null; then
    printf '%s\n' "The first build compiles DuckDB from source: about 25 minutes on 2 cores. Later builds take a minute or two." \
      "Build files go to $CARGO_TARGET_DIR (3 GB; set CARGO_TARGET_DIR to put them elsewhere)."
  fi
}
