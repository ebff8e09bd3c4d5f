#!/usr/bin/env bash

#SBATCH -J distres-worker
#SBATCH -e /here/distres-slurm/distres-worker-%J.err
#SBATCH -o /here/distres-slurm/distres-worker-%J.out
#SBATCH -p gpu
#SBATCH -n 1
#SBATCH --cpus-per-task=4
#SBATCH --mem=30804M
#SBATCH -t 04:00:00
#SBATCH --gres=gpu:1
export DASK_DISTRIBUTED__WORKER__MEMORY__TARGET=False
export DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False
export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=0.85
export DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE=0.95
export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False
export DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=30s
export OMP_NUM_THREADS=1
export MKL_NUM_THREADS=1
export OPENBLAS_NUM_THREADS=1
python -m distributed.cli.dask_worker tls://10.0.0.1:8786 --name distres-0 --nthreads 1 --memory-limit 29.80GiB --nanny --death-timeout 300 --local-directory "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}" --no-dashboard --lifetime 13800s --lifetime-stagger 300s --resources GPU=1
