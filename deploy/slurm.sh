#!/usr/bin/env bash
# One study on several nodes of a Slurm cluster. Task 0 of the array creates the study, confirms its
# best configuration and exports it; the other tasks join the study. Type in the checkout, after
# `make install`:
#
#   sbatch --array=0-7 --export=ALL,STORAGE=postgresql+psycopg://tuner@HOST/tuning \
#     deploy/slurm.sh --data reviews.csv --n-trials 200
#
# The arguments after the script's name are passed to `tune` in every task. The password is read
# from the file PGPASSFILE (default ~/.pgpass), which only you may be able to read.
# docs/many-machines.md has the details.
#SBATCH --job-name=tuning
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.out
# Slurm sends USR1 to this shell, and to no other process, a minute before the time limit: trials
# pause, and the task continues in a new allocation.
#SBATCH --signal=B:USR1@60
set -euo pipefail

: "${STORAGE:?must be the URL of a PostgreSQL database without its password,\
 as in postgresql+psycopg://tuner@HOST/tuning}"
export STORAGE
task=${SLURM_ARRAY_TASK_ID:-0}
study=${STUDY:-slurm}
# One folder for each task: only one process may own a folder. The checkpoints in the folder are
# kept when the task is requeued.
results=${RESULTS:-results/$study-task$task}
python=${PYTHON:-.venv/bin/python}
workers=${WORKERS:-${SLURM_CPUS_PER_TASK:-1}}
give_up=$((SECONDS + ${WAIT_SECONDS:-1800}))

child=
request= # the received signal asks for "requeue" or "stop"
signalled=
# Each child gets at most one SIGTERM: a second SIGTERM ends the search without pausing its trials.
forward() {
  [[ $request == requeue && -n $child && $signalled != "$child" ]] || return 0
  signalled=$child
  kill -TERM "$child" 2>/dev/null || true
}
trap 'request=requeue; forward' USR1
trap 'request=stop' TERM # scancel sends SIGTERM to Python too

# The command runs in the background, because bash runs a trap only between commands or during
# `wait`.
run() {
  local status=0
  "$python" -m tuning "$@" &
  child=$!
  forward # a signal that arrived before `child` was set
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do # a trap ended the wait, and the program still runs
    status=0
    wait "$child" || status=$?
  done
  # 138 is USR1 and 143 TERM: a trap ended the wait when the program ended, and bash has lost the
  # program's own status.
  if ((status == 138 || status == 143)); then
    status=130
  fi
  child=
  if [[ $request == requeue ]]; then
    job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}
    scontrol requeue "$job${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
  fi
  [[ -z $request ]] || exit "$status"
  return "$status"
}

if ((task == 0)); then
  run tune --study "$study" --results "$results" --workers "$workers" "$@"
  run export-best --study "$study" --results "$results"
else
  # Joining fails until task 0 has created the study. A failure after that is an error.
  until run tune --join --study "$study" --results "$results" --workers "$workers" "$@"; do
    [[ ! -e $results/$study/study.json ]] && ((SECONDS < give_up)) || exit 1
    sleep "${RETRY_SECONDS:-15}"
    [[ -z $request ]] || exit 1
  done
fi
