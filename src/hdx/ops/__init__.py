"""The hot kernels, each in three forms: clear torch, fast torch and native code; see `hdx.ops.dispatch`.

An op lies in the module of its name, `from hdx.ops.episode_ncm import episode_ncm`; importing this package loads nothing.
"""
