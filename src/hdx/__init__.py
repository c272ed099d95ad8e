"""hdx: few-shot, class-incremental and distillation benchmarks composed from config files."""

__version__ = "0.1.0"
