"""The engine: session loop, features bank, evaluation, checkpoint and resume, ranks."""
