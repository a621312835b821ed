#!/usr/bin/env bash
# Ten minutes of one GPU: many rows at true size, each a process of its own, as small networks leave a GPU idle.
#
#   results/gpu.sh DATA OUT [SIZE]
#
# DATA is the folder of the data files, OUT takes result files (OUT/results) and logs, SIZE is "full" or, to try the
# script on a CPU, "quick". What is not finished after LIMIT seconds (default 570) is stopped; given again with the same
# OUT it goes on from its last checkpoint.
set -u
data=$1 out=$2 size=${3:-full} limit=${LIMIT:-570}
mkdir -p "$out/results" "$out/runs" "$out/logs"

rows=(
    "lobacheva2020_pruning_ptb_small W+G+N"
    "lobacheva2020_pruning_ptb_small W+N"
    "lobacheva2020_bayes_ptb sgd_W+G+N"
    "lobacheva2020_bayes_ptb W+G+N"
    "lobacheva2020_pruning_ptb_small light_structure"
    "lobacheva2020_pruning_ptb_small light_whole"
    "lobacheva2020_pruning_ptb_small dropout_dense"
    "lobacheva2020_bayes_ptb dropout_dense"
    "lobacheva2020_bayes_ptb sgd_W+N"
    "lobacheva2020_bayes_ptb sgd_W"
    "zhang2020_table2 jacobian_400"
    "zhang2020_table2 jacobian_1600"
    "liu2021_table2 st_rnn_uniform_67"
)

start() {
    local recipe=$1 row=$2
    timeout --signal=TERM "$limit" python -m sparsernn run "$recipe" --rows "$row" --size "$size" --seeds 0 \
        --data "$data" --out "$out/runs/$recipe-$row" --results "$out/results" --resume \
        --set settings.checkpoint_seconds=60 >"$out/logs/$recipe-$row.txt" 2>&1
    echo "$recipe $row: $? after $SECONDS s"
}

export OMP_NUM_THREADS=1
for entry in "${rows[@]}"; do
    read -r recipe row <<<"$entry"
    start "$recipe" "$row" &
    [ "$size" = quick ] && wait
done
wait
find "$out/results" -name '*.json' | sort
