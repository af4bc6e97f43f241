#!/usr/bin/env bash
# One study on several nodes of a Slurm cluster. Task 0 of the array creates it, confirms and exports its best; the others join.
#
#   sbatch --array=0-7 --export=ALL,STORAGE=postgresql+psycopg://tuner@HOST/tuning deploy/slurm.sh --data reviews.csv --n-trials 200
#
# from the checkout, after `make install`. What follows the script's name goes to every task's `tune`. The password stands in PGPASSFILE
# (~/.pgpass by default, which only you can read). docs/many-machines.md tells the rest.
#SBATCH --job-name=tuning
#SBATCH --array=0-3
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.out
# A minute before the time limit, to this shell alone: trials pause, and the task goes on in a new allocation.
#SBATCH --signal=B:USR1@60
set -euo pipefail

: "${STORAGE:?must be the URL of a PostgreSQL database without its password, as in postgresql+psycopg://tuner@HOST/tuning}"
export STORAGE
task=${SLURM_ARRAY_TASK_ID:-0}
study=${STUDY:-slurm}
results=${RESULTS:-results/$study-task$task} # one folder a task: it has one owner, and keeps its checkpoints over a requeue
python=${PYTHON:-.venv/bin/python}
workers=${WORKERS:-${SLURM_CPUS_PER_TASK:-1}}
give_up=$((SECONDS + ${WAIT_SECONDS:-1800}))

child=
asked= # to end, by a signal: "requeue" or "stop"
told=
tell() { # once: a second SIGTERM would mean at once
  [[ $asked == requeue && -n $child && $told != "$child" ]] || return 0
  told=$child
  kill -TERM "$child" 2>/dev/null || true
}
trap 'asked=requeue; tell' USR1
trap 'asked=stop' TERM # scancel sends it to Python too

# One command, in the background: bash runs a trap only while it waits by `wait`.
run() {
  local status=0
  "$python" -m tuning "$@" &
  child=$!
  tell # of a signal that came before its number was known
  wait "$child" || status=$?
  while kill -0 "$child" 2>/dev/null; do # a trap ended the wait, not the program
    status=0
    wait "$child" || status=$?
  done
  if ((status == 138 || status == 143)); then # USR1, TERM: a trap ended the wait as the program ended, whose status bash has lost then
    status=130
  fi
  child=
  if [[ $asked == requeue ]]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
  fi
  [[ -z $asked ]] || exit "$status"
  return "$status"
}

if ((task == 0)); then
  run tune --study "$study" --results "$results" --workers "$workers" "$@"
  run export-best --study "$study" --results "$results"
else
  # Until task 0 has created the study there is nothing to join. What goes wrong after that is an error.
  until run tune --join --study "$study" --results "$results" --workers "$workers" "$@"; do
    [[ ! -e $results/$study/study.json ]] && ((SECONDS < give_up)) || exit 1
    sleep "${RETRY_SECONDS:-15}"
    [[ -z $asked ]] || exit 1
  done
fi
