"""The inventory on disk: SQLAlchemy tables, queries and migrations."""
