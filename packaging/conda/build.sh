#!/usr/bin/env bash
# Run by conda-build in the source folder: installs the program, man pages and completions below PREFIX.
set -euo pipefail
CARGO_PROFILE_RELEASE_STRIP=symbols cargo install --locked --path . --root "$PREFIX" --no-track
scripts/install_pages "$PREFIX/bin/lpips" "$PREFIX/share"
