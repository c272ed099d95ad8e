"""Config: compose, validate, explain, hash. Imports neither torch nor Lightning nor Hydra's app layer."""
