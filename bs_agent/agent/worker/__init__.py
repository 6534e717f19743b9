"""The probe worker: `process.py` supervises it, `probe.py` is the stand-alone child; `directory.py` is a part of it."""
