#!/usr/bin/env bash
# Two machines on one: two network namespaces joined by a cable (veth), torchrun in each, compared with one process.
# Needs root and iproute2. The second machine has the source at another path, and no access to the run folder.
#
#   sudo benchmarks/two_machines.sh [PYTHON]
set -euo pipefail

python=$(realpath -s "${1:-.venv/bin/python}")
room=$(mktemp -d)
export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore
names=(matinee-a matinee-b)

clean() {
    for name in "${names[@]}"; do ip netns delete "$name" 2>/dev/null || true; done
    rm -rf "$room"
}
trap clean EXIT

for name in "${names[@]}"; do ip netns add "$name"; done
ip link add cable-a netns matinee-a type veth peer name cable-b netns matinee-b
for end in a b; do
    [ "$end" = a ] && address=10.73.0.1 || address=10.73.0.2
    ip -n "matinee-$end" address add "$address/24" dev "cable-$end"
    ip -n "matinee-$end" link set "cable-$end" up
    ip -n "matinee-$end" link set lo up
done

mkdir -p "$room"/{first,second}
"$python" - "$room" <<'PYTHON'
import shutil, sys
from pathlib import Path

import numpy as np
from PIL import Image

room, generator = Path(sys.argv[1]), np.random.default_rng(0)
for name, brightness in (("dark", 80), ("light", 140)):
    folder = room / "first" / "pictures" / name
    folder.mkdir(parents=True)
    for number in range(200):
        pixels = generator.normal(brightness, 40, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
(room / "second" / "elsewhere").mkdir()
shutil.copytree(room / "first" / "pictures", room / "second" / "elsewhere" / "pictures")
PYTHON

settings=(--epochs 3 --batch-size 50 --precision float32 --optimiser sgd --learning-rate 0.02 --flip --crop 1 --quiet)

# on MACHINE VERB...: torchrun as it would be typed there
on() {
    local end=$1 rank=$2 folder=$3
    shift 3
    (cd "$folder" && MATINEE_CACHE="$folder/cache" GLOO_SOCKET_IFNAME="cable-$end" ip netns exec "matinee-$end" \
        "$python" -m torch.distributed.run --nnodes 2 --node-rank "$rank" --nproc-per-node 1 \
        --master-addr 10.73.0.1 --master-port 29511 -m matinee "$@")
}

(cd "$room/first" && MATINEE_CACHE="$room/first/cache" "$python" -m matinee train pictures "${settings[@]}" --out alone)

on b 1 "$room/second" train elsewhere/pictures "${settings[@]}" --out run &
on a 0 "$room/first" train pictures "${settings[@]}" --out run
wait $!
[ ! -e "$room/second/run" ] || { echo "the second machine wrote a run folder"; exit 1; }

# Once more from the last checkpoint: the second machine is given its tensors.
rm "$room/first/run/result.json"
on b 1 "$room/second" resume run --quiet &
on a 0 "$room/first" resume run --quiet
wait $!

"$python" - "$room/first" <<'PYTHON'
import sys
from pathlib import Path

from matinee.core.storage import read_tensors

one, two = (read_tensors(Path(sys.argv[1], run, "checkpoint", "latest.safetensors")) for run in ("alone", "run"))
losses = [abs(a["loss"] - b["loss"]) for a, b in zip(one[1]["history"], two[1]["history"], strict=True)]
pairs = [(one[0][name], two[0][name]) for name in one[0] if name.startswith("network.")]
weights = max(float((a.double() - b.double()).abs().max()) for a, b in pairs)
print(f"two machines against one process: losses differ by {max(losses):.1e}, weights by {weights:.1e} at most")
sys.exit(max(losses) > 1e-5 or weights > 2e-3)
PYTHON
