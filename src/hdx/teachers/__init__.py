"""Teachers: frozen models whose outputs a student learns from; see `hdx.teachers._base.Teacher` for the contract."""
