"""The probe worker: `process.py` supervises it, `probe.py` is the stand-alone child, the rest are parts of that."""
