"""Base models as files: what a name stands for, and GGUF files unpacked into folders that transformers reads."""
