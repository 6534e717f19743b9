"""The history of the tables: Alembic's environment, and one file in `versions` for each step."""
