"""Components for hdx, laid out as hdx itself is: `heads/scaled.py` with `conf/head/scaled.yaml`, and so on."""
