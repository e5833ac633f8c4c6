"""The embedded log: topics of records in one SQLite file, for a gateway of one machine."""
