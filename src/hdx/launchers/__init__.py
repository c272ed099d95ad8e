"""Launchers: where the runs of a sweep are started. They import no torch; the processes they start do."""
