#!/bin/sh
# Run what is missing of a table and write it as text, Markdown, LaTeX, CSV and JSON.
#
#   sh scripts/reproduce.sh TABLE [OVERRIDE ...]      # for example: heads_shots output_dir=/scratch/outputs
#   sh scripts/reproduce.sh TABLE launcher=slurm      # the runs as jobs of a cluster
#
# HDX_DATA is the folder of the datasets, TABLES (default: outputs/tables) where the files go.
set -eu
if [ -z "${1:-}" ]; then
    echo "usage: make reproduce TABLE=NAME, or sh scripts/reproduce.sh NAME [OVERRIDE ...]; names: hdx list table" >&2
    exit 2
fi
table=$1
shift
out=${TABLES:-outputs/tables}
failed=0
hdx table "$table" "$@" --run --out "$out/$table.txt" || failed=$?
for form in markdown:md latex:tex csv:csv json:json; do
    hdx table "$table" "$@" --format "${form%%:*}" --out "$out/$table.${form##*:}"
done
cat "$out/$table.txt"
exit "$failed"
