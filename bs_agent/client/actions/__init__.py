"""The actions of the SDK, one file a subject."""
