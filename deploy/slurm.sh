#!/bin/bash
# Four seeds of one run as a job array: sbatch deploy/slurm.sh 'preferences=[concise]' num_steps=20
# Afterwards, or whenever two are done: claas aggregate data/evals/slurm-*
# A sweep that Hydra submits itself: claas eval -m hydra/launcher=submitit_slurm ... (docs/usage.md).
#SBATCH --job-name=claas
#SBATCH --array=1-4
#SBATCH --cpus-per-task=4
#SBATCH --gpus=1
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --signal=B:INT@60
#SBATCH --requeue
set -euo pipefail

# The environment in which `pip install -c constraints.txt -e '.[local]'` was done, and a cache that all nodes see.
source "${CLAAS_VENV:-.venv}/bin/activate"
export CLAAS_CACHE="${CLAAS_CACHE:-$PWD/.cache/models}"

# The folder's name is the same when the job is requeued: what was done is kept, and nothing is trained twice.
exec claas eval seed="$SLURM_ARRAY_TASK_ID" output_dir="data/evals/slurm-${SLURM_ARRAY_JOB_ID}-seed-$SLURM_ARRAY_TASK_ID" "$@"
