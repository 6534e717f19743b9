"""One file per kind of backup storage; `kinds.py` lists them."""
