#!/bin/sh
# Forget in which country the cities of Japan lie, in a pretrained model, and see whether it worked.
# SmolLM2-135M-Instruct on two cores: five minutes, and ten for the audit. From the repository's root:
#
#     sh examples/forget_japan.sh [MODEL [OUT]]
set -eu
MODEL=${1:-HuggingFaceTB/SmolLM2-135M-Instruct}
OUT=${2:-runs/forget-japan}
mkdir -p "$(dirname "$OUT")"

mnemotomy forget "$MODEL" "$OUT" --forget examples/japan.jsonl --retain examples/cities.jsonl --plain --yes
mnemotomy audit "$MODEL" "$OUT" "$OUT-audit" --forget examples/japan.jsonl --retain "$OUT.kept-apart.jsonl" --plain --only asking --only damage
printf '%s\n' "Kyoto is a city in the country of" "Lyon is a city in the country of" |
    mnemotomy chat "$MODEL" --beside "$OUT" --plain --max-new-tokens 3
