#!/bin/bash
# Loop C in as many processes as Slurm gives tasks: sbatch --ntasks 2 deploy/slurm/learn.sh --steps 20
#SBATCH --job-name threeloops
set -eu
# where the processes meet: a port that another job on this host does not have
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT
# without it each process takes all cores of the host
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
# srun of Slurm 22.05 and later does not take this from the job by itself
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
exec srun threeloops learn "$@"
