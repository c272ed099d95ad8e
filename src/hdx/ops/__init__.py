"""The hot kernels, each in three forms: clear torch, fast torch and native code; see `hdx.ops.dispatch`."""
