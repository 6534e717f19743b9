"""The probe worker: `process.py` supervises it, `probe.py` is the stand-alone child; what it imports is a part of it."""
